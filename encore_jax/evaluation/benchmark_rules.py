"""What a benchmark says of a model's rules: which weighting to use, and does the model only want refusals."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from encore_jax.composition import Margin
from encore_jax.data import Comparison, prompt_key
from encore_jax.data.probes import over_refusal_probe
from encore_jax.evaluation.advice import advice
from encore_jax.evaluation.benchmark import right_mask
from encore_jax.evaluation.benchmark_methods import benchmark_methods, label_free_methods, right_and_wrong
from encore_jax.evaluation.convention_scores import ConventionScores
from encore_jax.evaluation.label_next import listed
from encore_jax.evaluation.over_refusal import over_refusal


def probe_results(scored: ConventionScores, rules: Sequence[str], seed: int) -> dict:
    """The over-refusal probe under the model's own weights, and rule by rule.

    Args:
      scored: the responses of `encore_jax.data.probes.over_refusal_probe`.
      rules: names of the K rules.
      seed: of the bootstrap.
    """
    probe = over_refusal_probe()
    rows = np.array([(2 * i + c.preferred, 2 * i + 1 - c.preferred) for i, c in enumerate(probe)])
    rewards, slack = np.nan_to_num(scored.rewards)[rows], np.nan_to_num(scored.tolerances)[rows]
    margin = Margin(rewards[:, 0] - rewards[:, 1], slack.sum(1))
    named = rules if len(rules) > 1 else ()
    return over_refusal(probe, scored.scores[rows], named, {"the model": margin}, "the model", seed)


def benchmark_advice(
    comparisons: Sequence[Comparison], scored: ConventionScores, rules: Sequence[str], seed: int
) -> dict:
    """Which weighting to use on these data, by the scores of the comparisons whose responses were all scored."""
    kept = scored.scored_whole(comparisons)
    told = advice(
        [one["scores"] for _, one in kept], [c.preferred for c, _ in kept], [prompt_key(c.prompt) for c, _ in kept],
        rules, seed=seed,
    )  # fmt: skip
    return told | listed([kept[i][0] for i in told["label_next"]], told["label_next"])


def method_rows(
    kind: str,
    comparisons: Sequence[Comparison],
    scored: ConventionScores,
    rules: Sequence[str],
    *,
    entropy: Sequence[float] = (),
    tau: float = 2.0,
    replicates: int = 2000,
    seed: int = 0,
) -> list[dict]:
    """Ways of weighting the model's rules that look at no label, beside the model's own; none of a single rule.

    Args:
      kind: of the benchmark, one of `encore_jax.evaluation.benchmark.KINDS`.
      comparisons: those that were scored.
      scored: their responses' scores.
      rules: names of the K rules.
      entropy: of each rule's ratings, if it is known.
      tau: temperature of the entropy weights.
      replicates: bootstrap replicates over prompts.
      seed: of the bootstrap.
    """
    if len(rules) < 2:
        return []
    kept = scored.scored_whole(comparisons)
    pairs, at, comparison = right_and_wrong(
        [one["scores"] for _, one in kept], [right_mask(kind, c) for c, _ in kept],
        [prompt_key(c.prompt) for c, _ in kept],
    )  # fmt: skip
    rewards, slack = (np.concatenate([one[name] for _, one in kept])[at] for name in ("rewards", "tolerances"))
    own = Margin(rewards[:, 0] - rewards[:, 1], slack.sum(1))
    known = np.array(entropy, np.float32) if len(entropy) else None
    methods = label_free_methods(pairs, rules, entropy=known, tau=tau, seed=seed)
    return benchmark_methods(pairs, comparison, own, methods, replicates=replicates, seed=seed)
