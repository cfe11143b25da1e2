"""When two rewards tie: the one place that decides whether a margin is zero.

Ratings lie on a grid, so under equal weights (or any rational ones) margins ``Δ = Σ_k w_k Δ_k`` of exactly 0 are
common. In floating point the same sum comes out as 1e-8 or -1e-8, depending on the machine, and a tie would count as
right or wrong by chance. So a margin within its own rounding error is a tie. With u = 2⁻²⁴, the relative error of
rounding to fp32 (half of ε = 2⁻²³), a and b the ratings of the two responses and T rules:

    rule k's part is off by at most        w_k e_k,    e_k = u (4 (|a_k| + |b_k|) + (T + 4) |a_k - b_k|)    if a_k ≠ b_k
    a tie is                               |Σ_k w_k Δ_k| ≤ Σ_k |w_k| e_k

Where the constants come from (Higham, Accuracy and Stability of Numerical Algorithms, section 3.1; factors 1 + O(T u)
are in the slack):

    4 (|a| + |b|)      A rating is a decimal that was rounded to fp32, |fl(a) - a| ≤ u |a|; one that was divided by its
                       scale with a reciprocal (as compilers do) is off by 3 u |a|. This is why Σ w_k |Δ_k| alone does
                       not bound the error: 0.9 - 0.8 and 0.2 - 0.1 differ by more than their size times u.
    (T + 4) |a - b|    The subtraction, the weight (a rational one is rounded, too, and normalised) and the product each
                       add u; a sum of T terms in any order adds at most (T - 1) u times the sum of their sizes.
    a_k = b_k          Equal ratings are equal numbers: such a rule contributes exactly 0, and no error. So a comparison
                       that all heavy rules leave open is decided by a rule of however small a weight.
    T = 1              Rounding keeps the order of numbers: a single rule, or a reward without rules, ties only where
                       both values are equal. `rule_tolerance` is 0 then, and RewardBench's "strictly greater" is exact.

On a grid of step s, the smallest margin that is not 0 is s / K under K equal weights: on tenths from 0 to 10 and
K = 100 that is 1e-3, and the tolerance below 1e-4. Nothing that differs is called a tie.

All functions take NumPy arrays, and JAX arrays, also under `jax.jit`; what comes out is of the same kind.
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

from encore_jax.composition.checks import namespace, numbers
from encore_jax.errors import InputError

UNIT_ROUNDOFF = 2.0**-24
"""u, of fp32."""
INPUT_ERRORS = 4
"""Roundings behind a rating."""
TERM_ERRORS = 4
"""Roundings behind one term of the sum, besides those of adding up."""
FLOAT64_NOISE = 2.0**-44
"""Relative error of a rating that was computed in float64: half a thousand roundings."""
EXACT_STEPS = 1024.0
"""Ratings that are multiples of 1 / 1024 (whole numbers, halves, quarters) went through no rounding."""
BLOCK = 2**20
"""Ratings whose margins are computed at once, so that intermediate arrays stay small."""


class Margin(NamedTuple):
    """Margins, preferred minus other, and how far rounding may have moved each; arrays of one shape.

    Attributes:
      value: the margins.
      tolerance: not negative; a scalar stands for all.
    """

    value: Array
    tolerance: Array | float = 0.0

    @property
    def sign(self) -> Array:
        """1 where the preferred response wins, -1 where it loses, 0 for a tie."""
        return sign(self.value, self.tolerance)

    @property
    def tied(self) -> Array:
        """bool, whether it is a tie."""
        return is_tie(self.value, self.tolerance)

    @property
    def credit(self) -> Array:
        """1 where the preferred response wins, 0 where it loses, ½ for a tie."""
        return credit(self.value, self.tolerance)


def is_tie(margin: Float[Array, "..."], tolerance: Float[Array, "..."] | float = 0.0) -> Bool[Array, "..."]:
    """Whether a margin is 0 as far as rounding can tell; a NaN is no tie.

    >>> is_tie(np.array([1e-9, 0.0, -0.1]), 1e-8).tolist(), is_tie(np.array([1e-9, 0.0])).tolist()
    ([True, True, False], [False, True])
    """
    margin, tolerance = _arrays(margin=margin, tolerance=tolerance)
    return abs(margin) <= tolerance


def sign(margin: Float[Array, "..."], tolerance: Float[Array, "..."] | float = 0.0) -> Float[Array, "..."]:
    """1, -1, or 0 where the margin is a tie; NaN of NaN.

    >>> sign(np.array([0.5, 1e-9, -0.5]), 1e-8).tolist()
    [1.0, 0.0, -1.0]
    """
    margin, tolerance = _arrays(margin=margin, tolerance=tolerance)
    xp = namespace(margin, tolerance)
    return xp.where(is_tie(margin, tolerance), xp.zeros_like(margin), xp.sign(margin))


def credit(margin: Float[Array, "..."], tolerance: Float[Array, "..."] | float = 0.0) -> Float[Array, "..."]:
    """What a comparison is worth: 1 where the margin is positive, ½ where it is a tie, 0 where it is negative.

    In float64 of NumPy arrays, so that means of it are exact.

    >>> credit(np.array([0.5, 1e-9, -0.5]), 1e-8).tolist()
    [1.0, 0.5, 0.0]
    """
    signs = sign(margin, tolerance)
    return (1 + (signs if isinstance(signs, jax.Array) else signs.astype(np.float64))) / 2


def rule_tolerance(
    first: Float[Array, "*b K"], second: Float[Array, "*b K"] | float = 0.0, terms: int | None = None
) -> Float[Array, "*b K"]:
    """e of the module's formula: by how much rounding may move each rule's part of a weighted sum, per unit of weight.

    Args:
      first, second: scores or ratings of both responses, rule by rule. Where only their difference is known, pass it
        as `first` alone: then what went into the difference counts as exact.
      terms: T, how many rules are added up; K if left out.

    >>> bool(rule_tolerance(np.array([0.9, 0.2]), np.array([0.8, 0.2]))[1] == 0)
    True
    """
    first, second = _arrays(first=first, second=second)
    if not np.ndim(first):
        raise InputError("is a single number", where="first", fix="pass [..., K], a value for each rule")
    xp = namespace(first, second)
    terms = first.shape[-1] if terms is None else terms
    if terms <= 1:
        return xp.zeros_like(first)
    size, difference = abs(first) + abs(second), abs(first - second)
    bound = UNIT_ROUNDOFF * (INPUT_ERRORS * size + (terms + TERM_ERRORS) * difference)
    return xp.where(difference == 0, xp.zeros_like(first), bound)


def rule_margins(first: Float[np.ndarray, "*b K"], second: Float[np.ndarray, "*b K"]) -> Margin:
    """Every rule's margin in float64, with e of the module's formula as its tolerance: of ratings on any scale.

    Differences are taken before anything is rounded to fp32, so a constant that is added to both ratings changes
    neither margin nor tolerance, as far as float64 can hold the sum. What went into a rating is judged by the number
    itself: a multiple of 1 / 1024 is exact, one that fp32 holds was perhaps rounded to fp32, any other one was rounded
    to float64. Two numbers that differ by rounding in float64 (0.1 + 0.2 and 0.3) are equal ratings, margin 0.

    Args:
      first, second: NumPy arrays of the ratings of both responses, rule by rule.

    >>> rule_margins(np.array([2.0**40 + 3, 0.1 + 0.2]), np.array([2.0**40 + 1, 0.3])).value.tolist()
    [2.0, 0.0]
    """
    first, second = _arrays(first=first, second=second)
    if first.ndim < 1 or first.shape != second.shape:
        problem = f"ratings have shapes {first.shape} and {second.shape}"
        raise InputError(problem, where="rule_margins", fix="pass [..., K] of both")
    terms = first.shape[-1]
    a, b = (np.asarray(side).reshape(-1) for side in (first, second))
    value, tolerance = np.empty(a.shape, np.float64), np.empty(a.shape, np.float64)
    for start in range(0, a.size, BLOCK):
        part = slice(start, start + BLOCK)
        with np.errstate(invalid="ignore", over="ignore"):  # NaN and infinity are answered by NaN
            value[part], tolerance[part] = _exact_margins(a[part].astype(np.float64), b[part].astype(np.float64), terms)
    return Margin(value.reshape(first.shape), tolerance.reshape(first.shape))


def _exact_margins(a: np.ndarray, b: np.ndarray, terms: int) -> tuple[np.ndarray, np.ndarray]:
    exact, single = np.ones(a.shape, bool), np.ones(a.shape, bool)
    for side in (a, b):
        steps = side * EXACT_STEPS
        exact &= steps == np.rint(steps)
        single &= side == side.astype(np.float32)
    difference, size = a - b, abs(a) + abs(b)
    equal = (difference == 0) | (~exact & (abs(difference) <= FLOAT64_NOISE * size))
    difference = np.where(equal, 0, difference)
    if terms <= 1:
        return difference, np.zeros_like(difference)
    unit = np.where(exact, 0, np.where(single, UNIT_ROUNDOFF, FLOAT64_NOISE))
    bound = INPUT_ERRORS * unit * size + UNIT_ROUNDOFF * (terms + TERM_ERRORS) * abs(difference)
    return difference, np.where(equal, 0, bound)


def weighted_margin(
    difference: Float[Array, "N K"], tolerance: Float[Array, "N K"], weights: Float[Array, "K ..."]
) -> Margin:
    """Margins ``[N]`` of N comparisons under weights ``[K]``, or ``[N, M]`` under M weightings ``[K, M]`` at once.

    Args:
      difference: Δ, rule by rule, preferred minus other.
      tolerance: as from `rule_tolerance`.
      weights: any sign and scale.

    >>> first, second = np.array([[0.9, 0.1]], np.float32), np.array([[0.8, 0.2]], np.float32)
    >>> margin = weighted_margin(first - second, rule_tolerance(first, second), np.array([0.5, 0.5], np.float32))
    >>> bool(margin.value[0] == 0), margin.tied.tolist()
    (False, [True])
    """
    difference, tolerance, weights = _arrays(difference=difference, tolerance=tolerance, weights=weights)
    if difference.ndim != 2 or tolerance.shape != difference.shape or weights.shape[:1] != difference.shape[1:]:
        problem = f"margins {difference.shape}, tolerances {tolerance.shape} and weights {weights.shape}"
        raise InputError(problem, where="weighted_margin", fix="pass [N, K], [N, K], and [K] or [K, M]")
    xp = namespace(difference, tolerance, weights)
    if xp is np:
        with np.errstate(invalid="ignore", over="ignore"):
            return Margin(difference @ weights, tolerance @ abs(weights))
    exact = jax.lax.Precision.HIGHEST
    return Margin(
        jnp.matmul(difference, weights, precision=exact), jnp.matmul(tolerance, abs(weights), precision=exact)
    )


def reward_tolerance(scores: Float[Array, "*b K"], weights: Float[Array, "*b K"]) -> Float[Array, "*b"]:
    """By how much rounding may move a composed reward ``Σ_k w_k ψ_k``; 0 for a single rule.

    The margin of two rewards may be off by the sum of their tolerances. It is wider than what `weighted_margin` finds
    from the rules' margins: where a rule rates both responses alike, its errors cancel there, and here they do not.
    """
    scores, weights = _arrays(scores=scores, weights=weights)
    if not scores.ndim or not weights.ndim or scores.shape[-1] != weights.shape[-1]:
        problem = f"scores {scores.shape} and weights {weights.shape}"
        raise InputError(problem, where="reward_tolerance", fix="pass [..., K] of both")
    xp, rules = namespace(scores, weights), scores.shape[-1]
    if rules == 1:
        return xp.zeros_like(scores[..., 0])
    return UNIT_ROUNDOFF * (INPUT_ERRORS + rules + TERM_ERRORS) * abs(scores * weights).sum(-1)


def settled(rewards: Float[np.ndarray, " n"], tolerance: Float[np.ndarray, " n"] | float = 0.0) -> np.ndarray:
    """Rewards of one prompt's responses, in which those that tie are equal: to the first of them.

    Responses tie if they are next to each other in order of reward and within their tolerances, so being tied is
    handed on from neighbour to neighbour. NaN rewards tie with nothing.

    >>> settled(np.array([0.5, 0.2, 0.5 + 1e-9, 0.2]), 1e-8).tolist()
    [0.5, 0.2, 0.5, 0.2]
    """
    rewards, tolerance = _arrays(rewards=rewards, tolerance=tolerance)
    if rewards.ndim != 1 or np.shape(tolerance) not in ((), rewards.shape):
        problem = f"rewards have shape {rewards.shape}, their tolerances {np.shape(tolerance)}"
        raise InputError(problem, where="rewards", fix="pass [n], the rewards of one prompt's responses")
    rewards = np.array(rewards)
    slack = np.broadcast_to(tolerance, rewards.shape)
    order = np.argsort(rewards, kind="stable")
    ranked = rewards[order]
    apart = ~is_tie(np.diff(ranked), slack[order][1:] + slack[order][:-1])
    group = np.concatenate([[0], np.cumsum(apart)]).astype(int)[: len(order)]
    for number in np.unique(group):
        members = order[group == number]
        rewards[members] = rewards[members.min()]
    return rewards


def first_place(rewards: Float[np.ndarray, " n"], tolerance: Float[np.ndarray, " n"] | float = 0.0) -> np.ndarray:
    """Which responses share the highest reward: their indices, in order. `best of n` is the first of them.

    >>> first_place(np.array([0.2, 0.5, 0.5 + 1e-9]), 1e-8).tolist()
    [1, 2]
    """
    rewards = settled(rewards, tolerance)
    if not len(rewards) or np.isnan(rewards).any():
        what = "one is not a number" if len(rewards) else "there is none"
        raise InputError(f"{what}", where="rewards", fix="score every response, or leave it out")
    return np.flatnonzero(rewards == rewards.max())


def _is_plain(value) -> bool:
    array = isinstance(value, jax.Array | np.ndarray) and value.dtype.kind in "biufV"
    return array and not isinstance(value, np.ma.MaskedArray)


def _arrays(**values) -> list:
    """Arrays of NumPy or JAX; raises InputError for one that holds no numbers."""
    return [
        value if _is_plain(value) else numbers(
            value, name, finite=False, dtype=None
        )
        for name, value in values.items()
    ]  # fmt: skip
