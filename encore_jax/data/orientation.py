"""Ratings as a judge gave them, and ratings turned so that higher is always better.

A rule declares its direction: +1 where a higher rating is better, -1 where it is worse. On a scale
[low, high] a rating r of a rule with direction -1 becomes low + high - r. Files hold ratings as
given; `Comparison` and `RatedResponse` hold them oriented. These functions go between the two.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from encore_jax.errors import InputError

if TYPE_CHECKING:
    from encore_jax.rules.rule import RulePool

Scale = tuple[float, float]
"""Lowest and highest possible rating."""


class OffScale(InputError):
    """A rating does not lie on the scale that it is read by."""


def orient(raw: float, direction: int, low: float, high: float) -> np.float32:
    """The rating with "higher is better", in float32; computed in float64.

    >>> float(orient(0.25, -1, 0.0, 1.0)), float(orient(0.25, +1, 0.0, 1.0))
    (0.75, 0.25)
    """
    if direction < 0:
        raw = min(max(low + high - raw, low), high)  # rounding must not leave the scale
    return np.float32(raw)


@functools.lru_cache(maxsize=65536)
def unorient(oriented: float, direction: int, low: float, high: float) -> float:
    """The shortest decimal that `orient` turns into ``oriented`` again.

    Exact for every rating that came out of `orient`. A float32 smaller than about 1e-9 of the scale
    on a rule with direction -1 may have no such decimal; then the nearest one is returned.

    >>> unorient(float(np.float32(0.9)), -1, 0.0, 1.0)
    0.1
    """
    target = np.float32(oriented)
    nearest = oriented if direction > 0 else low + high - oriented
    nearest = min(max(nearest, low), high)

    def rounded(digits: int) -> float | None:
        raw = float(f"{nearest:.{digits}g}")
        return raw if low <= raw <= high and orient(raw, direction, low, high) == target else None

    enough = rounded(6) is not None  # what people wrote has few digits; what a model computed has seven to nine
    for digits in range(1, 7) if enough else range(7, 17):
        if (raw := rounded(digits)) is not None:
            return raw
    return nearest


LEAST_WIDTH = 2.0**-13
"""Of a scale, relative to its larger end: float32 then has at least 2,048 steps on it."""


def checked_scale(scale: tuple[float, float]) -> tuple[float, float]:
    """(low, high) as finite floats with low < high."""
    try:
        low, high = map(float, scale)
    except (TypeError, ValueError, OverflowError):
        low = high = math.nan
    if not (math.isfinite(low) and math.isfinite(high) and low < high):
        raise InputError(f"{scale} is not a scale", where="scale", fix="give (low, high), low < high")
    if high - low < LEAST_WIDTH * max(abs(low), abs(high)):
        problem = f"{scale} is too far from 0 for its width: ratings are kept in float32, and would tie"
        raise InputError(problem, where="scale", fix=f"subtract {low:g} from all ratings, and give (0, {high - low:g})")
    return low, high


def to_unit(ratings: np.ndarray, scale: tuple[float, float]) -> np.ndarray:
    """Oriented ratings on a scale, on the scale from 0 to 1: float32 of the same shape.

    >>> to_unit(np.array([1.0, 4.0, 5.0]), (1, 5)).tolist()
    [0.0, 0.75, 1.0]
    """
    low, high = checked_scale(scale)
    return np.clip((np.asarray(ratings, np.float64) - low) / (high - low), 0, 1).astype(np.float32)


def orient_named(
    named: Mapping[str, float | None], pool: RulePool, scale: tuple[float, float]
) -> tuple[np.ndarray, np.ndarray]:
    """Ratings by rule name -> oriented ratings float32 ``[K]`` and mask bool ``[K]`` of the pool.

    A rule that is not named, or rated None, is masked.

    Raises:
      InputError: a rule the pool does not know, or a rating that is no number on the scale.
    """
    low, high = checked_scale(scale)
    index = {name: k for k, name in enumerate(pool.names)}
    directions = np.asarray(pool.directions).tolist()
    ratings, mask = np.zeros(len(index), np.float32), np.zeros(len(index), bool)
    for name, raw in named.items():
        where = f"ratings[{name!r}]"
        if name not in index:
            try:
                pool.index(name)  # its error lists the nearest names
            except InputError as error:
                raise InputError(error.problem, where=where, fix=error.fix) from None
        if raw is None:
            continue
        if isinstance(raw, bool) or not isinstance(raw, (int, float, np.floating, np.integer)):
            raise InputError(f"expected a number or null, found {raw!r}", where=where, fix="write a number")
        if not low <= raw <= high:
            raise OffScale(
                f"{raw} is not on the scale from {low:g} to {high:g}",
                where=where,
                fix="give the reader the judge's scale=(low, high); write null for a missing rating",
            )
        k = index[name]
        ratings[k], mask[k] = orient(float(raw), directions[k], low, high), True
    return ratings, mask


def unorient_named(
    rules: tuple[str, ...],
    ratings: np.ndarray,
    mask: np.ndarray,
    pool: RulePool,
    scale: tuple[float, float],
) -> dict[str, float | None]:
    """The inverse of `orient_named`: ratings as the judge gave them, None where masked."""
    low, high = checked_scale(scale)
    directions = dict(zip(pool.names, np.asarray(pool.directions).tolist(), strict=True))
    named: dict[str, float | None] = {}
    for k, name in enumerate(rules):
        direction = directions[name] if name in directions else pool.index(name)  # which raises
        value = float(ratings[k])
        if mask[k] and not np.float32(low) <= np.float32(value) <= np.float32(high):
            raise InputError(
                f"{value} is not on the scale from {low:g} to {high:g}",
                where=f"ratings[{name!r}]",
                fix="give the writer the ratings' scale=(low, high)",
            )
        named[name] = unorient(value, direction, low, high) if mask[k] else None
    return named
