"""What can be wrong with a rating matrix, said before it is used. Runs on concrete arrays only."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
import numpy as np

from encore_jax.errors import InputError
from encore_jax.settings import MAX_INT

MAX_GRID = 101
"""A rule with more distinct values than this is taken for continuous: it has no grid of its own."""


class RatingsWarning(UserWarning):
    """The ratings are valid, and yet an entropy weight made from them would mislead.

    >>> import warnings
    >>> from encore_jax.composition import rating_entropy
    >>> with warnings.catch_warnings(record=True) as caught:
    ...     warnings.simplefilter("always", RatingsWarning)
    ...     _ = rating_entropy(np.array([[0.5, 0.0], [0.5, 1.0]]), names=["constant", "kind"])
    >>> issubclass(caught[0].category, RatingsWarning)
    True
    """


def is_traced(*arrays) -> bool:
    """Whether some array has no values yet, because it is inside `jax.jit`, `jax.vmap` or `jax.grad`."""
    return any(isinstance(array, jax.core.Tracer) for array in arrays)


def has_values(*arrays) -> bool:
    """Whether all of these can be looked at here: none is traced, and none lies on other processes' devices."""
    return not is_traced(*arrays) and all(getattr(array, "is_fully_addressable", True) for array in arrays)


def refuse_masked(values, name: str) -> None:
    """Raises InputError for a masked array with something masked, which a plain array would take for known."""
    if isinstance(values, np.ma.MaskedArray) and np.ma.is_masked(values):
        fix = "pass values.filled(0) and the mask of what exists, where=~numpy.ma.getmaskarray(values)"
        raise InputError("is a masked array, whose mask would be lost", where=name, fix=fix)


def refuse_answers(dtype, name: str) -> None:
    """Raises InputError for an index of the preferred response that is True or False: True would mean the second one,
    and most people mean by it that the first is better."""
    if dtype == np.bool_:
        fix = "pass the index of the preferred response: numpy.where(first_is_better, 0, 1)"
        raise InputError("holds True and False, no indices", where=name, fix=fix)


def whole_number(value, name: str, least: int, most: int = MAX_INT, why: str = "") -> int:
    """The number; raises InputError for one out of bounds and for what is none: text, None, True, 20.0.

    Args:
      value: what was passed.
      name: what a message calls it.
      least, most: bounds, both allowed.
      why: the message's own advice; the bounds if left out.
    """
    if isinstance(value, bool | np.bool_) or not isinstance(value, int | np.integer) or not least <= value <= most:
        fix = f"{why + ': ' if why else ''}pass a whole number from {least:,} to {most:,}"
        raise InputError(f"got {shortened(value)}", where=name, fix=fix)
    return int(value)


def real_number(value, name: str, allowed: Callable[[float], bool], fix: str) -> float:
    """The number; raises InputError for one that is not allowed and for what is none: text, None, True, an array."""
    try:
        array = np.asarray(value)
        number = float(array) if array.ndim == 0 and jnp.dtype(array.dtype).kind in "iufV" else np.nan
    except (TypeError, ValueError, OverflowError):
        number = np.nan
    if not allowed(number):  # of NaN every comparison is false
        raise InputError(f"got {shortened(value)}", where=name, fix=fix)
    return number


def shortened(value) -> str:
    """What was passed, as Python writes it, on one line of at most 60 characters."""
    return " ".join(repr(value).split())[:60]


def numbers(
    values, name: str, *, rank: int = 0, finite: bool = True, where=None, dtype=jnp.float32
) -> jax.Array | np.ndarray:
    """An array of numbers, of NumPy if `dtype` is NumPy's, else of JAX; what is inside `jax.jit` passes unread.

    Args:
      values: an array, or lists of numbers.
      name: what a message calls it.
      rank: least number of axes.
      finite: whether NaN and infinity are refused.
      where: a mask of the values' shape; what it leaves out may be anything.
      dtype: None keeps that of the values.

    Raises:
      InputError: text, objects, dates, complex numbers, lists of unequal length, too few axes, or a number that is not
        finite.

    >>> numbers([1, 2], "weights", rank=1).dtype
    dtype('float32')
    """
    refuse_masked(values, name)
    if not has_values(*(jax.tree.leaves(values) if isinstance(values, list | tuple) else [values])):
        array = jnp.asarray(values, dtype)
    else:
        try:
            array = values if isinstance(values, jax.Array) else np.asarray(values)
        except ValueError as error:
            raise InputError(f"is no array: {' '.join(str(error).split())[:200]}", where=name, fix=NUMBERS) from None
        if jnp.dtype(array.dtype).kind not in "biufV":  # V: bfloat16
            raise InputError(f"holds {array.dtype}, no numbers", where=name, fix=NUMBERS)
    if array.ndim < rank:
        fix = f"pass an array of at least {rank} ax{'i' if rank == 1 else 'e'}s"
        raise InputError(f"has shape {array.shape}", where=name, fix=fix)
    if finite and has_values(array) and array.dtype.kind not in "biu":
        bad = ~np.isfinite(np.asarray(array, np.float32 if array.dtype.kind == "V" else None))
        bad = bad if where is None else bad & np.asarray(where, bool)
        if bad.any():
            place = tuple(np.argwhere(bad)[0].tolist())
            at = f"{name}, at {list(place)}" if place else name
            raise InputError(
                f"{array[place]} is not finite ({int(bad.sum())} such)", where=at, fix="mask it, or leave it out"
            )
    return array if dtype is None else jnp.asarray(array, dtype)


def single(values, name: str, *, rank: int = 0, finite: bool = True) -> jax.Array | np.ndarray:
    """`numbers` in fp32: of JAX what is JAX's already or inside `jax.jit`, of NumPy whatever else is passed.

    So what lies on the host is computed there, by NumPy: JAX would compile every operation once for every shape.
    Numbers too small for fp32's normal ones are 0, as they are to compiled programs.
    """
    array = numbers(values, name, rank=rank, finite=finite, dtype=None)
    if isinstance(array, jax.Array):
        return array.astype(jnp.float32)
    with np.errstate(over="ignore", under="ignore"):
        array = np.asarray(array, np.float32)
    denormal = (array != 0) & (np.abs(array) < np.finfo(np.float32).tiny)
    return np.where(denormal, np.float32(0), array) if denormal.any() else array


def namespace(*arrays):
    """The module whose functions these arrays are computed with: `jax.numpy` if one of them is JAX's, else `numpy`."""
    return jnp if any(isinstance(array, jax.Array) for array in arrays) else np


def flags(where) -> jax.Array:
    """A mask as bool; raises InputError for text and objects."""
    return jnp.asarray(numbers(where, "where", finite=False, dtype=None), bool)


NUMBERS = "give numbers, and leave out what is missing by a mask"


def pooled(ratings, where) -> tuple[jax.Array | np.ndarray, jax.Array | np.ndarray]:
    """Flattens ``[..., K]`` ratings and their mask to ``[N, K]``."""
    ratings = numbers(ratings, "ratings", finite=False, dtype=None)
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
    rules = ratings.shape[-1]
    mask = np.ones(ratings.shape, bool) if where is None else numbers(where, "where", finite=False, dtype=None)
    mask = mask.astype(bool)
    if ratings.dtype not in (jnp.float32, jnp.float16, jnp.bfloat16, jnp.float64):
        ratings = ratings.astype(np.float32)
    return ratings.reshape(-1, rules), mask.reshape(-1, rules)


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
            f"{grids[finest].size}); a coarse grid has a low entropy however good its judge. Put all rules on one grid "
            "of few levels (compose.levels), or divide each entropy by the largest that its own levels allow "
            "(compose.normalize='observed').",
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
