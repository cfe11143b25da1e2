"""Rating scales: what a file's ratings lie on, and the scale from 0 to 1 on which everything is computed."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Protocol, TypeVar

import numpy as np

from encore_jax.data.orientation import OffScale, Scale, to_unit
from encore_jax.data.rows import read_rows
from encore_jax.errors import InputError

UNIT: Scale = (0.0, 1.0)
_OF_FORMAT: Mapping[str, Scale] = {"ultrafeedback": (1.0, 5.0), "helpsteer2": (0.0, 4.0)}
"""Scales of published formats; that of others is 0 to 1 unless somebody says otherwise."""


class Rated(Protocol):
    """A record with ratings, or without (None)."""

    ratings: np.ndarray | None
    mask: np.ndarray | None


Record = TypeVar("Record", bound=Rated)


def on_unit_scale(record: Record, scale: Scale) -> Record:
    """The record with its ratings mapped from `scale` to 0 to 1."""
    if record.ratings is None or tuple(scale) == UNIT:
        return record
    return dataclasses.replace(record, ratings=np.where(record.mask, to_unit(record.ratings, scale), 0))


def prepared_scale(metadata: Mapping) -> Scale:
    """The scale of a prepared data set's ratings, by its metadata."""
    source = metadata.get("source") or {}
    given = source.get("scale")
    return tuple(map(float, given)) if given else _OF_FORMAT.get(source.get("format"), UNIT)


def scaled(records: Iterator[Record], path: str | Path, option: str, columns: Sequence[str] = ()) -> Iterator[Record]:
    """The records; where a rating is off the scale, the error says between what the file's ratings lie, and how the
    scale is given on this command line.

    Args:
      records: as a reader gives them.
      path: the file they are of.
      option: e.g. ``"--config.data.scale=LOWEST,HIGHEST"``.
      columns: names of the columns that hold ratings, where the field ``ratings`` does not.
    """
    try:
        yield from records
    except OffScale as error:
        low, high = rating_range(path, columns)
        example = _example(option, low, high)
        raise InputError(
            f"{error.problem}; the ratings of this file lie between {low:g} and {high:g}",
            where=error.where,
            fix=f"say what the judge's scale is: {option}, e.g. {example}; write null for a missing rating",
        ) from None


def rating_range(path: str | Path, columns: Sequence[str] = ()) -> Scale:
    """The lowest and the highest number under ``ratings``, or in these columns, of a file's rows."""
    low, high = math.inf, -math.inf
    for _, row in read_rows(path):
        for number in _numbers([row.get(name) for name in columns or ("ratings",)]):
            low, high = min(low, number), max(high, number)
    return low, high


def _numbers(value: object) -> Iterator[float]:
    if isinstance(value, Mapping):
        value = list(value.values())
    if isinstance(value, list | tuple):
        for inner in value:
            yield from _numbers(inner)
    elif isinstance(value, int | float) and not isinstance(value, bool):
        try:
            yield float(value)
        except OverflowError:
            yield math.copysign(math.inf, value)


def _example(option: str, low: float, high: float) -> str:
    """The option with the narrowest of the usual scales that holds these numbers."""
    usual = [(0, 1), (1, 5), (0, 5), (1, 7), (1, 10), (0, 10), (0, 100)]
    fits = [scale for scale in usual if scale[0] <= low and high <= scale[1]]
    first, last = fits[0] if fits else (low, high)
    return option.replace("LOWEST", f"{first:g}").replace("HIGHEST", f"{last:g}")
