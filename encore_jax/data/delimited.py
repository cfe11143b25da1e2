"""Tables of text with a header, comma- or tab-separated, from outside: every error names file, line and column."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from encore_jax.data.rows import named
from encore_jax.errors import InputError
from encore_jax.json_shape import read_bytes

MAX_TABLE = 64 << 20
"""Bytes of the largest table that is read."""


def read_table(
    path: str | Path, columns: Sequence[str] = (), *, delimiter: str = ",", fix: str = ""
) -> Iterator[tuple[str, dict[str, str]]]:
    """Streams ``(where, row)``; ``where`` names file and line.

    Args:
      path: UTF-8 text with a header.
      columns: that it must have; others are handed on as they are.
      delimiter: between cells.
      fix: what the user can do if it is another file.

    Raises:
      InputError: the file is missing, too large, no UTF-8, no such table, or a row has too few or too many cells.
    """
    content = read_bytes(path, fix=fix, max_bytes=MAX_TABLE)
    try:
        text = io.StringIO(content.decode("utf-8-sig"), newline="")
    except UnicodeDecodeError as error:
        raise InputError(f"is not UTF-8 text (byte {error.start})", where=str(path), fix=fix) from None
    rows = csv.DictReader(text, delimiter=delimiter, strict=True)
    try:
        header = rows.fieldnames or ()
        repeated = sorted({name for name in header if header.count(name) > 1})
        missing = [name for name in columns if name not in header]
        if repeated:
            raise InputError(f"has two columns {repeated[0][:60]!r}", where=f"{path}:1", fix=fix)
        if missing:
            problem = f"has no column {named(missing)}; it has {named(header)}"
            raise InputError(problem, where=f"{path}:1", fix=fix)
        for row in rows:
            where = f"{path}:{rows.line_num}"
            if None in row or None in row.values():
                raise InputError(f"has not the header's {len(header)} cells", where=where, fix=fix)
            yield where, row
    except csv.Error as error:
        raise InputError(f"is no table: {error}", where=f"{path}:{rows.reader.line_num}", fix=fix) from None


def cell_number(row: Mapping[str, str], column: str, low: float, high: float, where: str, fix: str = "") -> float:
    """A cell's number.

    Raises:
      InputError: it is none, or outside `low` to `high`.

    >>> cell_number({"a": "2.5"}, "a", 0, 4, "t.csv:2")
    2.5
    """
    try:
        value = float(row[column])
    except ValueError:
        value = math.nan
    if not low <= value <= high:
        problem = f"{row[column][:60]!r} is no number from {low:g} to {high:g}"
        raise InputError(problem, where=f"{where}, column {column!r}", fix=fix)
    return value
