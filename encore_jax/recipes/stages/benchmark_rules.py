"""What a benchmark run says of its model's rules: which weighting to use, and does the model only want refusals."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from encore_jax.composition import Margin
from encore_jax.data import Comparison, prompt_key
from encore_jax.data.probes import over_refusal_probe
from encore_jax.evaluation.advice import advice
from encore_jax.evaluation.benchmark import right_mask
from encore_jax.evaluation.benchmark_methods import benchmark_methods, label_free_methods, right_and_wrong
from encore_jax.evaluation.over_refusal import over_refusal
from encore_jax.recipes.benchmark_config import BenchmarkConfig


def probe_results(config: BenchmarkConfig, scored: Path) -> dict:
    """The over-refusal probe under the model's own weights, and rule by rule."""
    if not (scored / "scores-probe.npz").is_file():
        return {"not_scored": "this run's scores are of an older version: --rerun=score scores the probe"}
    probe = over_refusal_probe()
    with np.load(scored / "scores-probe.npz") as stored:
        scores, rewards, slack = (stored[name] for name in ("scores", "rewards", "tolerances"))
    rows = np.array([(2 * i + c.preferred, 2 * i + 1 - c.preferred) for i, c in enumerate(probe)])
    rewards, slack = np.nan_to_num(rewards)[rows], np.nan_to_num(slack)[rows]
    margin = Margin(rewards[:, 0] - rewards[:, 1], slack.sum(1))
    rules = _passport(scored)["rules"]
    named = rules if len(rules) > 1 else ()
    return over_refusal(probe, scores[rows], named, {"the model": margin}, "the model", config.seed)


def benchmark_advice(config: BenchmarkConfig, comparisons: list[Comparison], scored: Path) -> dict:
    """Which weighting to use on these data, by the scores of the comparisons whose responses were all scored."""
    kept = _scored_whole(comparisons, scored)
    told = advice(
        [one["scores"] for _, one in kept], [c.preferred for c, _ in kept], [prompt_key(c.prompt) for c, _ in kept],
        _passport(scored)["rules"], seed=config.seed,
    )  # fmt: skip
    return told | {"label_next": [kept[i][0].id or str(i) for i in told["label_next"]]}


def method_rows(config: BenchmarkConfig, kind: str, comparisons: list[Comparison], scored: Path) -> list[dict]:
    """Ways of weighting the model's rules that look at no label, beside the model's own; none of a single rule."""
    passport = _passport(scored)
    if len(passport["rules"]) < 2:
        return []
    kept = _scored_whole(comparisons, scored)
    pairs, at, comparison = right_and_wrong(
        [one["scores"] for _, one in kept], [right_mask(kind, c) for c, _ in kept],
        [prompt_key(c.prompt) for c, _ in kept],
    )  # fmt: skip
    rewards, slack = (np.concatenate([one[name] for _, one in kept])[at] for name in ("rewards", "tolerances"))
    own = Margin(rewards[:, 0] - rewards[:, 1], slack.sum(1))
    entropy = np.array(passport["entropy"], np.float32) if passport.get("entropy") else None
    methods = label_free_methods(pairs, passport["rules"], entropy=entropy, tau=config.tau, seed=config.seed)
    return benchmark_methods(pairs, comparison, own, methods, replicates=config.replicates, seed=config.seed)


def _scored_whole(comparisons: list[Comparison], scored: Path) -> list[tuple[Comparison, dict[str, np.ndarray]]]:
    """The comparisons whose responses were all scored, with their scores, rewards and tolerances."""
    at = np.cumsum([len(c.responses) for c in comparisons])[:-1]
    with np.load(scored / "scores-ours.npz") as stored:
        parts = {name: np.split(stored[name], at) for name in ("scores", "rewards", "tolerances")}
    rows = [dict(zip(parts, values, strict=True)) for values in zip(*parts.values(), strict=True)]
    return [(c, row) for c, row in zip(comparisons, rows, strict=True) if np.isfinite(row["scores"]).all()]


def _passport(scored: Path) -> dict:
    return json.loads((scored / "passport.json").read_text())
