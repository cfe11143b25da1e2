"""Are two methods different? McNemar's test, a test that respects prompts, many tests at once, and how many it takes.

Two methods judge the same comparisons; only those count that one gets right and the other wrong: `better` that the
first wins, `worse` that the second wins. McNemar's tests take comparisons for independent. Where several share a
prompt they are not, and `prompt_test`, which flips the sign of whole prompts, is the one to believe.
"""

from __future__ import annotations

import functools
import math
from statistics import NormalDist
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from encore_jax.errors import InputError


class McNemar(NamedTuple):
    """Discordant comparisons and the two-sided p-value.

    Attributes:
      better, worse: comparisons that only the first, or only the second method gets right.
      statistic: smaller of the two counts (exact test), or χ² with one degree of freedom.
      p: two-sided.
    """

    better: int
    worse: int
    statistic: float
    p: float


def mcnemar(better: int, worse: int, *, exact: bool = True, continuity: bool = True) -> McNemar:
    """McNemar's test that the two methods are right equally often.

    Args:
      better, worse: the discordant counts.
      exact: by the binomial distribution; otherwise by χ², which needs some 25 discordant comparisons.
      continuity: Edwards' correction of χ².

    Raises:
      InputError: a negative count.

    >>> [round(mcnemar(5, 15, exact=exact).p, 4) for exact in (True, False)]
    [0.0414, 0.0442]
    """
    if better < 0 or worse < 0:
        raise InputError(f"counts {better} and {worse}", where="mcnemar", fix="counts are not negative")
    n, low = better + worse, min(better, worse)
    if exact:
        return McNemar(better, worse, float(low), min(1.0, 2 * _binomial_tail(low, n)))
    if not n:
        return McNemar(better, worse, 0.0, 1.0)
    statistic = max(abs(better - worse) - (1.0 if continuity else 0.0), 0.0) ** 2 / n
    return McNemar(better, worse, statistic, math.erfc(math.sqrt(statistic / 2)))


@functools.lru_cache(maxsize=4096)
def _binomial_tail(k: int, n: int) -> float:
    """P(X <= k) for n fair coins, in logarithms."""
    terms = [math.lgamma(n + 1) - math.lgamma(i + 1) - math.lgamma(n - i + 1) for i in range(k + 1)]
    return math.exp(np.logaddexp.reduce(terms) - n * math.log(2))


@functools.partial(jax.jit, static_argnames=("draws", "prompts"))
def _signs(key, draws, prompts):
    return jax.random.rademacher(key, (draws, prompts), jnp.float32)


def prompt_test(sums: Float[Array, "G M"], key: Array, draws: int = 4000) -> np.ndarray:
    """Two-sided p-values ``[M]`` of M differences of credit by flipping the sign of whole prompts at random.

    Under the null hypothesis that the two methods are exchangeable, a prompt's difference is as likely negative as
    positive, however its comparisons depend on each other.

    Args:
      sums: ``[G, M]``, the difference of credit summed over each of G prompts.
      key: of the flips; the same flips for all M.
      draws: random flips; the smallest possible p is 1 / (draws + 1).
    """
    sums = np.asarray(sums, np.float32)
    total = np.abs(sums.sum(0).astype(np.float64))
    flipped = np.abs(np.asarray(_signs(key, draws, len(sums))) @ sums)
    extreme = (flipped >= (total * (1 - 1e-6) - 1e-6)).sum(0)
    return (1 + extreme) / (1 + draws)


def holm(p: Float[np.ndarray, " M"]) -> np.ndarray:
    """Holm's adjusted p-values: the chance of any false alarm in the table stays below the level; NaN stays NaN.

    >>> holm(np.array([0.01, 0.04, 0.03])).round(3).tolist()
    [0.03, 0.06, 0.06]
    """
    return _adjusted(p, lambda ranked: np.maximum.accumulate(ranked * np.arange(len(ranked), 0, -1)))


def benjamini_hochberg(p: Float[np.ndarray, " M"]) -> np.ndarray:
    """Benjamini and Hochberg's adjusted p-values: the expected share of false alarms among the alarms; NaN stays NaN.

    >>> benjamini_hochberg(np.array([0.01, 0.04, 0.03])).round(3).tolist()
    [0.03, 0.04, 0.04]
    """

    def adjust(ranked):
        scaled = ranked * len(ranked) / np.arange(1, len(ranked) + 1)
        return np.minimum.accumulate(scaled[::-1])[::-1]

    return _adjusted(p, adjust)


def _adjusted(p, adjust) -> np.ndarray:
    p = np.asarray(p, np.float64)
    known = np.flatnonzero(~np.isnan(p))
    order = known[np.argsort(p[known], kind="stable")]
    result = np.full_like(p, np.nan)
    if order.size:
        result[order] = np.minimum(adjust(p[order]), 1.0)
    return result


def comparisons_needed(
    discordance: float, difference: float = 0.01, *, level: float = 0.05, power: float = 0.8, design: float = 1.0
) -> float:
    """How many comparisons a paired test needs to see a difference in accuracy, by Connor's formula (1987).

        n = (z_{1-level/2} sqrt(ψ) + z_{power} sqrt(ψ - δ²))² / δ²

    Args:
      discordance: ψ, share of comparisons that the two methods judge differently.
      difference: δ, in accuracy; 0.01 is one point.
      level, power: of the two-sided test.
      design: effect of prompts with several comparisons, see `design_effect`; multiplies n.

    Returns:
      The number, infinite where δ > ψ cannot occur at all.

    >>> round(comparisons_needed(0.1)), round(comparisons_needed(0.1, 0.05))
    (7847, 312)
    """
    if not 0 < level < 1 or not 0 < power < 1 or not difference > 0:
        raise InputError(
            f"level {level}, power {power}, difference {difference}", where="comparisons_needed", fix="use values > 0"
        )
    if not discordance >= difference:
        return math.inf
    z = NormalDist().inv_cdf
    root = z(1 - level / 2) * math.sqrt(discordance) + z(power) * math.sqrt(discordance - difference**2)
    return design * root**2 / difference**2


def design_effect(difference: Float[np.ndarray, " N"], cluster: Float[np.ndarray, " N"]) -> float:
    """How much larger the variance of a mean difference is because comparisons share prompts; 1 where they do not.

    >>> design_effect(np.array([1.0, 1.0, -1.0, -1.0]), np.array([0, 0, 1, 1]))
    2.0
    """
    centred = np.asarray(difference, np.float64) - np.mean(difference)
    _, group = np.unique(cluster, return_inverse=True)
    alone = (centred**2).sum()
    return float((np.bincount(group, centred) ** 2).sum() / alone) if alone else 1.0
