"""Several files read as one: which file a comparison is of is kept."""

from __future__ import annotations

import dataclasses
import inspect
import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from encore_jax.data.comparison import Comparison
from encore_jax.data.memory_rows import is_path
from encore_jax.data.mixed_scales import SeveralScales
from encore_jax.data.orientation import Scale
from encore_jax.data.rating_values import rated_ranges, rating_values
from encore_jax.data.scales import FAR_BELOW, scales_by_rule, size_of
from encore_jax.errors import InputError

ENOUGH = 10
"""Fewer ratings of a rule in a file do not say that it is on another scale there than in others."""


def several_paths(source: object) -> list[Path] | None:
    """The files, if it is a list of paths; None if it is anything else.

    Raises:
      InputError: a file is named twice, or something in the list is no path.

    >>> [path.name for path in several_paths(["hh.jsonl", Path("pku.parquet")])], several_paths("hh.jsonl")
    (['hh.jsonl', 'pku.parquet'], None)
    """
    if not isinstance(source, list | tuple | set | frozenset) or not any(map(is_path, source)):
        return None
    paths = sorted(source, key=str) if isinstance(source, set | frozenset) else list(source)
    for i, path in enumerate(paths):
        if not is_path(path):
            problem = f"entry {i + 1} is a {type(path).__name__}, and others are paths"
            raise InputError(problem, fix="pass only paths, or only dictionaries")
    paths = list(map(Path, paths))
    seen: dict[Path, Path] = {}
    for path in paths:
        if path.resolve() in seen:
            raise InputError("is named twice", where=str(path), fix="name every file once")
        seen[path.resolve()] = path
    return paths


def file_labels(paths: Sequence[Path]) -> list[str]:
    """The shortest ends of the paths that tell them apart.

    >>> file_labels([Path("hh/train.jsonl"), Path("pku/train.jsonl"), Path("more/x.jsonl")])
    ['hh/train.jsonl', 'pku/train.jsonl', 'x.jsonl']
    """
    whole = [path.resolve().parts for path in paths]
    labels = []
    for parts in whole:
        count = 1
        while count < len(parts) and sum(other[-count:] == parts[-count:] for other in whole) > 1:
            count += 1
        labels.append("/".join(parts[-count:]))
    return labels


def from_file(comparison: Comparison, label: str) -> Comparison:
    """The comparison with the name of its file."""
    extra = dict(comparison.extra)
    if comparison.source:
        extra.setdefault("source", comparison.source)
    return dataclasses.replace(comparison, source=label, subset=comparison.subset or label, extra=extra)


ABOUT_RATINGS = ("pool", "scale")
"""Options that say how ratings are read, of files that hold some."""


def options_by_reader(readers: Sequence[Callable], options: Mapping[str, object]) -> list[dict[str, object]]:
    """For every reader those of the options that it takes; those about ratings may be for none of them.

    Raises:
      TypeError: no reader takes another one.
    """
    known = [inspect.signature(reader).parameters for reader in readers]
    for name in options:
        if name not in ABOUT_RATINGS and not any(name in own for own in known):
            raise TypeError(f"no reader of these files takes {name!r}")
    return [{name: value for name, value in options.items() if name in own} for own in known]


def scales_of_files(paths: Sequence[Path]) -> dict[str, Scale] | None:
    """The scale of every rule, of several files together; None where one of them cannot be read, which its reader says.

    Raises:
      InputError: a rule is on one scale in a file, and on another in the next.
    """
    try:
        values = {path: rating_values(path) for path in paths}
    except InputError:
        return None
    first: dict[str, tuple[Path, Scale]] = {}
    ranges: dict[str, Scale] = {}
    for path, found in values.items():
        for rule, (low, high) in rated_ranges(found).items():
            few = len(found[rule][0]) < ENOUGH or low == high
            scale = scales_by_rule({rule: (low, high)})[rule]
            other, known = first.setdefault(rule, (path, scale)) if not few else (path, scale)
            if max(size_of(scale), size_of(known)) >= FAR_BELOW * min(size_of(scale), size_of(known)):
                problem = (
                    f"its ratings are on the scale from {scale[0]:g} to {scale[1]:g}, and in {other} from "
                    f"{known[0]:g} to {known[1]:g}"
                )
                fix = "read the files one by one, bring them to one scale, or give scale=(LOWEST, HIGHEST)"
                raise SeveralScales(problem, where=f"{path}, rule {rule!r}", fix=fix)
            least, most = ranges.get(rule, (math.inf, -math.inf))
            ranges[rule] = min(low, least), max(high, most)
    return scales_by_rule(ranges)
