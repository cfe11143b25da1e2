"""How much of a judge's ratings is chance: variance between repeated draws, and between the two orders of a pair.

A judge at a temperature answers differently each time, and many judges of pairs favour a place. Both are variance
*within* what is rated: a one-way random-effects analysis of variance over repetitions separates it from the variance
*between* what is rated. With mean squares MSB and MSW and R repetitions (of unequal numbers the usual n₀),

    within  = MSW                          between = (MSB - MSW) / R
    ICC(1,1) = between / (between + within)      reliability of one draw      (Shrout and Fleiss 1979)
    ICC(1,R) = 1 - MSW / MSB                     reliability of the mean of R

Letters: N things rated, R repetitions, J rows, Q judges, K rules.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from encore_jax.composition.checks import numbers
from encore_jax.errors import InputError
from encore_jax.evaluation.agreement import order_consistency, position_bias


class OneWay(NamedTuple):
    """A one-way analysis of variance.

    Attributes:
      n: things with at least two repetitions.
      between, within: variance components; `between` is not negative.
      share: of the variance of one repetition, what lies within: 0 if repetitions agree, 1 if it is all chance.
      icc, icc_mean: ICC(1,1) and ICC(1,R), which are negative where repetitions differ more than things do.
    """

    n: int
    between: float
    within: float
    share: float
    icc: float
    icc_mean: float


class Repetition(NamedTuple):
    """Repeated draws of one judge.

    Attributes:
      judge: its name.
      draws: R.
      rules: an analysis of every rule's ratings.
      share: within-judge share of the variance, over all rules together.
    """

    judge: str
    draws: int
    rules: tuple[OneWay, ...]
    share: float


class Position(NamedTuple):
    """A judge's verdicts on pairs that it saw in both orders.

    Attributes:
      judge: its name.
      n: pairs with both verdicts.
      first, low, high: share of all verdicts for the response shown first, with Wilson's 95 % interval; 0.5 is no bias.
      same: share of the pairs in which the same response won both times.
      share: of the variance of one verdict, what is due to the order.
    """

    judge: str
    n: int
    first: float
    low: float
    high: float
    same: float
    share: float


UNKNOWN = OneWay(0, math.nan, math.nan, math.nan, math.nan, math.nan)


def one_way(values: Float[np.ndarray, "N R"]) -> OneWay:
    """Variance between and within N things that were rated up to R times; NaN where there is no rating.

    Things rated once say nothing and are left out. All numbers are NaN where fewer than two things are left, and shares
    are where nothing varies.

    >>> one_way(np.array([[0.0, 0.0], [1.0, 1.0], [0.5, 0.5]])).share
    0.0
    """
    values = np.asarray(values, np.float64)
    known = np.isfinite(values)
    kept = known.sum(1) >= 2
    values, known = values[kept], known[kept]
    things, counts = len(values), known.sum(1)
    total = int(counts.sum())
    if things < 2:
        return UNKNOWN._replace(n=things)
    values = np.where(known, values, 0.0)
    grand = values.sum() / total
    mean = values.sum(1) / counts
    within = float((np.where(known, values - mean[:, None], 0) ** 2).sum() / (total - things))
    between_square = float((counts * (mean - grand) ** 2).sum() / (things - 1))
    usual = (total - float((counts**2).sum()) / total) / (things - 1)  # n0, R if all were rated equally often
    component = (between_square - within) / usual
    if within + between_square <= 1e-12 * float((values**2).sum() / total):  # less is rounding
        return OneWay(things, 0.0, 0.0, math.nan, math.nan, math.nan)
    icc_mean = 1 - within / between_square if between_square > 0 else math.nan
    share = within / (max(component, 0.0) + within)
    return OneWay(things, max(component, 0.0), within, share, component / (component + within), icc_mean)


def repetitions(ratings: Float[np.ndarray, "J ... K"], judges: Sequence[str]) -> tuple[Repetition, ...]:
    """An entry for every judge of which there are several draws.

    Args:
      ratings: of every row; NaN where there is none.
      judges: of every row the judge that it is a draw of.
    """
    found = []
    for judge in dict.fromkeys(judges):
        rows = [row for row, name in enumerate(judges) if name == judge]
        if len(rows) < 2:
            continue
        own = ratings[rows]
        flat = own.reshape(len(rows), -1, own.shape[-1])
        rules = tuple(one_way(flat[:, :, k].T) for k in range(own.shape[-1]))
        found.append(Repetition(judge, len(rows), rules, _pooled(rules)))
    return tuple(found)


def _pooled(rules: Sequence[OneWay]) -> float:
    known = [rule for rule in rules if math.isfinite(rule.within)]
    whole = sum(rule.between + rule.within for rule in known)
    return sum(rule.within for rule in known) / whole if whole > 0 else math.nan


def positions(verdicts: Float[np.ndarray, "Q N 2"], judges: Sequence[str]) -> tuple[Position, ...]:
    """What the order of a pair does to each judge.

    Args:
      verdicts: 1 where the response shown first won, 0 where the second did, ½ for a tie, or a probability; in one
        order and with the responses swapped. NaN where there is none.
      judges: their names.

    Raises:
      InputError: another shape, or a verdict outside 0 to 1.

    >>> (found,) = positions(np.array([[[1.0, 1.0], [1.0, 1.0]]]), ["partial"])
    >>> found.first, found.same
    (1.0, 0.0)
    """
    verdicts = np.asarray(numbers(verdicts, "verdicts", finite=False, dtype=None), np.float64)
    if verdicts.ndim != 3 or verdicts.shape[2] != 2 or len(verdicts) != len(judges):
        problem = f"has shape {verdicts.shape} for {len(judges)} judges"
        raise InputError(problem, where="verdicts", fix="pass [judges, pairs, 2]: in one order, and swapped")
    outside = np.argwhere((verdicts < 0) | (verdicts > 1))
    if outside.size:
        j, i, _ = outside[0]
        problem = f"{verdicts[tuple(outside[0])]:g} is outside 0 to 1"
        fix = "1 where the response shown first won, 0 where the second did, 0.5 for a tie"
        raise InputError(problem, where=f"verdicts, judge {judges[j]!r}, pair {i}", fix=fix)
    found = []
    for judge, (one, swapped) in zip(judges, np.moveaxis(verdicts, 2, 1), strict=True):
        both = np.isfinite(one) & np.isfinite(swapped)
        bias = position_bias(np.concatenate([one, swapped]))
        same = order_consistency(one, swapped).same
        share = one_way(np.stack([one, 1 - swapped], 1)[both]).share
        found.append(Position(judge, int(both.sum()), bias.first, bias.low, bias.high, same, share))
    return tuple(found)
