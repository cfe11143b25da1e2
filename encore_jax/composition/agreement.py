"""What the rules have in common: loadings and weights from ratings alone, without labels.

If a good response makes every useful rule rate higher, and the rules' errors are independent of each other, then two
rules correlate as strongly as both follow what they share: ``C_ij = v_i v_j`` for i ≠ j. The *loadings* v are fitted to
the off-diagonal correlations: minimum residual factor analysis (Harman and Jones, Psychometrika 1966); for binary
classifiers Parisi et al. (PNAS 2014). From them follow the weights of the best linear estimate of the common factor
(Bartlett 1937).

What the rules share need not be quality: `encore_jax.composition.camps` tells whether it is one thing.

Letters: N responses or comparisons, K rules.
"""

from __future__ import annotations

import functools
from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

from encore_jax.composition.checks import is_traced, namespace, numbers, single
from encore_jax.composition.moments import FEWEST_TOGETHER, correlations, grouped_moments, rating_rows, spreads
from encore_jax.errors import InputError

FEWEST_RULES = 3
"""Two rules have one correlation, from which two loadings do not follow."""

MAX_LOADING = 0.995**0.5
"""Bound of a loading: at least 0.5 % of a rule's variance is its own. A fit that would give less is a Heywood case."""


class Loadings(NamedTuple):
    """How strongly every rule follows what the rules have in common.

    Attributes:
      loading: ``[K]``, in [-1, 1]; NaN for a rule that does not vary or is hardly ever rated together with others.
      spread: ``[K]``, standard deviation of the rule's ratings (of differences: of the differences).
      correlation: ``[K, K]``, pairwise complete; 0 on the diagonal.
      together: ``[K, K]``, rows that each correlation rests on.
    """

    loading: Float[np.ndarray, " K"]
    spread: Float[np.ndarray, " K"]
    correlation: Float[np.ndarray, "K K"]
    together: Float[np.ndarray, "K K"]


def agreement_loadings(
    ratings: Float[Array, "N K"] | Float[Array, "N n K"], where: Bool[Array, "..."] | None = None
) -> Loadings:
    """Loadings of K rules from their ratings.

    Args:
      ratings: ``[N, K]`` of single responses, or ``[N, n, K]`` of comparisons of n responses, whose differences are
        used in both orientations: the order of responses changes nothing.
      where: which ratings exist, of the ratings' shape.

    Raises:
      InputError: fewer than three rules, or fewer than three that vary and are rated together; a rating that exists and
        is not finite.

    >>> quality, noise = np.random.default_rng(0).normal(size=(2, 4000, 3))
    >>> ratings = quality[:, :1] + np.array([0.5, 1.0, 2.0]) * noise
    >>> [round(float(v), 1) for v in agreement_loadings(ratings).loading]
    [0.9, 0.7, 0.5]
    """
    ratings = np.asarray(numbers(ratings, "ratings", finite=False, dtype=None))
    rules = ratings.shape[-1] if ratings.ndim else 0
    if rules < FEWEST_RULES:
        raise InputError(
            f"got {rules} rules; agreement needs at least {FEWEST_RULES}",
            where="ratings",
            fix="add rules, or weigh by entropy or equally",
        )
    moments = grouped_moments(rating_rows(ratings, where), most=1).total()
    correlation, together = correlations(moments)
    loading = np.array(one_factor(correlation, together))
    known = np.asarray(together).any(1)
    if known.sum() < FEWEST_RULES:
        raise InputError(
            f"{int(known.sum())} of {rules} rules vary and have {FEWEST_TOGETHER} rows in common with another",
            where="ratings",
            fix="rate more responses by all rules, or weigh by entropy or equally",
        )
    loading[~known] = np.nan
    return Loadings(loading, spreads(moments).astype(np.float32), np.asarray(correlation), np.asarray(together))


@functools.partial(jax.jit, static_argnames=("sweeps",))
def one_factor(
    correlation: Float[Array, "*draws K K"],
    weight: Float[Array, "*draws K K"],
    start: Float[Array, "*draws K"] | None = None,
    *,
    sweeps: int = 2000,
    tolerance: float = 1e-6,
) -> Float[Array, "*draws K"]:
    """The v that minimises ``Σ_{i≠j} w_ij (C_ij - v_i v_j)²`` with ``|v_k| ≤ MAX_LOADING``.

    Rule after rule takes its best value given the others, beginning with the leading eigenvector, until none moves any
    more. The sign makes most of what is loaded positive: most rules are better than chance.

    Args:
      correlation: ``[..., K, K]``; its diagonal is not read.
      weight: ``[..., K, K]``, symmetric, not negative; a rule without any weight gets loading 0.
      start: ``[..., K]``, instead of the leading eigenvector.
      sweeps: at most so many times through all rules.
      tolerance: largest change in the last one.
    """
    rules = correlation.shape[-1]
    off = jnp.where(jnp.eye(rules, dtype=bool), 0.0, weight)
    off = off / jnp.maximum(off.max((-1, -2), keepdims=True), 1.0)
    target = off * correlation
    start = leading_factor(jnp.where(off > 0, correlation, 0.0)) if start is None else start

    def set_rule(k, v):
        total = (jnp.take(off, k, -2) * v * v).sum(-1)
        best = (jnp.take(target, k, -2) * v).sum(-1) / jnp.maximum(total, 1e-12)
        return v.at[..., k].set(jnp.where(total > 1e-12, jnp.clip(best, -MAX_LOADING, MAX_LOADING), 0.0))

    def sweep(carry):
        v, _, number = carry
        new = jax.lax.fori_loop(0, rules, set_rule, v)
        return new, jnp.abs(new - v).max(), number + jnp.int32(1)

    first = (start, jnp.float32(jnp.inf), jnp.int32(0))
    v, _, _ = jax.lax.while_loop(lambda carry: (carry[1] > tolerance) & (carry[2] < sweeps), sweep, first)
    return jnp.where((v * jnp.abs(v)).sum(-1, keepdims=True) < 0, -v, v)


def leading_factor(correlation: Float[Array, "*draws K K"], steps: int = 60) -> Float[Array, "*draws K"]:
    """Leading eigenvector of correlations, as long as a factor: by power iteration, without LAPACK.

    Args:
      correlation: ``[..., K, K]``, 0 on the diagonal.
      steps: of the iteration.
    """
    # The row of the rule that correlates most with others: all ones could be orthogonal to what is sought.
    strongest = jnp.square(correlation).sum(-1).argmax(-1)[..., None, None]
    begin = jnp.take_along_axis(correlation, strongest, -2)[..., 0, :]
    begin = begin + jax.nn.one_hot(strongest[..., 0, 0], begin.shape[-1])

    def longer(v):
        return v + jnp.einsum("...ij,...j->...i", correlation, v, precision="highest")

    def step(_, v):
        v = longer(v)
        return v / jnp.maximum(jnp.sqrt((v * v).sum(-1, keepdims=True)), 1e-30)

    v = jax.lax.fori_loop(0, steps, step, begin)
    return v * jnp.sqrt(jnp.maximum((v * longer(v)).sum(-1, keepdims=True) - 1.0, 0.0625))


def agreement_weights(
    loading: Float[Array, "*draws K"],
    spread: Float[Array, "*draws K"],
    *,
    method: Literal["bartlett", "loading"] = "bartlett",
    negative: Literal["zero", "turn"] = "zero",
) -> Float[Array, "*draws K"]:
    """Rule weights from loadings: ``w_k ∝ v_k / (1 - v_k²) / s_k`` (Bartlett), or ``v_k / s_k``; their sizes sum to 1.

    Args:
      loading: ``[..., K]``; a NaN (nothing is known of the rule) gives weight 0.
      spread: ``[..., K]``, standard deviations on the scale on which the reward is composed.
      method: Bartlett's weights have the least error among linear estimates of the common factor.
      negative: what a rule gets that goes against the others: 0, or its negative weight ("turn").

    Raises:
      InputError: no loading is positive, a spread is negative or not finite where a loading is known (not checked under
        `jax.jit`), or an unknown method.

    >>> agreement_weights(jnp.array([0.5, 0.5, -0.1]), jnp.array([1.0, 3.0, 1.0])).tolist()
    [0.75, 0.25, 0.0]
    """
    for name, value, allowed in (("method", method, ("bartlett", "loading")), ("negative", negative, ("zero", "turn"))):
        if value not in allowed:
            raise InputError(f"{value!r} is none of {', '.join(allowed)}", where=name, fix=f"use {allowed[0]!r}")
    loading, spread = (single(v, n, rank=1, finite=False) for v, n in ((loading, "loading"), (spread, "spread")))
    if loading.shape != spread.shape:
        problem = f"loadings {loading.shape} and spreads {spread.shape}"
        raise InputError(problem, where="agreement_weights", fix="pass [..., K] of both")
    xp = namespace(loading, spread)
    usable = ~xp.isnan(loading) & (spread > 0)
    v = xp.clip(xp.where(usable, loading, 0.0), -MAX_LOADING, MAX_LOADING)
    v = xp.maximum(v, 0.0) if negative == "zero" else v
    precise = v / (1.0 - v * v) if method == "bartlett" else v
    raw = precise / xp.where(usable, spread, 1.0)
    total = xp.abs(raw).sum(-1, keepdims=True)
    if not is_traced(loading, spread):
        if not np.isfinite(np.where(np.isnan(loading), 1, spread)).all() or (np.asarray(spread) < 0).any():
            raise InputError("a spread is negative or not finite", where="spread", fix="pass standard deviations")
        if not (np.asarray(total) > 0).all():
            raise InputError(
                "no rule follows what the rules have in common", where="loading", fix="weigh by entropy or equally"
            )
    return raw / total
