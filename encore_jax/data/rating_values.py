"""The numbers that a file's rows hold as ratings, by rule, before anybody knows their scale."""

from __future__ import annotations

import math
from array import array
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from encore_jax.data.orientation import Scale
from encore_jax.data.rows import read_rows

_LARGEST = 1e9
"""Beyond it a number is no rating on any scale."""


def rating_range(path: str | Path, columns: Sequence[str] = ()) -> Scale:
    """The lowest and the highest number under ``ratings``, or in these columns, of a file's rows."""
    ranges = rating_ranges(path, columns).values()
    return min((low for low, _ in ranges), default=math.inf), max((high for _, high in ranges), default=-math.inf)


def rating_ranges(path: str | Path, columns: Sequence[str] = ()) -> dict[str, Scale]:
    """The same for every rule; (inf, -inf) of one without a number."""
    return {rule: _ends(values) for rule, (values, _) in rating_values(path, columns).items()}


def rating_values(path: str | Path, columns: Sequence[str] = ()) -> dict[str, tuple[array, array]]:
    """By rule all numbers under ``ratings``, or in these columns, and the number of the row of each."""
    found: dict[str, tuple[array, array]] = {}
    for i, (_, row) in enumerate(read_rows(path)):
        for rule, value in [(name, row.get(name)) for name in columns] or _by_rule(row.get("ratings")):
            values, at = found.setdefault(rule, (array("d"), array("q")))
            for number in _numbers(value):
                if number == number:
                    values.append(number)
                    at.append(i)
    return found


def _ends(values: Sequence[float]) -> Scale:
    return min(values, default=math.inf), max(values, default=-math.inf)


def _by_rule(ratings: object) -> list[tuple[str, object]]:
    """Names and values; a Parquet map arrives as a list of them. None for what is no such thing."""
    if isinstance(ratings, Mapping):
        return [(str(name), value) for name, value in ratings.items()]
    pairs = ratings if isinstance(ratings, list | tuple) else []
    return [(str(pair[0]), pair[1]) for pair in pairs if isinstance(pair, list | tuple) and len(pair) == 2]


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


def rated_ranges(values: Mapping[str, tuple[array, array]]) -> dict[str, Scale]:
    """Lowest and highest rating of every rule that has any, and none that is no rating on any scale."""
    ranges = {rule: _ends(own) for rule, (own, _) in values.items()}
    return {rule: (low, high) for rule, (low, high) in ranges.items() if -_LARGEST <= low <= high <= _LARGEST}
