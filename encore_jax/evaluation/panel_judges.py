"""What each judge of a panel is worth: whether it follows the others, and what the panel loses without it.

Letters: M pairs, Q judges, K rules, C = Q·K columns (judge 0's rules first), R bootstrap draws.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float

from encore_jax.composition import entropy_weights
from encore_jax.composition.agreement import FEWEST_RULES, agreement_weights, one_factor
from encore_jax.composition.camps import LEAST_LOADING, camp_loadings
from encore_jax.composition.moments import Rows, correlations, moments_of, spreads
from encore_jax.composition.ties import Margin, weighted_margin
from encore_jax.errors import InputError
from encore_jax.evaluation.bootstrap import percentile_interval
from encore_jax.evaluation.panel_agreement import PairTable, known_mean, resampled_correlations
from encore_jax.evaluation.panel_ways import Ways
from encore_jax.evaluation.reliability import Reliability


class JudgeReliability(NamedTuple):
    """What is known of one judge.

    Attributes:
      judge: its name.
      n: pairs of which it rates both responses on some rule.
      missing: share of the ratings that it might have given and did not.
      loading: mean loading of its rules on what all judges' rules have in common; NaN if unknown.
      own_loading: loading of its mean rating on what the judges' means have in common; NaN with fewer than three.
      follows: whether it follows the others; False if its correlation with them may be 0, and is surely small.
      rest, rest_low, rest_high: correlation of its mean rating with the mean of all others that follow each other (each
        of unit spread), with a 95 % interval over prompts. Rules that go against the others are turned round for both.
      spread: of its mean rating's differences, on its own scale.
      labels: labelled pairs that it rates.
      accuracy, low, high: of its own mean rating on those, ties half.
      alone, alone_low, alone_high: that minus the accuracy of the panel's reward on the same pairs.
      kept: correlation of the panel's reward without it with the whole panel's.
      without, without_low, without_high: accuracy of the panel's reward without it minus the whole panel's, on pairs
        that another judge rates.
    """

    judge: str
    n: int
    missing: float
    loading: float
    own_loading: float
    follows: bool
    rest: float
    rest_low: float
    rest_high: float
    spread: float
    labels: int
    accuracy: float
    low: float
    high: float
    alone: float
    alone_low: float
    alone_high: float
    kept: float
    without: float
    without_low: float
    without_high: float


def judge_reliabilities(
    table: PairTable,
    names: tuple[str, ...],
    missing: Float[np.ndarray, " Q"],
    found: Reliability,
    ways: Ways,
    tau: float,
) -> tuple[JudgeReliability, ...]:
    """An entry for every judge.

    Args:
      table: of pairs.
      names: of the Q judges.
      missing: share of ratings that each lacks.
      found: what its columns have in common, and which weighting is recommended: the panel's reward.
      ways: which way round judges and rules follow that; all of them alike, if it is more than one thing.
      tau: temperature of the entropy weights.
    """
    judges, rules = table.judges, table.rules
    own = own_means(table)
    turned = own_means(table, np.where(ways.rules < 0, -1.0, 1.0))
    follows, (rest, rest_low, rest_high) = followers(table, turned, sides(ways, found.settled_by != ""))
    own_loading = judge_loadings(turned)
    spread = spreads_of_means(turned)
    loading = known_mean(found.common.loading.reshape(judges, rules), 1)
    weights = [np.asarray(found.weights[found.recommended], np.float64)]
    weights += [weights_without(j, table, found, tau) for j in range(judges)]
    weights += [np.repeat(np.arange(judges) == j, rules) / rules for j in range(judges)]
    margins = [weighted_margin(table.difference, table.tolerance, part) for part in weights]
    # Pairs that somebody rates, that somebody else rates, that the judge rates.
    others = [np.delete(own.mask, j, 1).any(1) for j in range(judges)]
    told = np.stack([own.mask.any(1), *others, *own.mask.T], 1)
    value, gain = accuracies(table, margins, told)
    lines = []
    for j, name in enumerate(names):
        without, alone = 1 + j, 1 + judges + j
        lines.append(
            JudgeReliability(
                *(name, int(own.mask[:, j].sum()), float(missing[j]), float(loading[j]), float(own_loading[j])),
                bool(follows[j]),
                *(float(part[j]) for part in (rest, rest_low, rest_high, spread)),
                int((own.mask[:, j] & (table.sign != 0)).sum()),
                *(float(part[alone]) for part in (*value, *gain)),
                correlation_of(margins[0].value, margins[without].value),
                *(float(part[without]) for part in gain),
            )
        )
    return tuple(lines)


def own_means(table: PairTable, sign: Float[np.ndarray, " K"] | float = 1.0) -> Rows:
    """Every judge's mean difference over its rules, an unrated one counting 0; there where it rates any.

    Args:
      table: of pairs.
      sign: -1 turns a rule round.
    """
    shape = (len(table.difference), table.judges, table.rules)
    both = table.both.reshape(shape).any(2)
    return Rows((table.difference.reshape(shape).astype(np.float64) * sign).mean(2), both, table.group, True)


def sides(ways: Ways, settled: bool) -> Bool[np.ndarray, "S Q"]:
    """Sets of judges within which judges are compared: all of them, unless some go against the others.

    Args:
      ways: which way round each goes.
      settled: whether it is known which way is right; the others are then compared with those that go it.
    """
    if not ways.judges_differ:
        return np.ones((1, len(ways.judges)), bool)
    right = ways.judges >= 0
    return right[None] if settled else np.stack([right, ways.judges < 0])


def followers(
    table: PairTable, own: Rows, sides: Bool[np.ndarray, "S Q"]
) -> tuple[Bool[np.ndarray, " Q"], tuple[np.ndarray, ...]]:
    """Which judges follow the others, and how every judge correlates with the mean of all others that do.

    One judge that goes another way makes the others look as if they did not agree. So the worst is set aside, and the
    rest is looked at again, until all that are left follow each other. If fewer than two were, nobody is set aside.

    Args:
      table: of pairs.
      own: the judges' means.
      sides: judges are compared with those of their side; one that is on no side, with the first.
    """
    told = [_followers(table, own, side) for side in sides]
    at = np.where(sides.any(0), sides.argmax(0), 0)
    judges = np.arange(table.judges)
    numbers = np.array([numbers for _, numbers in told])[at, :, judges].T
    return np.array([follows for follows, _ in told])[at, judges], tuple(numbers)


def _followers(table: PairTable, own: Rows, side: np.ndarray) -> tuple[np.ndarray, tuple[np.ndarray, ...]]:
    kept = side.copy()
    while kept.sum() > 1:
        told = with_the_rest(table, own, kept)
        astray = kept & _is_astray(told)
        if not astray.any():
            return ~_is_astray(told), told
        kept[np.argmin(np.where(astray, told[0], np.inf))] = False
    told = with_the_rest(table, own, side)
    return ~_is_astray(told), told


def _is_astray(told: tuple[np.ndarray, ...]) -> Bool[np.ndarray, " Q"]:
    _, low, high = told
    return (low <= 0) & (high < LEAST_LOADING)


def spreads_of_means(own: Rows) -> Float[np.ndarray, " Q"]:
    """Root mean square of every judge's differences, which are about 0; 0 where nothing varies."""
    count = np.maximum(own.mask.sum(0), 1)
    return np.sqrt((np.where(own.mask, own.values, 0) ** 2).sum(0) / count)


def with_the_rest(table: PairTable, own: Rows, kept: Bool[np.ndarray, " Q"]) -> tuple[np.ndarray, ...]:
    """Correlation ``[Q]`` of every judge's mean with the mean of all others that are kept, each of unit spread.

    Returns:
      The correlations, and both ends of their 95 % intervals.
    """
    spread = spreads_of_means(own)
    unit = np.where(own.mask, own.values, 0) / np.where(spread > 0, spread, 1)
    said, there = unit * kept, own.mask & kept
    others = there.sum(1, keepdims=True) - there
    rest = (said.sum(1, keepdims=True) - said) / np.maximum(others, 1)
    rows = own._replace(values=np.concatenate([unit, rest], 1), mask=np.concatenate([own.mask, others > 0], 1))
    first = list(range(table.judges))
    point, samples = resampled_correlations(rows, table.times, first, [table.judges + j for j in first])
    return point, *percentile_interval(samples)


def judge_loadings(own: Rows) -> Float[np.ndarray, " Q"]:
    """Loadings of the judges' means on what they have in common; NaN with fewer than three, and where unknown."""
    if own.values.shape[1] < FEWEST_RULES:
        return np.full(own.values.shape[1], np.nan)
    correlation, together = correlations(moments_of(own, own.prompt).total())
    return np.where(np.asarray(together).any(1), np.asarray(one_factor(correlation, together)), np.nan)


def weights_without(judge: int, table: PairTable, found: Reliability, tau: float) -> Float[np.ndarray, " C"]:
    """The recommended weights of what is left without one judge, made in the same way; 0 for its own columns.

    With fewer than three columns, or nothing in common, no agreement can be told: equal weights.
    """
    columns = np.arange(table.judges * table.rules)
    kept = columns[columns // table.rules != judge]
    weights = np.zeros(len(columns))
    weights[kept] = 1 / len(kept)
    if found.recommended == "entropy":
        entropy = np.array([found.rules[c].entropy for c in kept])
        weights[kept] = np.asarray(entropy_weights(entropy, tau), np.float64)
    elif found.recommended == "agreement" and len(kept) >= FEWEST_RULES:
        rows = table.rows(kept)
        total = moments_of(rows, rows.prompt).total()
        correlation, together = (np.asarray(part) for part in correlations(total))
        if found.camp is None:
            loading = np.array(one_factor(correlation, together), np.float64)
            loading[~together.any(1)] = np.nan
        else:
            camp = tuple(np.flatnonzero(np.isin(kept, found.common.camps[found.camp])).tolist())
            loading = camp_loadings(correlation, together, camp) if len(camp) > 1 else np.zeros(len(kept))
        if np.nansum(loading * found.agreement_loading[kept]) < 0:  # the same way round as the whole panel
            loading = -loading
        try:
            weights[kept] = np.asarray(agreement_weights(loading, spreads(total)), np.float64)
        except InputError:  # no rule that is left follows the others
            pass
    return weights


def accuracies(table: PairTable, margins: list[Margin], where_MxW: Bool[np.ndarray, "M W"]) -> tuple[tuple, tuple]:
    """Accuracy of every reward on the labelled pairs it can tell of (ties half), and what it gains there on the first.

    Args:
      table: of pairs.
      margins: of W rewards.
      where_MxW: the pairs that every reward has ratings of; the others say nothing for it or against it.

    Returns:
      Value, low and high of either, arrays over the rewards; 95 % intervals over prompts. NaN without labels.
    """
    credit = np.stack([Margin(part.value * table.sign, part.tolerance).credit for part in margins], 1)
    kept = (table.sign != 0)[:, None] & where_MxW
    gain, kept_too = credit - credit[:, :1], kept & where_MxW[:, :1]

    def told(values: np.ndarray, where: np.ndarray) -> tuple[np.ndarray, ...]:
        sums, count = (np.zeros((table.times.shape[1], len(margins))) for _ in range(2))
        np.add.at(sums, table.group, values * where)
        np.add.at(count, table.group, where.astype(float))
        drawn, number = table.times @ count, where.sum(0)
        samples = table.times @ sums / np.where(drawn > 0, drawn, np.nan)
        value = np.where(number > 0, (values * where).sum(0) / np.maximum(number, 1), np.nan)
        return value, *percentile_interval(samples)

    return told(credit, kept), told(gain, kept_too)


def correlation_of(a: Float[np.ndarray, " M"], b: Float[np.ndarray, " M"]) -> float:
    """Correlation of two rewards' margins in both orientations, so about 0; NaN where one never prefers anything.

    >>> correlation_of(np.array([1.0, -2.0]), np.array([2.0, -4.0]))
    1.0
    """
    size = np.sqrt((a * a).sum() * (b * b).sum())
    return float(np.clip((a * b).sum() / size, -1, 1)) if size > 0 else float("nan")
