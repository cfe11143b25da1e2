"""What is known of each rule: its use of the scale, its loading, its accuracy where there are labels.

Letters: N comparisons, K rules.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import scipy.special
from jaxtyping import Bool, Float

from encore_jax.composition.camps import Commonality
from encore_jax.composition.checks import MAX_GRID, observed_grids
from encore_jax.composition.entropy import bin_edges, entropy_of_counts, level_edges
from encore_jax.composition.ties import credit, is_tie, rule_margins
from encore_jax.evaluation.few_labels import estimate_accuracy

ENOUGH_LABELS = 200
"""From so many labels on, a rule's accuracy is counted; below, it is estimated with its loading's help."""

LEVELS_OF_CONTINUOUS = 11
"""Bins of the common grid where ratings lie on none."""


class RuleReliability(NamedTuple):
    """What is known of one rule.

    Attributes:
      rule: its name.
      n: comparisons in which it rates both responses.
      levels: distinct values of its ratings.
      tie_rate: share of the comparisons in which it rates both alike.
      entropy: of its ratings on the pool's common grid, in nats.
      loading, loading_low, loading_high: how strongly it follows what the rules have in common, with a 95 % interval
        over prompts; NaN if it does not vary or is hardly ever rated beside others.
      labels: labelled comparisons that it rates.
      half, wrong, decided: its accuracy on those where a tie counts half, counts as wrong, or is left out; NaN if there
        are none.
      accuracy, low, high: `half` with a Wilson interval; with few labels the estimate that uses the loading too.
    """

    rule: str
    n: int
    levels: int
    tie_rate: float
    entropy: float
    loading: float
    loading_low: float
    loading_high: float
    labels: int
    half: float
    wrong: float
    decided: float
    accuracy: float
    low: float
    high: float


def common_entropy(
    ratings: Float[np.ndarray, "*N K"],
    mask: Bool[np.ndarray, "*N K"],
    grids: Sequence[Float[np.ndarray, " m"]] | None = None,
) -> Float[np.ndarray, " K"]:
    """Entropy of every rule's ratings, in nats, on one grid for all: the values that occur, or bins if many.

    Args:
      ratings, mask: of the rules.
      grids: the distinct values of each rule, if they are known (`observed_grids`).
    """
    flat, seen = ratings.reshape(-1, ratings.shape[-1]), mask.reshape(-1, mask.shape[-1])
    values = np.unique(np.concatenate(observed_grids(flat, seen) if grids is None else grids))
    if values.size < 2:
        return np.where(seen.any(0), 0.0, np.nan)
    if values.size <= MAX_GRID:
        edges = level_edges(values)
    else:
        edges = bin_edges(LEVELS_OF_CONTINUOUS, (float(values[0]), float(values[-1])))
    levels = [np.searchsorted(edges, column[rated], side="right") for column, rated in zip(flat.T, seen.T, strict=True)]
    counts = np.stack([np.bincount(level, minlength=len(edges) + 1) for level in levels])
    return np.asarray(entropy_of_counts(counts), np.float64)


def rule_reliabilities(
    names: Sequence[str],
    ratings: Float[np.ndarray, "N 2 K"],
    mask: Bool[np.ndarray, "N 2 K"],
    sign: Float[np.ndarray, " N"],
    common: Commonality,
) -> tuple[RuleReliability, ...]:
    """One line for every rule.

    Args:
      names: of the K rules.
      ratings, mask: of N comparisons.
      sign: 1 where people prefer the first response, -1 the second, 0 where nobody chose.
      common: what the rules have in common.
    """
    both = mask.all(1)
    difference = np.where(both, rule_margins(ratings[:, 0], ratings[:, 1]).value, 0)
    ties, labelled = both & is_tie(difference), both & (sign != 0)[:, None]
    counted, n = labelled.sum(0), both.sum(0)
    right = np.where(labelled, credit(difference * sign[:, None]), 0).sum(0)
    tied = (labelled & ties).sum(0)
    few = 0 < (sign != 0).sum() < ENOUGH_LABELS
    if few:
        fit = estimate_accuracy(common.loading, right, counted)
        value, low, high = fit.value, fit.low, fit.high
    else:
        value = _share(right, counted)
        low, high = wilson_interval(right, counted)
    grids = observed_grids(ratings.reshape(-1, len(names)), mask.reshape(-1, len(names)))
    entropy = common_entropy(ratings, mask, grids)
    return tuple(
        RuleReliability(
            *(name, int(n[k]), grids[k].size, float(_share(ties.sum(0), n)[k]), float(entropy[k])),
            *(float(part[k]) for part in (common.loading, common.low, common.high)),
            int(counted[k]),
            *(float(part[k]) for part in (_share(right, counted), _share(right - tied / 2, counted))),
            float(_share(right - tied / 2, counted - tied)[k]),
            *(float(part[k]) if counted[k] or few else math.nan for part in (value, low, high)),
        )
        for k, name in enumerate(names)
    )


def wilson_interval(
    right: Float[np.ndarray, " K"], n: Float[np.ndarray, " K"], level: float = 0.95
) -> tuple[Float[np.ndarray, " K"], Float[np.ndarray, " K"]]:
    """Wilson's interval of a share (1927); NaN where n is 0."""
    z = scipy.special.ndtri(0.5 + level / 2)
    share = _share(right, n)
    safe = np.maximum(n, 1)
    centre = (share + z * z / (2 * safe)) / (1 + z * z / safe)
    half = z * np.sqrt(np.maximum(share * (1 - share), 0) / safe + (z / (2 * safe)) ** 2) / (1 + z * z / safe)
    return centre - half, centre + half


def _share(part, whole) -> np.ndarray:
    whole = np.asarray(whole, np.float64)
    return np.where(whole > 0, np.asarray(part, np.float64) / np.where(whole > 0, whole, 1), np.nan)
