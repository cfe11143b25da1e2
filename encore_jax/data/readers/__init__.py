"""Readers of published data sets, one small module for each native schema."""

from __future__ import annotations

import itertools
import logging
from collections.abc import Iterator, Mapping
from pathlib import Path

from encore_jax.data.comparison import Comparison
from encore_jax.data.formats import FORMATS, TABLE, reader_of
from encore_jax.data.memory_rows import MemoryRows, row_source
from encore_jax.data.mixed_scales import SeveralScales
from encore_jax.data.orientation import Scale
from encore_jax.data.readers.recognition import recognise
from encore_jax.data.readers.several_files import (
    file_labels,
    from_file,
    options_by_reader,
    scales_of_files,
    several_paths,
)
from encore_jax.data.scales import UNIT, on_inferred_scales
from encore_jax.data.skips import SkipCounter
from encore_jax.errors import InputError
from encore_jax.rules.rule import as_pool

__all__ = ["format_of", "read_comparisons", "recognise"]


def read_comparisons(
    path: str | Path | object, format: str = "auto", *, skips: SkipCounter | None = None, **options
) -> Iterator[Comparison]:
    """Streams the comparisons of files, or of rows in memory, in any of the `FORMATS`.

    Args:
      path: a ``.jsonl``, ``.jsonl.gz``, ``.json`` or ``.parquet`` file; a CSV, or anything else, with the columns of
        `encore_jax.data.rating_columns` for two responses in a row; a list of such files; a list of dictionaries
        like the rows of one; a pandas or polars DataFrame, a pyarrow Table, or a `datasets.Dataset`, in which NaN and
        other missing values are null. Of several files, `source` is the file that a comparison is of, and `subset` too
        where it has none; what the source was is ``extra["source"]``.
      format: a key of `FORMATS`, or "auto" to go by the columns of the first rows.
      skips: counts the rows kept and skipped, and the fields that are not read; print it afterwards. Without one, it is
        logged as a warning at the end wherever something was left out.
      **options: those of the format's reader, e.g. ``pool`` (rules, or sentences) and ``scale`` for "encore",
        ``preference`` for "pku_saferlhf". Of several files, each takes those that its reader has; ``pool`` and
        ``scale`` have no effect on a file without ratings. The scale of ratings is inferred from them where it is left
        out; one that is not 0 to 1 is logged, and is among the counter's notes.

    Raises:
      InputError: unknown format or columns (at once), a row that breaks the format, or a file of
        which every row was skipped.

    >>> rows = [{"prompt": "Hi", "chosen": "Hello!", "rejected": "Go."},
    ...         {"prompt": "Hi", "chosen": " ", "rejected": "Go."}]
    >>> skips = SkipCounter()
    >>> [c.responses for c in read_comparisons(rows, skips=skips)]
    [('Hello!', 'Go.')]
    >>> print(skips)
    2 rows: 1 kept, 1 skipped (1 with a blank response, first at row 2)
    """
    paths = several_paths(path)
    if paths is None:
        source = row_source(path)
        known = _known(source, format, options.get("pool"))
        return _of_one(source, known, skips, options_by_reader([reader_of(known)], options)[0])
    formats = [_known(source, format, options.get("pool")) for source in paths]
    each = options_by_reader(list(map(reader_of, formats)), options)
    files = [path for path, format in zip(paths, formats, strict=True) if format == "encore"]
    inferred = options.get("pool") is not None and options.get("scale") is None
    own = scales_of_files(files) if inferred and len(files) > 1 else None
    parts = [_of_one(*args, own) for args in zip(paths, formats, itertools.repeat(skips), each)]
    labels = file_labels(paths)
    return (from_file(comparison, label) for label, part in zip(labels, parts, strict=True) for comparison in part)


def _known(source: Path | MemoryRows, format: str, pool: object = None) -> str:
    """The format, found by the first rows where it is "auto"; pairs beside which a pool's ratings stand are a table.

    Raises:
      InputError: it is unknown.
    """
    if format == "auto":
        return format_of(source, pool)
    if format not in FORMATS:
        raise InputError(f"unknown format {format!r}", where=str(source), fix=f"use one of {', '.join(FORMATS)}")
    return format


def format_of(source: Path | MemoryRows, pool: object = None) -> str:
    """The format that the first rows show; pairs beside which a pool's ratings stand are a table.

    Raises:
      InputError: they show none; says what the nearest ones lack.
    """
    from encore_jax.data.readers.table import is_table_of_pairs, rates_pairs

    try:
        format = recognise(source)
    except InputError:
        if not is_table_of_pairs(source):
            raise
        return TABLE
    return TABLE if format == "pairs" and pool is not None and rates_pairs(source, pool) else format


def _of_one(
    source: Path | MemoryRows,
    format: str,
    skips: SkipCounter | None,
    options: Mapping,
    own: Mapping[str, Scale] | None = None,
) -> Iterator[Comparison]:
    counter = SkipCounter() if skips is None else skips
    if format == "encore" and options.get("pool") is not None and options.get("scale") is None:
        comparisons = _on_inferred_scale(source, counter, options, own)
    else:
        comparisons = reader_of(format)(source, skips=counter, **options)
    return _watched(comparisons, source, counter, report=skips is None)


def _on_inferred_scale(
    source: Path | MemoryRows, counter: SkipCounter, options: Mapping, own: Mapping[str, Scale] | None
) -> Iterator[Comparison]:
    """Comparisons in this project's own format; the scale of their ratings is inferred, and noted.

    Args:
      own: by rule that of several files together.
    """

    def read(scale: Scale) -> Iterator[Comparison]:
        return reader_of("encore")(source, skips=counter, **dict(options) | {"scale": scale})

    try:
        found, _ = on_inferred_scales(read, source, as_pool(options["pool"]), notes=counter.notes, own=own)
    except SeveralScales:
        raise
    except InputError:  # which the reader tells, with its row
        found = read(UNIT)
    yield from found


def _watched(
    comparisons: Iterator[Comparison], path: Path | MemoryRows, skips: SkipCounter, report: bool
) -> Iterator[Comparison]:
    kept, skipped = skips.kept, skips.skipped
    yield from comparisons
    if skips.skipped > skipped and skips.kept == kept:
        raise InputError(f"not one usable row: {skips}", where=str(path), fix="check the file, or name its format")
    if report and (skips.reasons or skips.unread or skips.notes):
        level = logging.WARNING if skips.reasons or skips.unread else logging.INFO
        logging.getLogger(__name__).log(level, "%s: %s", path, skips)
