"""What can be wrong with a rating matrix, said before it is used. Runs on concrete arrays only."""

from __future__ import annotations

import warnings
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np

from encore_jax.errors import InputError

MAX_GRID = 101
"""A rule with more distinct values than this is taken for continuous: it has no grid of its own."""


class RatingsWarning(UserWarning):
    """The ratings are valid, and yet an entropy weight made from them would mislead."""


def is_traced(*arrays) -> bool:
    """Whether some array has no values yet, because it is inside `jax.jit`, `jax.vmap` or `jax.grad`."""
    return any(isinstance(array, jax.core.Tracer) for array in arrays)


def pooled(ratings, where) -> tuple[jax.Array, jax.Array]:
    """Flattens ``[..., K]`` ratings and their mask to ``[N, K]``."""
    if np.ndim(ratings) < 2:
        raise InputError(
            f"ratings have shape {np.shape(ratings)}",
            where="ratings",
            fix="pass [..., K]: at least one pooled axis, and the rules on the last",
        )
    if where is not None and np.shape(where) != np.shape(ratings):
        raise InputError(
            f"the mask has shape {np.shape(where)}, the ratings {np.shape(ratings)}",
            where="where",
            fix="one mask entry per rating",
        )
    if not np.shape(ratings)[-1]:
        raise InputError("there is no rule: the last axis is empty", where="ratings", fix="pass [..., K] for K rules")
    ratings = _numbers(ratings)
    rules = ratings.shape[-1]
    mask = jnp.ones(ratings.shape, bool) if where is None else jnp.asarray(where, bool)
    if ratings.dtype not in (jnp.float32, jnp.float16, jnp.bfloat16, jnp.float64):
        ratings = ratings.astype(jnp.float32)
    return ratings.reshape(-1, rules), mask.reshape(-1, rules)


def _numbers(ratings) -> jax.Array:
    """An array of JAX.

    Raises:
      InputError: it holds what is no number.
    """
    if not is_traced(ratings) and np.asarray(ratings).dtype.kind not in "biufV":  # V: bfloat16
        fix = "give numbers, and leave out what is missing by where="
        raise InputError(f"hold {np.asarray(ratings).dtype}, no numbers", where="ratings", fix=fix)
    return jnp.asarray(ratings)


def observed_grids(ratings: np.ndarray, where: np.ndarray) -> list[np.ndarray]:
    """The distinct values of each rule's ratings ``[N, K]``, rounded to six decimals."""
    columns = zip(np.asarray(ratings, np.float64).T, np.asarray(where).T, strict=True)
    return [np.unique(np.round(column[seen], 6)) for column, seen in columns]


def check_ratings(
    ratings: jax.Array,
    where: jax.Array,
    scale: tuple[float, float],
    names: Sequence[str] | None = None,
    *,
    mixed_grids: bool = True,
) -> None:
    """Raises `InputError` or warns `RatingsWarning` about ``[N, K]`` ratings; silent under `jax.jit`."""
    if is_traced(ratings, where):
        return
    ratings, where = np.asarray(ratings, np.float32), np.asarray(where)
    if names is not None and len(names) != ratings.shape[1]:
        raise InputError(
            f"{len(names)} names for {ratings.shape[1]} rules",
            where="names",
            fix="one name per rule",
        )
    label = (lambda k: f"rule {names[k]!r}") if names is not None else (lambda k: f"rule {k}")
    _refuse(~np.isfinite(ratings) & where, ratings, label, "is not finite", "mask it")
    low, high = scale
    slack = 1e-6 * (high - low)
    outside = where & ((ratings < low - slack) | (ratings > high + slack))
    _refuse(outside, ratings, label, f"is outside [{low}, {high}]", "rescale it or declare the scale")
    for k in np.flatnonzero(~where.any(0)):
        raise InputError("has no rating at all", where=label(k), fix="drop the rule or rate it")
    grids = observed_grids(ratings, where)
    constant = [k for k, grid in enumerate(grids) if grid.size == 1]
    if constant:
        warnings.warn(
            f"{', '.join(map(label, constant))}: all ratings are equal. Entropy 0 gives a constant rule the "
            "largest weight although it can prefer nothing; drop it from the composition.",
            RatingsWarning,
            stacklevel=3,
        )
    steps = _grid_steps(grids, where.sum(0))
    if mixed_grids and len(set(steps.values())) > 1:
        coarsest, finest = max(steps, key=steps.get), min(steps, key=steps.get)
        warnings.warn(
            f"rules are rated on grids of different size ({label(coarsest)}: {grids[coarsest].size}, {label(finest)}: "
            f"{grids[finest].size}); a coarse grid has a low entropy whatever the judge's quality. Use a common grid "
            "(levels=...) or normalize='observed'.",
            RatingsWarning,
            stacklevel=3,
        )


def _grid_steps(grids: list[np.ndarray], rated: np.ndarray) -> dict[int, float]:
    """The smallest distance between a rule's values, for rules on a grid: that a level went unused says nothing.

    Values that never repeat, or too many of them, lie on no grid.
    """
    on_grid = [k for k, grid in enumerate(grids) if 1 < grid.size <= MAX_GRID and grid.size < rated[k]]
    return {k: round(float(np.diff(grids[k]).min()), 5) for k in on_grid}


def _refuse(bad, ratings, label, what, fix):
    if bad.any():
        row, k = np.argwhere(bad)[0]
        raise InputError(
            f"rating {ratings[row, k]} {what} ({int(bad.sum())} such)",
            where=f"ratings, row {row}, {label(k)}",
            fix=fix,
        )
