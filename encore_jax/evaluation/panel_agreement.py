"""How alike the judges of a panel are on one and the same rule, and how many independent ones they are worth.

All of it is about differences of two responses to one prompt, in both orientations, and resampled by prompt with the
same draws throughout.

Letters: M pairs, Q judges, K rules, C = Q·K columns (judge 0's rules first), G groups of prompts, R bootstrap draws.
"""

from __future__ import annotations

import itertools
import math
import warnings
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int

from encore_jax.composition.moments import Rows, correlations, moments_of, prompt_groups
from encore_jax.composition.ties import rule_margins
from encore_jax.evaluation.bootstrap import percentile_interval
from encore_jax.evaluation.rated_pairs import RatedPairs

DRAWS_AT_ONCE = 100


class RuleAcrossJudges(NamedTuple):
    """What the judges make of one rule.

    Attributes:
      rule: its name.
      loading: mean of the judges' loadings on it; NaN if unknown.
      correlation, low, high: mean correlation between two judges on it, with a 95 % interval over prompts.
      reliability: of the mean over all judges, ``Q r / (1 + (Q - 1) r)`` (Spearman-Brown; the standardised alpha), 0
        where r is negative.
    """

    rule: str
    loading: float
    correlation: float
    low: float
    high: float
    reliability: float


class BetweenJudges(NamedTuple):
    """How alike judges are on one and the same rule.

    Attributes:
      correlation, low, high: ρ, mean over all rules and all pairs of judges of the correlation between both judges'
        differences on that rule (those that are unknown left out), with a 95 % interval over prompts.
      effective, effective_low, effective_high: Kish's effective number of judges ``Q / (1 + (Q - 1) ρ)``; a negative
        ρ counts as 0.
      rules: every rule's own.
    """

    correlation: float
    low: float
    high: float
    effective: float
    effective_low: float
    effective_high: float
    rules: tuple[RuleAcrossJudges, ...]


class PairTable(NamedTuple):
    """Differences of two responses, of every judge on every rule, and how to resample them.

    Attributes:
      difference, both, tolerance: ``[M, C]``; 0 where not both responses are rated; see `rule_margins`.
      sign: ``[M]``, 1 where people prefer the first response, -1 the second, 0 where nobody chose.
      group: ``[M]``, group of prompts.
      times: ``[R, G]``, how often each group occurs in each bootstrap draw.
      judges: Q.
    """

    difference: Float[np.ndarray, "M C"]
    both: Bool[np.ndarray, "M C"]
    tolerance: Float[np.ndarray, "M C"]
    sign: Float[np.ndarray, " M"]
    group: Int[np.ndarray, " M"]
    times: Int[np.ndarray, "R G"]
    judges: int

    @property
    def rules(self) -> int:
        """K."""
        return self.difference.shape[1] // self.judges

    def rows(self, columns: slice | np.ndarray) -> Rows:
        """Some columns, as correlations take them."""
        return Rows(self.difference[:, columns].astype(np.float64), self.both[:, columns], self.group, True)


def pair_table(pairs: RatedPairs, judges: int, draws: int, seed: int) -> PairTable:
    """The table of rated pairs whose columns are judge × rule."""
    both = pairs.mask.all(1)
    difference, tolerance = (np.where(both, part, 0) for part in rule_margins(pairs.ratings[:, 0], pairs.ratings[:, 1]))
    group = prompt_groups(pairs.prompt, seed)
    number = int(group.max()) + 1
    times = np.random.default_rng(seed).multinomial(number, np.full(number, 1 / number), draws)
    return PairTable(difference, both, tolerance, pairs.sign, group, times, judges)


def between_judges(table: PairTable, names: tuple[str, ...], loading_QxK: Float[np.ndarray, "Q K"]) -> BetweenJudges:
    """How alike the judges are, rule by rule and overall.

    Args:
      table: of pairs.
      names: of the K rules.
      loading_QxK: of every judge on every rule.
    """
    first, second = (list(part) for part in zip(*itertools.combinations(range(table.judges), 2), strict=True))
    point, samples = [], []
    for k in range(table.rules):
        rows = table.rows(slice(k, None, table.rules))
        found, drawn = resampled_correlations(rows, table.times, first, second)
        point.append(found)
        samples.append(drawn)
    point, samples = np.stack(point), np.stack(samples, 1)  # [K, pairs], [R, K, pairs]
    rules, low, high = [], *percentile_interval(known_mean(samples, 2))
    for k, name in enumerate(names):
        r = float(known_mean(point[k], 0))
        loading = float(known_mean(loading_QxK[:, k], 0))
        rules.append(RuleAcrossJudges(name, loading, r, float(low[k]), float(high[k]), spearman_brown(r, table.judges)))
    overall, drawn = float(known_mean(point, None)), known_mean(samples.reshape(len(samples), -1), 1)
    low, high = (float(part) for part in percentile_interval(drawn))
    effective = [effective_judges(r, table.judges) for r in (overall, high, low)]
    return BetweenJudges(overall, low, high, *effective, tuple(rules))


def effective_judges(correlation: float, judges: int) -> float:
    """Kish's number, how many independent judges would average as well.

    >>> effective_judges(0.5, 3), effective_judges(-0.2, 3)
    (1.5, 3.0)
    """
    return judges / (1 + (judges - 1) * max(correlation, 0.0)) if math.isfinite(correlation) else math.nan


def spearman_brown(correlation: float, judges: int) -> float:
    """Reliability of the mean of some judges, two of whom correlate so.

    >>> spearman_brown(0.5, 3)
    0.75
    """
    r = max(correlation, 0.0)
    return judges * r / (1 + (judges - 1) * r) if math.isfinite(correlation) else math.nan


def resampled_correlations(
    rows: Rows, times_RxG: Int[np.ndarray, "R G"], first: list[int], second: list[int]
) -> tuple[Float[np.ndarray, " P"], Float[np.ndarray, "R P"]]:
    """Correlations of P pairs of columns, of all rows and of every bootstrap draw; NaN where they are unknown.

    Args:
      rows: whose `prompt` numbers the groups.
      times_RxG: how often each group occurs in each draw.
      first, second: the columns of every pair.
    """
    groups = moments_of(rows, rows.prompt)

    def some(moments) -> np.ndarray:
        correlation, together = (np.asarray(part, np.float64) for part in correlations(moments))
        return np.where(together > 0, correlation, np.nan)[..., first, second]

    parts = [times_RxG[at : at + DRAWS_AT_ONCE] for at in range(0, len(times_RxG), DRAWS_AT_ONCE)]
    return some(groups.total()), np.concatenate([some(groups.resampled(part.astype(np.float64))) for part in parts])


def known_mean(values: Float[np.ndarray, "..."], axis: int | None = None) -> Float[np.ndarray, "..."]:
    """Mean of what is known; NaN where nothing is.

    >>> known_mean(np.array([[1.0, np.nan], [np.nan, np.nan]]), 1).tolist()
    [1.0, nan]
    """
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Mean of empty slice", RuntimeWarning)
        return np.nanmean(values, axis)
