"""What to know before a model's heads are weighed by their agreement, in one sentence each.

Advice on ratings is about ratings: heads that learnt one rule well and another not at all agree in another way.

Letters: N comparisons, K rules.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float, Int

from encore_jax.composition.ties import credit, rule_margins
from encore_jax.evaluation.rule_reliability import wilson_interval
from encore_jax.formats import percent, printable

MOST_WEIGHT = 0.5
"""Rules not told from chance may have this share of the weights before it is said: beyond it they decide."""
LOADINGS_DIFFER = 0.5
"""A rule's loading by heads and by ratings that differ so much, half of all there is, are not the same rule's."""


def agreement_warning(
    rules: Sequence[str],
    weights: Float[np.ndarray, " K"],
    scores: Float[np.ndarray, "N 2 K"],
    preferred: Int[np.ndarray, " N"],
    loading: Float[np.ndarray, " K"],
    of_ratings: Float[np.ndarray, " K"] | None = None,
) -> str:
    """Why the heads' agreement weights may mislead; "" if nothing says so.

    Args:
      rules: K names.
      weights: agreement's, of the heads.
      scores, preferred: of labelled comparisons by the heads.
      loading: of the heads' scores; NaN where unknown.
      of_ratings: loadings of the ratings; None if nobody knows them.

    >>> scores = np.random.default_rng(0).normal(size=(40, 2, 3))
    >>> agreement_warning(("a", "b", "c"), np.array([0.9, 0.1, 0.0]), scores, scores[..., 1].argmax(1), np.ones(3))
    '90.0 % of the weight is on rules that are not told from chance on 40 labelled comparisons: a (right in 50.0 %)'
    """
    parts = []
    weights = np.asarray(weights, np.float64)
    if len(scores):
        sign = np.where(np.asarray(preferred) == 0, 1.0, -1.0)
        margin = np.asarray(rule_margins(scores[:, 0], scores[:, 1]).value)
        right = np.asarray(credit(margin * sign[:, None]), np.float64)
        low, _ = wilson_interval(right.sum(0), np.full(len(rules), len(scores)))
        unsure = [k for k in np.argsort(-weights).tolist() if weights[k] > 0.01 and low[k] <= 0.5]
        if weights[unsure].sum() > MOST_WEIGHT * weights.sum():
            named = ", ".join(f"{printable(rules[k])} (right in {percent(right[:, k].mean())} %)" for k in unsure[:4])
            parts.append(
                f"{percent(weights[unsure].sum() / weights.sum())} % of the weight is on rules that are not told from "
                f"chance on {len(scores)} labelled comparisons: {named}"
            )
    if of_ratings is not None:
        gap = np.abs(np.asarray(loading) - np.asarray(of_ratings))
        differ = [k for k in np.argsort(-np.nan_to_num(gap)).tolist() if gap[k] >= LOADINGS_DIFFER]
        if differ:
            named = ", ".join(
                f"{printable(rules[k])} ({loading[k]:+.2f}, not {of_ratings[k]:+.2f})" for k in differ[:4]
            )
            parts.append(f"the heads agree in another way than the ratings do: loading of {named}")
    return "; ".join(parts)
