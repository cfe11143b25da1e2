"""A reward model trained on preferences against people on held-out ones, beside what reads no model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import jax
import numpy as np

from encore_jax.composition import Margin
from encore_jax.evaluation.bootstrap import percentile_interval
from encore_jax.evaluation.premise import Interval, bootstrap_accuracy
from encore_jax.evaluation.view import Pairs


def preference_results(
    rewards: Mapping[str, np.ndarray],
    cluster: np.ndarray,
    subset: Sequence[str],
    seed: int,
    replicates: int,
) -> dict:
    """Accuracy of every method on the same N comparisons, with paired intervals over prompts.

    Args:
      rewards: fp32 ``[N, 2]`` by method, the preferred response first; the first method is the model.
      cluster: ``[N]``, equal for equal prompts.
      subset: ``[N]``.
      seed, replicates: of the bootstrap.

    Returns:
      Plain values: comparisons, prompts; per method n, correct, ties, accuracy (a tie counts half) with its 95 %
      interval, and how far the first method is ahead, with its interval.
    """
    names = list(rewards)
    scores = np.stack([np.asarray(rewards[name], np.float32) for name in names], -1)
    pairs = Pairs(scores, np.zeros(len(scores), np.int64), np.asarray(cluster), np.asarray(subset))
    samples = np.asarray(bootstrap_accuracy(pairs, jax.random.key(seed), replicates))
    margin = Margin(scores[:, 0] - scores[:, 1])
    credit, won, tied = margin.credit, margin.sign > 0, margin.tied
    parts = {str(part): pairs.subset == part for part in np.unique(pairs.subset)}
    methods = []
    for k, name in enumerate(names):
        ahead = samples[:, 0] - samples[:, k]
        methods.append(
            {
                "name": name,
                "n": len(scores),
                "correct": int(won[:, k].sum()),
                "ties": int(tied[:, k].sum()),
                "accuracy": _interval(credit[:, k].mean(), samples[:, k]),
                "model_ahead_by": _interval(credit[:, 0].mean() - credit[:, k].mean(), ahead),
                "subsets": {
                    part: {"n": int(rows.sum()), "accuracy": float(credit[rows, k].mean())}
                    for part, rows in parts.items()
                },
            }
        )
    return {"comparisons": len(scores), "prompts": len(np.unique(cluster)), "methods": methods}


def _interval(value: float, samples: np.ndarray) -> dict[str, float]:
    low, high = percentile_interval(samples)
    return Interval(float(value), float(low), float(high))._asdict()
