"""Entropy of each rule's ratings: ENCORE, step 3.

The paper bins the ratings of rule k over the training set and takes the discrete entropy

    H(ψ_k) = - Σ_l p_kl log p_kl,      p_kl = share of rule k's ratings on level l.

The number of levels, the logarithm's base and the pooling of responses are unknown from the paper, so they are
arguments here. Defaults: 11 levels (0, 0.1, ..., 1), natural logarithm, all responses pooled.

Letters: K rules, L levels, N everything that is pooled (comparisons x responses).
"""

from __future__ import annotations

import functools
import math
import numbers
from collections.abc import Sequence
from typing import Literal

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

from encore_jax.composition import checks
from encore_jax.composition.kde import kde_entropy
from encore_jax.errors import InputError

Estimator = Literal["plug_in", "miller_madow", "kde"]
Normalize = Literal["none", "levels", "observed"]


def level_edges(levels: int | Sequence[float], scale: tuple[float, float] = (0.0, 1.0)) -> np.ndarray:
    """Inner edges ``[L - 1]`` that assign a rating to its nearest level (a midpoint goes up).

    Args:
      levels: how many evenly spaced levels from `scale[0]` to `scale[1]`, or their values, ascending.
      scale: lowest and highest possible rating; only used when `levels` is a number.

    >>> level_edges(3).tolist()
    [0.25, 0.75]
    """
    _check_scale(scale)
    whole = isinstance(levels, numbers.Integral)
    values = np.linspace(*scale, levels) if whole and 2 <= levels <= MOST_LEVELS else _values(levels)
    if values.ndim != 1 or values.size < 2 or not (np.diff(values) > 0).all():
        got = " ".join(repr(levels).split())[:100]
        raise InputError(f"got {got}", where="levels", fix="give at least two, ascending")
    return (values[1:] + values[:-1]) / 2


MOST_LEVELS = 1_000_000
"""More levels, or bins, than any rating has."""


def _values(levels, name: str = "levels") -> np.ndarray:
    """Numbers that stand for levels, or for the ends of a scale."""
    return np.asarray(checks.numbers(levels, name, dtype=None), float)


def bin_edges(bins: int, scale: tuple[float, float] = (0.0, 1.0)) -> np.ndarray:
    """Inner edges ``[bins - 1]`` of equal-width bins; an edge belongs to the bin above it, as in NumPy.

    >>> bin_edges(4).tolist()
    [0.25, 0.5, 0.75]
    """
    _check_scale(scale)
    if isinstance(bins, bool) or not isinstance(bins, numbers.Integral) or not 2 <= bins <= MOST_LEVELS:
        raise InputError(f"got {str(bins)[:60]}", where="bins", fix=f"give a whole number from 2 to {MOST_LEVELS:,}")
    return np.linspace(*scale, bins + 1)[1:-1]


def _check_scale(scale: tuple[float, float]) -> None:
    pair = _values(scale, "scale")
    if pair.shape != (2,) or not pair[0] < pair[1]:
        raise InputError(f"got {scale}", where="scale", fix="give the lowest and then the highest possible rating")


def rating_counts(
    ratings_NxK: Float[Array, "N K"], where_NxK: Bool[Array, "N K"], edges: Float[Array, " L-1"]
) -> Float[Array, "K L"]:
    """How many of each rule's unmasked ratings fall on each level: ``[K, L]``, fp32 (exact to 2^24)."""

    ratings_NxK = jnp.asarray(checks.numbers(ratings_NxK, "ratings", finite=False, dtype=None))
    where_NxK = jnp.asarray(checks.numbers(where_NxK, "where", finite=False, dtype=None), bool)
    edges = jnp.asarray(checks.numbers(edges, "edges", rank=1, dtype=None))
    if ratings_NxK.ndim != 2 or ratings_NxK.shape != where_NxK.shape:
        problem = f"ratings {ratings_NxK.shape} and mask {where_NxK.shape}"
        raise InputError(problem, where="rating_counts", fix="pass [N, K] of both")

    def one_rule(rating_N, where_N):
        # comparisons and sums instead of a scatter, which is slow on every accelerator
        at_least = (where_N[:, None] & (rating_N[:, None] >= edges[None])).sum(0)
        reached = jnp.concatenate([where_N.sum()[None], at_least, jnp.zeros(1, at_least.dtype)])
        return (reached[:-1] - reached[1:]).astype(jnp.float32)

    return jax.vmap(one_rule, in_axes=1)(ratings_NxK, where_NxK)


def entropy_of_counts(
    counts: Float[Array, "*batch L"], *, miller_madow: bool = False, normalize: Normalize = "none"
) -> Float[Array, "*batch"]:
    """Entropy in nats of the distribution that `counts` ``[..., L]`` describe; NaN where all counts are 0.

    Args:
      counts: occurrences per level; need not be whole numbers (bootstrap weights).
      miller_madow: add the first-order bias correction ``(m - 1) / 2n``, m = levels seen, n = ratings.
      normalize: divide by ``log L`` ("levels"), by ``log m`` ("observed": each rule by the levels it really
        uses; 0 for a constant rule), or not at all.
    """
    counts = checks.single(counts, "counts", rank=1)
    xp, total = checks.namespace(counts), counts.sum(-1, keepdims=True)
    with np.errstate(invalid="ignore", divide="ignore"):  # of nothing: NaN
        p = counts / total
        entropy = 0.0 - (p * xp.log(xp.where(p > 0, p, 1.0))).sum(-1)  # so that none is 0, not -0
        seen = (counts > 0).sum(-1).astype(np.float32)
        if miller_madow:
            entropy = entropy + (seen - 1) / (2 * total[..., 0])
    if normalize == "levels":
        entropy = entropy / math.log(counts.shape[-1])
    elif normalize == "observed":
        entropy = xp.where(seen > 1, entropy / xp.log(xp.maximum(seen, 2.0)), entropy)
    return entropy


def _discrete_entropy(ratings_NxK, where_NxK, edges, miller_madow, normalize):
    if checks.namespace(ratings_NxK, where_NxK) is jnp:
        return _compiled_entropy(ratings_NxK, where_NxK, edges, miller_madow, normalize)
    levels = [
        np.bincount(np.searchsorted(edges, rating_N[where_N], side="right"), minlength=len(edges) + 1)
        for rating_N, where_N in zip(ratings_NxK.T, where_NxK.T, strict=True)
    ]
    return entropy_of_counts(np.stack(levels), miller_madow=miller_madow, normalize=normalize)


@functools.partial(jax.jit, static_argnames=("miller_madow", "normalize"))
def _compiled_entropy(ratings_NxK, where_NxK, edges, miller_madow, normalize):
    counts = rating_counts(ratings_NxK, where_NxK, edges)
    return entropy_of_counts(counts, miller_madow=miller_madow, normalize=normalize)


def rating_entropy(
    ratings: Float[Array, "*pooled K"],
    where: Bool[Array, "*pooled K"] | None = None,
    *,
    levels: int | Sequence[float] = 11,
    bins: int | None = None,
    scale: tuple[float, float] = (0.0, 1.0),
    base: float = math.e,
    estimator: Estimator = "plug_in",
    normalize: Normalize = "none",
    names: Sequence[str] | None = None,
) -> Float[Array, " K"]:
    """Entropy ``[K]`` of each rule's ratings, every axis but the last pooled.

    Args:
      ratings: ``[..., K]``, for example ``[N, 2, K]`` for N comparisons of two responses, within `scale`.
      where: which ratings exist; `None` means all of them.
      levels: the common grid: a number of evenly spaced levels, or their values. Each rating counts for its
        nearest level.
      bins: use this many equal-width bins instead of levels.
      scale: lowest and highest possible rating.
      base: of the logarithm. Changing it is the same as rescaling the temperature of `entropy_weights`.
      estimator: "plug_in"; "miller_madow" (bias-corrected); or "kde" (differential entropy of a Gaussian kernel
        density: may be negative, ignores `levels` and `bins`; ENCORE found it to correlate less).
      normalize: see `entropy_of_counts`; makes rules rated on different grids comparable.
      names: rule names, used in messages.

    Returns:
      Entropies in units of ``log(base)``, or as shares of the maximum when normalised; fp32.

    Raises:
      InputError: a rating is NaN, infinite or out of range, a rule has no rating at all, or an option is senseless.

    Warns:
      RatingsWarning: a rule is constant (entropy 0 gives it the *largest* weight, yet it carries no signal), or the
        rules use grids of different size and `normalize` is "none".

    >>> clear, vague = [0.0, 0.0, 1.0, 1.0], [0.0, 0.3, 0.7, 1.0]
    >>> [round(h, 3) for h in rating_entropy(jnp.array([clear, vague]).T, normalize="levels").tolist()]
    [0.289, 0.578]
    """
    if normalize not in ("none", "levels", "observed"):
        raise InputError(f"got {normalize!r}", where="normalize", fix="use none, levels or observed")
    if estimator not in ("plug_in", "miller_madow", "kde"):
        raise InputError(f"got {estimator!r}", where="estimator", fix="use plug_in, miller_madow or kde")
    if not base > 0 or base == 1:
        raise InputError(f"got {base}", where="base", fix="use 2, 10 or math.e")
    _check_scale(scale)
    ratings, where = checks.pooled(ratings, where)
    checks.check_ratings(ratings, where, scale, names, mixed_grids=normalize == "none")
    ratings = ratings.astype(np.float32)
    if estimator == "kde":
        entropy = kde_entropy(ratings, where)
    else:
        edges = level_edges(levels, scale) if bins is None else bin_edges(bins, scale)
        entropy = _discrete_entropy(
            ratings, where, edges.astype(np.float32), miller_madow=estimator == "miller_madow", normalize=normalize
        )
    shares_of_maximum = normalize != "none" and estimator != "kde"  # unit-free already
    return entropy if shares_of_maximum else entropy / math.log(base)
