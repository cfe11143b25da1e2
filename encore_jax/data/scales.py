"""Rating scales: what a file's ratings lie on, and the scale from 0 to 1 on which everything is computed."""

from __future__ import annotations

import dataclasses
import itertools
import logging
import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, TypeVar

import numpy as np

from encore_jax.data.orientation import OffScale, Scale, to_unit
from encore_jax.data.rating_cells import Cell, infer_scale
from encore_jax.data.rating_values import rated_ranges, rating_range, rating_values
from encore_jax.data.rows import named, read_rows
from encore_jax.data.rule_names import rule_of
from encore_jax.data.stray import check_stray, values_of
from encore_jax.errors import InputError

if TYPE_CHECKING:
    from encore_jax.rules import RulePool

UNIT: Scale = (0.0, 1.0)
FAR_BELOW = 5
"""Rules whose scales end so many times apart, as 1 and 5 or 10 and 100 do, are on scales of their own."""
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


def _example(option: str, low: float, high: float) -> str:
    """The option with the narrowest of the usual scales that holds these numbers."""
    usual = [(0, 1), (1, 5), (0, 5), (1, 7), (1, 10), (0, 10), (0, 100)]
    fits = [scale for scale in usual if scale[0] <= low and high <= scale[1]]
    first, last = fits[0] if fits else (low, high)
    return option.replace("LOWEST", f"{first:g}").replace("HIGHEST", f"{last:g}")


def scales_by_rule(ranges: Mapping[str, tuple[float, float]]) -> dict[str, Scale]:
    """The scale of every rule whose ratings do not say it: one for all, unless some rules stay far below others.

    Grades from 1 to 5 beside percentages, or beside 0 and 1, are on two scales. A rule of which all ratings are alike
    is on the widest one that the others have, if it holds them.

    Args:
      ranges: lowest and highest rating by rule; a rule without ratings has none that fit, as (inf, -inf).

    >>> scales_by_rule({"kind": (2, 5), "true": (1, 9), "harm": (0, 1), "safe": (20, 100), "same": (3, 3)})
    ... # doctest: +NORMALIZE_WHITESPACE
    {'kind': (1.0, 10.0), 'true': (1.0, 10.0), 'harm': (0.0, 1.0), 'safe': (0.0, 100.0), 'same': (0.0, 100.0)}
    """
    ends = {rule: infer_scale(map(Cell, own)) for rule, own in ranges.items() if own[0] <= own[1]}
    varied = sorted((rule for rule in ends if ranges[rule][0] < ranges[rule][1]), key=lambda rule: -size_of(ends[rule]))
    groups: list[list[str]] = []
    for rule in varied or list(ends)[:1]:
        if groups and size_of(ends[groups[-1][0]]) < FAR_BELOW * size_of(ends[rule]):
            groups[-1].append(rule)
        else:
            groups.append([rule])
    scales = [_scale_of(ranges, group) for group in groups]
    grouped = {rule: i for i, group in enumerate(groups) for rule in group}
    for rule in ranges:
        if rule in grouped:
            continue
        low, high = ranges[rule]
        holding = [i for i, scale in enumerate(scales) if scale[0] <= low and high <= scale[1]]
        grouped[rule] = holding[0] if holding else 0
        if groups and not holding:
            groups[0].append(rule)
    scales = [_scale_of(ranges, group) for group in groups] or [(0.0, 1.0)]
    return {rule: scales[grouped[rule]] for rule in ranges}


def size_of(scale: Scale) -> float:
    """How far it reaches."""
    return max(abs(scale[0]), abs(scale[1]))


def _scale_of(ranges: Mapping[str, tuple[float, float]], rules: Iterable[str]) -> Scale:
    low, high = infer_scale(Cell(value) for rule in rules for value in ranges[rule] if math.isfinite(value))
    return float(low), float(high)


def scales_of_cells(
    by_rule: Mapping[str, Sequence[Cell | None]],
    wheres: Sequence[str],
    where: str | Path,
    places: Mapping[str, Sequence[str]] | None = None,
) -> dict[str, Scale]:
    """The scale of every rule: rules of one stated end are on one, and of the others those that lie together.

    Args:
      by_rule: N cells of every rule.
      wheres: where each of them stands.
      where: the file, as errors name it.
      places: by rule where each of its cells stands, where that is not the same for all rules.

    Raises:
      InputError: a rule has ratings on several scales, or beyond the end that they say, or a few of the ratings lie far
        from all others.
    """
    places = places or dict.fromkeys(by_rule, wheres)
    tops: dict[str, float | None] = {}
    for rule, cells in by_rule.items():
        tops[rule] = next((cell.top for cell in cells if cell is not None and cell.top is not None), None)
        _check_one_scale(rule, cells, tops[rule], places[rule])
    ranges = {rule: _range(by_rule[rule]) for rule in tops if tops[rule] is None}
    own = scales_by_rule(ranges)
    values, at = values_of({rule: by_rule[rule] for rule in ranges})
    check_stray(values, own, lambda rule, i: places[rule][at[rule][i]])
    for top in dict.fromkeys(tops.values()):
        group = [rule for rule in tops if tops[rule] == top]
        if top is None:
            continue
        try:
            scale = infer_scale(cell for rule in group for cell in by_rule[rule] if cell is not None)
        except InputError as error:
            place = f"{where}, rule{'s' * (len(group) > 1)} {named(group)}"
            raise InputError(error.problem, where=place, fix=f"{error.fix}, or give their scale") from None
        own |= dict.fromkeys(group, (float(scale[0]), float(scale[1])))
    return {rule: own[rule] for rule in by_rule}


def _range(cells: Iterable[Cell | None]) -> tuple[float, float]:
    values = [cell.value for cell in cells if cell is not None]
    return min(values, default=math.inf), max(values, default=-math.inf)


def _check_one_scale(rule: str, cells: Sequence[Cell | None], top: float | None, wheres: Sequence[str]) -> None:
    """Refuses a rule with ratings out of 5 and out of 10, or with some like "80 %" and others like 0.8."""
    if top is None:
        return
    known = [(cell, place) for cell, place in zip(cells, wheres, strict=True) if cell is not None]
    of_top = [(cell, place) for cell, place in known if cell.top == top]
    for cell, place in known:
        if cell.top not in (None, top):
            problem = f"rule {rule!r}: this rating is out of {cell.top:g}, and others are out of {top:g}"
            raise InputError(problem, where=place, fix="bring them to one scale")
    bare = [(cell, place) for cell, place in known if cell.top is None]
    beyond = [(cell, place) for cell, place in bare if cell.value > top]
    if beyond and len(of_top) < len(bare):  # the slip is what is rarer
        (cell, place), value = of_top[0], max(cell.value for cell, _ in bare)
        problem = f"rule {rule!r}: this rating is out of {top:g}, and others are up to {value:g}"
        raise InputError(problem, where=place, fix="bring them to one scale")
    if beyond:
        cell, place = beyond[0]
        problem = f"rule {rule!r}: this rating is {cell.value:g}, and others are out of {top:g}"
        raise InputError(problem, where=place, fix="bring them to one scale")
    low, high = _range(cell for cell in cells if cell is not None and cell.top is None)
    if low < high and FAR_BELOW * infer_scale([Cell(low), Cell(high)])[1] <= top:
        if len(of_top) < len(bare):
            place = of_top[0][1]
            problem = f"rule {rule!r}: this rating is out of {top:g}, and others are {low:g} to {high:g}"
        else:
            place = bare[0][1]
            problem = (
                f"rule {rule!r}: some ratings are out of {top:g}, and others, as this one, are {low:g} to {high:g}"
            )
        raise InputError(problem, where=place, fix="bring them to one scale")


def scale_words(own: Mapping[str, Scale]) -> str:
    """The scales, and of several which rules are on each.

    >>> scale_words({"kind": (1.0, 5.0), "true": (1.0, 5.0), "harm": (0.0, 1.0)})
    '1 to 5 (kind, true) and 0 to 1 (harm)'
    """
    rules: dict[Scale, list[str]] = {}
    for rule, scale in own.items():
        rules.setdefault(scale, []).append(rule)
    if len(rules) == 1:
        low, high = next(iter(rules))
        return f"{low:g} to {high:g}"
    return " and ".join(f"{low:g} to {high:g} ({named(names)})" for (low, high), names in rules.items())


def evidence(own: Mapping[str, Scale], values: Mapping[str, np.ndarray]) -> str:
    """What the scales are inferred from, one part for each of them.

    >>> evidence({"kind": (1.0, 5.0), "true": (1.0, 5.0)}, {"kind": np.array([2, 5]), "true": np.array([1, 1])})
    'lowest 1, highest 5, 3 different'
    """
    parts = []
    for scale in dict.fromkeys(own.values()):
        levels = np.unique(np.concatenate([values[rule] for rule in own if own[rule] == scale and rule in values]))
        parts.append(
            f"lowest {levels[0]:g}, highest {levels[-1]:g}, {len(levels):,} different" if len(levels) else "none"
        )
    return "; ".join(parts)


def on_inferred_scales(
    read: Callable[[Scale], Iterable[Record]],
    source: Path | object,
    pool: RulePool,
    option: str = "",
    columns: Sequence[str] = (),
    notes: list[str] | None = None,
    own: Mapping[str, Scale] | None = None,
) -> tuple[Iterator[Record], Scale]:
    """Records whose ratings are numbers, and the scale that they are on: the file's own, or 0 to 1 if it has several.

    Args:
      read: reads the records of the source by a scale, and turns their ratings so that higher is better.
      source: a file or rows in memory.
      pool: the rules.
      option: how the scale is given on this command line, for the message; "" for none.
      columns: names of the columns that hold ratings, where the field ``ratings`` does not.
      notes: gets the scale in words, unless it is 0 to 1.
      own: the scale of every rule, where it is that of several sources.
    """
    values = rating_values(source, columns)
    ranges = rated_ranges(values)
    own = scales_by_rule(ranges) if own is None else own

    def place(rule: str, i: int) -> str:
        return next(itertools.islice(read_rows(source), values[rule][1][i], None))[0]

    numbers = {rule: np.asarray(values[rule][0]) for rule in ranges}
    fix = f"give the ratings' scale{option and f': {option}'}"
    check_stray(numbers, own, place, fix)
    if not ranges:  # no rating, or none that is a number: the reader says so
        return iter(read(UNIT)), UNIT
    log, name = logging.getLogger(__name__), source.name if isinstance(source, Path) else str(source)
    seen = {rule: numbers[rule] for rule in own if rule in numbers}
    told = evidence({rule: own[rule] for rule in seen}, seen)
    log.info("%s: scale %s, inferred from the ratings%s: %s", name, scale_words(own), option and f" ({option})", told)
    scales = set(own.values())
    if notes is not None and scales != {UNIT}:
        notes.append(f"scale {scale_words(own)}, inferred from the ratings (another: scale=(LOWEST, HIGHEST))")
    if len(scales) == 1:
        return iter(read(common := scales.pop())), common
    common = min(low for low, _ in scales), max(high for _, high in scales)
    known = {rule: rule_of(rule, pool.names) for rule in own}  # others the reader refuses
    names = {rule: pool.names.index(name) for rule, name in known.items() if name is not None}
    if len(set(names.values())) < len(names):
        problem = f"rules differ in capitals and signs alone: {named(names)}"
        raise InputError(problem, where=name, fix="name each rule in one way")
    return (_on_own(record, common, own, names, pool) for record in read(common)), UNIT


def _on_own(
    record: Record, common: Scale, own: Mapping[str, Scale], names: Mapping[str, int], pool: RulePool
) -> Record:
    """The record, each rule's ratings from 0 to 1 on its own scale."""
    if record.ratings is None:
        return record
    ratings = np.array(record.ratings, np.float64)
    for rule, k in names.items():
        low, high = own[rule]
        turned = 0.0 if pool[k].direction > 0 else low + high - sum(common)
        ratings[..., k] = to_unit(np.clip(ratings[..., k] + turned, low, high), own[rule])
    return dataclasses.replace(record, ratings=np.where(record.mask, ratings, 0).astype(np.float32))
