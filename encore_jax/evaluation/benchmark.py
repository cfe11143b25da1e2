"""Rewards of a benchmark's responses to its scores: per subset n, correct and ties, sections, what is missing.

What counts as right is the benchmark's own: strictly higher than every wrong response; in RewardBench 2 a shared first
place is shared credit, and Ties is scored as a whole; in RM-Bench each of nine pairs of styles counts.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from encore_jax.data import Comparison
from encore_jax.errors import InputError
from encore_jax.evaluation import rewardbench, rewardbench2, rm_bench

KINDS = ("rewardbench", "rewardbench2", "rm_bench", "pairs")
"""Benchmarks with scoring of their own, and any labelled comparisons."""


class Judged(NamedTuple):
    """Of N prompts: credit 0 to 1, and whether a wrong response ties with the right one for the best."""

    credit: np.ndarray
    tie: np.ndarray


def right_responses(comparison: Comparison) -> int:
    """How many of the first responses are right, in a benchmark's comparison."""
    return int(comparison.extra.get("num_correct", 1))


def right_mask(kind: str, comparison: Comparison) -> np.ndarray:
    """Bool ``[n]``, which responses are right, in a comparison of a benchmark of this kind.

    >>> from encore_jax.data.comparison import Message
    >>> right_mask("pairs", Comparison((Message("user", "Hi"),), ("a", "b", "c"), 1)).tolist()
    [False, True, False]
    """
    number = np.arange(len(comparison.responses))
    if kind == "rm_bench":
        return number < 3
    if kind == "rewardbench2":
        return number < right_responses(comparison)
    return number == comparison.preferred


def judge_items(kind: str, comparisons: Sequence[Comparison], rewards: Sequence[np.ndarray]) -> Judged:
    """Credit and ties, prompt by prompt; for RM-Bench the share of nine pairs, and whether any of them ties."""
    credit, tie = np.zeros(len(comparisons)), np.zeros(len(comparisons), bool)
    for i, (comparison, reward) in enumerate(zip(comparisons, rewards, strict=True)):
        reward = np.asarray(reward, np.float64)
        if len(reward) != len(comparison.responses) or np.isnan(reward).any():
            raise InputError(f"rewards {reward.tolist()}", where=f"comparison {comparison.id}", fix="score it again")
        if kind == "rm_bench":
            won = np.subtract.outer(reward[:3], reward[3:])
            credit[i], tie[i] = (won > 0).mean(), (won == 0).any()
        elif kind == "rewardbench2":
            right = right_responses(comparison)
            tie[i] = reward[:right].max() == reward[right:].max()
            is_ties = comparison.subset.lower() == rewardbench2.TIES
            credit[i] = reward[:right].min() > reward[right:].max() if is_ties else rewardbench2.best_of_credit(reward)
        else:
            if comparison.preferred is None:
                raise InputError("nobody preferred a response", where=f"comparison {comparison.id}", fix="leave it out")
            others = np.delete(reward, comparison.preferred)
            credit[i] = reward[comparison.preferred] > others.max()
            tie[i] = reward[comparison.preferred] == others.max()
    return Judged(credit, tie)


def benchmark_scores(
    kind: str,
    comparisons: Sequence[Comparison],
    rewards: Sequence[np.ndarray],
    *,
    replicates: int = 1000,
    seed: int = 0,
) -> dict:
    """Everything that `results.json` says of a benchmark, plain values.

    Args:
      kind: one of `KINDS`.
      comparisons: N of them, as the benchmark's reader gives them.
      rewards: N arrays ``[n]``.
      replicates, seed: of the bootstrap, which draws prompts within subsets again.

    Returns:
      subsets: by name n, correct, ties, score (the benchmark's own, a share of 1) with its 95 % interval;
      scores: sections and the overall score, as far as their subsets are there, RM-Bench's with easy, normal, hard,
      average, matrix and their intervals; incomplete: what is missing.
    """
    if kind not in KINDS:
        raise InputError(f"{kind!r} has no scoring", where="benchmark", fix=f"use one of {', '.join(KINDS)}")
    judged, subset = judge_items(kind, comparisons, rewards), np.array([c.subset for c in comparisons])
    rng = np.random.default_rng(seed)
    subsets, samples = {}, {}
    for name in dict.fromkeys(subset.tolist()):
        rows = np.flatnonzero(subset == name)
        value, drawn = judged.credit[rows].mean(), _resampled(judged.credit[rows], replicates, rng)
        entry = {"n": len(rows), "correct": float(judged.credit[rows].sum()), "ties": int(judged.tie[rows].sum())}
        if kind == "rewardbench2" and name.lower() == rewardbench2.TIES:
            prompts = [(comparisons[i].id, rewards[i], right_responses(comparisons[i])) for i in rows]
            parts = rewardbench2.ties_score(prompts)
            value, drawn = parts.score, rewardbench2.ties_samples(prompts, replicates, rng)
            entry["parts"] = parts._asdict()
        subsets[name] = entry | _with_interval(value, drawn)
        samples[name] = drawn
    value = {name: entry["score"] for name, entry in subsets.items()}
    return {
        "benchmark": kind,
        "n": len(comparisons),
        "ties": int(judged.tie.sum()),
        "subsets": subsets,
        "scores": _scores(kind, value, samples, comparisons, rewards, rng),
        "incomplete": list(_missing(kind, {name: entry["n"] for name, entry in subsets.items()})),
    }


def _resampled(credit: np.ndarray, replicates: int, rng: np.random.Generator) -> np.ndarray:
    values, counts = np.unique(credit, return_counts=True)
    return rng.multinomial(len(credit), counts / counts.sum(), replicates) @ values / len(credit)


def _with_interval(value: float, drawn: np.ndarray) -> dict[str, float]:
    low, high = np.percentile(drawn, [2.5, 97.5])
    return {"score": float(value), "low": float(low), "high": float(high)}


def _scores(kind: str, value: dict, samples: dict, comparisons, rewards, rng: np.random.Generator) -> dict:
    if kind == "rm_bench":
        replicates = len(next(iter(samples.values())))
        return _style_scores([c.subset for c in comparisons], rewards, replicates, rng)
    if kind == "pairs":
        n = {name: sum(c.subset == name for c in comparisons) for name in value}
        return {"all": _with_interval(*(rewardbench.weighted_mean(x, n) for x in (value, samples)))}
    combine = rewardbench.section_scores if kind == "rewardbench" else rewardbench2.rewardbench2_scores
    drawn = combine(samples)
    return {name: _with_interval(point, drawn[name]) for name, point in combine(value).items()}


def _style_scores(domains: list[str], rewards, replicates: int, rng: np.random.Generator) -> dict:
    """RM-Bench's scores: per domain its average, the parts of it and the matrix, all with intervals."""
    stacked, times = np.stack([np.asarray(r).reshape(2, 3) for r in rewards]), np.zeros((replicates, len(rewards)))
    for name in dict.fromkeys(domains):
        rows = np.flatnonzero(np.array(domains) == name)
        times[:, rows] = rng.multinomial(len(rows), np.full(len(rows), 1 / len(rows)), replicates)
    points, drawn = (rm_bench.rm_bench_scores(stacked, domains, each) for each in (None, times))
    scores = {}
    for name, parts in points.items():
        low, high = (
            {part: np.percentile(drawn[name][part], tail, axis=0).tolist() for part in parts} for tail in (2.5, 97.5)
        )
        scores[name] = _with_interval(parts["average"], drawn[name]["average"])
        scores[name] |= {part: values.tolist() for part, values in parts.items()}
        scores[name]["intervals"] = {part: {"low": low[part], "high": high[part]} for part in parts}
    return scores


def _missing(kind: str, n: dict[str, int]):
    if kind == "rewardbench":
        yield from rewardbench.size_differences(n)
    elif kind == "rewardbench2":
        for name, expected in rewardbench2.SIZES.items():
            if n.get(name, 0) != expected:
                yield f"{name}: {n.get(name, 0)} prompts instead of {expected}"


def official_files(
    kind: str, model: str, scores: dict, comparisons: Sequence[Comparison], rewards: Sequence[np.ndarray]
) -> dict[str, str]:
    """The result files of RewardBench's leaderboard by path: scores per subset, and rewards per comparison.

    Empty for other benchmarks. `model` is "organisation/name".
    """
    if kind not in ("rewardbench", "rewardbench2"):
        return {}
    head = {"model": model, "model_type": "Seq. Classifier", "chat_template": "tokenizer"}
    per_subset = head | {name: entry["score"] for name, entry in scores["subsets"].items()}
    rows = head | {"id": [c.id for c in comparisons], "subset": [c.subset for c in comparisons]}
    credit = judge_items(kind, comparisons, rewards).credit.tolist()
    if kind == "rewardbench":
        numbers = [int(name) if name.isdigit() else name for name in rows["id"]]
        rows |= {"id": numbers, "results": [int(one) for one in credit]}
        for side, name in enumerate(("scores_chosen", "scores_rejected")):
            rows[name] = [float(reward[side]) for reward in rewards]
        for side, name in enumerate(("text_chosen", "text_rejected")):
            rows[name] = [_conversation(c, side) for c in comparisons]
    else:
        ties = [c.subset.lower() == rewardbench2.TIES for c in comparisons]
        rows |= {"results": [None if tie else one for one, tie in zip(credit, ties, strict=True)]}
        rows |= {"scores": [np.asarray(reward, float).tolist() for reward in rewards]}
        rows |= {"num_correct": [right_responses(c) for c in comparisons]}
        rows |= {"text": [[_conversation(c, i) for i in range(len(c.responses))] for c in comparisons]}
    written = {"eval-set": per_subset, "eval-set-scores": rows}
    return {f"{folder}/{model}.json": json.dumps(made, indent=4, sort_keys=True) for folder, made in written.items()}


def _conversation(comparison: Comparison, side: int) -> list[dict[str, str]]:
    turns = [{"role": m.role, "content": m.content} for m in comparison.prompt]
    return [*turns, {"role": "assistant", "content": comparison.responses[side]}]
