"""How far two judges, or a judge and people, agree; and what a judge's ratings look like. Pure functions on arrays.

Letters: N things rated, J judges, L levels. A NaN is a missing rating; a number that cannot be had (too few ratings, a
constant side) is NaN.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import NormalDist
from typing import Literal, NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int

from encore_jax.errors import InputError

Level = Literal["nominal", "ordinal", "interval"]


class Agreement(NamedTuple):
    """Two judges on the same N things.

    Attributes:
      n: things that both rated.
      pearson, spearman: correlation of ratings and of ranks (ties share their mean rank).
      alpha: Krippendorff's, of interval data; both have to use the same scale.
    """

    n: int
    pearson: float
    spearman: float
    alpha: float


def agreement(a: Float[np.ndarray, " N"], b: Float[np.ndarray, " N"]) -> Agreement:
    """Agreement of two judges on one scale.

    Raises:
      InputError: other shapes.

    >>> agreement(np.array([0.0, 0.5, 1.0, np.nan]), np.array([0.0, 0.5, 1.0, 1.0]))
    Agreement(n=3, pearson=1.0, spearman=1.0, alpha=1.0)
    """
    both = _both(a, b)
    a, b = np.asarray(a, np.float64)[both], np.asarray(b, np.float64)[both]
    return Agreement(len(a), correlation(a, b), correlation(ranks(a), ranks(b)), krippendorff_alpha(np.stack([a, b])))


def correlation(a: Float[np.ndarray, " N"], b: Float[np.ndarray, " N"]) -> float:
    """Pearson's correlation in float64; NaN where a side is constant or there are fewer than 2 points."""
    if len(a) < 2 or (a == a[0]).all() or (b == b[0]).all():
        return math.nan
    return float(np.clip(np.corrcoef(a, b)[0, 1], -1.0, 1.0))


def ranks(values: Float[np.ndarray, " N"]) -> Float[np.ndarray, " N"]:
    """Ranks from 1; equal values share the mean of theirs.

    >>> ranks(np.array([0.2, 0.9, 0.2])).tolist()
    [1.5, 3.0, 1.5]
    """
    _, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
    last = np.cumsum(counts)
    return (last - (counts - 1) / 2)[inverse]


def krippendorff_alpha(ratings: Float[np.ndarray, "J N"], level: Level = "interval") -> float:
    """Krippendorff's alpha of J judges: 1 is agreement, 0 is what chance gives, below 0 is opposition.

    Things that fewer than two judges rated do not count. NaN where nothing is left, or where all ratings are equal.
    """
    import krippendorff

    ratings = np.asarray(ratings, np.float64)
    seen = ratings[:, np.isfinite(ratings).sum(0) >= 2]
    values = seen[np.isfinite(seen)]
    if values.size < 2 or (values == values[0]).all():
        return math.nan
    return float(krippendorff.alpha(reliability_data=seen, level_of_measurement=level))


def auc(score: Float[np.ndarray, " N"], label: Bool[np.ndarray, " N"]) -> float:
    """Probability that a score of the true ones is above one of the false ones, ties half; NaN with one kind only.

    >>> auc(np.array([0.1, 0.4, 0.4, 0.8]), np.array([False, False, True, True]))
    0.875
    """
    label = np.asarray(label, bool)
    true, false = int(label.sum()), int((~label).sum())
    if not true or not false:
        return math.nan
    return float((ranks(np.asarray(score, np.float64))[label].sum() - true * (true + 1) / 2) / (true * false))


class PositionBias(NamedTuple):
    """Does a judge of pairs favour what it is shown first?

    Attributes:
      n: verdicts.
      first: share of verdicts for the response shown first, a tie half; 0.5 is no bias if the order was random.
      low, high: Wilson's interval of that share at 95 %.
    """

    n: int
    first: float
    low: float
    high: float


def position_bias(verdict: Float[np.ndarray, " N"], level: float = 0.95) -> PositionBias:
    """Position bias of verdicts: 1 for the response shown first, 0 for the second, 0.5 for a tie.

    >>> position_bias(np.array([1.0, 1.0, 1.0, 0.0])).first
    0.75
    """
    verdict = np.asarray(verdict, np.float64)
    verdict = verdict[np.isfinite(verdict)]
    n = len(verdict)
    if not n:
        return PositionBias(0, math.nan, math.nan, math.nan)
    share, z = float(verdict.mean()), NormalDist().inv_cdf(0.5 + level / 2)
    centre, wide = share + z * z / (2 * n), z * math.sqrt(share * (1 - share) / n + z * z / (4 * n * n))
    return PositionBias(n, share, (centre - wide) / (1 + z * z / n), (centre + wide) / (1 + z * z / n))


class OrderConsistency(NamedTuple):
    """Verdicts on the same pairs shown in both orders: shares of the `n` pairs.

    Attributes:
      n: pairs with both verdicts.
      same: the same response won, or it was a tie both times.
      first, second: whatever was shown first (second) won both times.
    """

    n: int
    same: float
    first: float
    second: float


def order_consistency(one: Float[np.ndarray, " N"], swapped: Float[np.ndarray, " N"]) -> OrderConsistency:
    """Consistency of verdicts (1: shown first wins, 0: second, 0.5: tie) in one order and in the other.

    >>> order_consistency(np.array([1.0, 1.0, 0.5]), np.array([0.0, 1.0, 0.5])).same.__round__(3)
    0.667
    """
    both = _both(one, swapped)
    one, swapped = np.asarray(one)[both], np.asarray(swapped)[both]
    if not len(one):
        return OrderConsistency(0, math.nan, math.nan, math.nan)
    shares = (one + swapped == 1, (one > 0.5) & (swapped > 0.5), (one < 0.5) & (swapped < 0.5))
    return OrderConsistency(len(one), *(float(share.mean()) for share in shares))


def rating_histogram(
    ratings: Float[np.ndarray, "N K"], scale: tuple[float, float], levels: int = 11
) -> Int[np.ndarray, "K L"]:
    """How many of each rule's ratings lie nearest to each of L evenly spaced levels of the scale.

    Raises:
      InputError: a rating outside the scale.
    """
    ratings = np.asarray(ratings, np.float64)
    low, high = scale
    outside = np.argwhere((ratings < low - 1e-6) | (ratings > high + 1e-6))
    if len(outside):
        row, k = outside[0]
        raise InputError(f"{ratings[row, k]} is outside [{low}, {high}]", where=f"ratings, row {row}, rule {k}")
    nearest = np.floor((ratings - low) / (high - low) * (levels - 1) + 0.5)
    return np.stack([(nearest == level).sum(0) for level in range(levels)], axis=-1)


def share_decided(ratings: Float[np.ndarray, "N K"], scale: tuple[float, float]) -> Float[np.ndarray, " K"]:
    """Share of each rule's ratings in the outer tenths of the scale: a judge that shuns a verdict has few."""
    low, high = scale
    at = (np.asarray(ratings, np.float64) - low) / (high - low)
    known = ~np.isnan(at)
    decided, count = (known & ((at <= 0.1) | (at >= 0.9))).sum(0), known.sum(0)
    return np.where(count > 0, decided / np.maximum(count, 1), np.nan)


def _both(a: Sequence[float], b: Sequence[float]) -> np.ndarray:
    a, b = np.asarray(a, np.float64), np.asarray(b, np.float64)
    if a.shape != b.shape or a.ndim != 1:
        raise InputError(f"shapes {a.shape} and {b.shape}", where="agreement", fix="pass [N] and [N]")
    return np.isfinite(a) & np.isfinite(b)
