"""CSV and its relatives as programs export them: commas, semicolons or tabs, with or without a byte order mark."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from pathlib import Path

from encore_jax.data.rows import named
from encore_jax.errors import InputError
from encore_jax.json_shape import read_bytes

SUFFIXES = (".csv", ".tsv")
MAX_TABLE = 512 << 20
"""Bytes of the largest table that is read."""
MAX_CELL = 16 << 20
"""Characters of the longest cell, as of a row of other files."""
DELIMITERS = (",", ";", "\t", "|")
SAVE = "save the table as CSV UTF-8 with a header"


def is_text_table(path: str | Path) -> bool:
    """Whether a file's name says that it is one.

    >>> is_text_table("ratings.CSV"), is_text_table("ratings.jsonl")
    (True, False)
    """
    return Path(path).name.lower().endswith(SUFFIXES)


def read_text_table(path: str | Path) -> Iterator[tuple[str, dict[str, str]]]:
    """Streams ``(where, row)``; ``where`` names file and line. Blank rows are passed over.

    Raises:
      InputError: the file is missing, too large, of an unknown encoding, has no header or columns of one name, or a row
        has more cells than the header.
    """
    path = Path(path)
    text = _decoded(read_bytes(path, fix=SAVE, max_bytes=MAX_TABLE), path)
    csv.field_size_limit(MAX_CELL)
    rows = csv.reader(io.StringIO(text, newline=""), delimiter=_delimiter(text), strict=True)
    try:
        header = [name.strip() for name in next(rows, [])]
        while header and not header[-1]:  # a delimiter at the end of every line
            header.pop()
        if header and not header[0]:  # pandas' index
            header[0] = "index"
        _check_header(header, path)
        for cells in rows:
            if not any(cell.strip() for cell in cells):
                continue
            where = f"{path}:{rows.line_num}"
            if any(cell.strip() for cell in cells[len(header) :]):
                problem = f"has {len(cells)} cells, and the header {len(header)}"
                raise InputError(problem, where=where, fix="put quotes around texts with a delimiter in them")
            yield where, dict(zip(header, cells + [""] * (len(header) - len(cells)), strict=False))
    except csv.Error as error:
        raise InputError(f"is no table: {error}", where=f"{path}:{rows.line_num}", fix=SAVE) from None


def _decoded(content: bytes, path: Path) -> str:
    encoding = "utf-16" if content[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-8-sig"
    try:
        return content.decode(encoding)
    except UnicodeDecodeError as error:
        problem = f"is not {encoding.upper().removesuffix('-SIG')} text (byte {error.start})"
        raise InputError(problem, where=str(path), fix=SAVE) from None


def _delimiter(text: str) -> str:
    """The one that the header has most of, outside of quotes."""
    header, quoted, counts = text[: 1 << 16], False, dict.fromkeys(DELIMITERS, 0)
    for character in header:
        if character == '"':
            quoted = not quoted
        elif not quoted and character in "\r\n":
            break
        elif not quoted and character in counts:
            counts[character] += 1
    return max(counts, key=counts.get)


def _check_header(header: list[str], path: Path) -> None:
    if not any(header):
        raise InputError("has no header", where=f"{path}:1", fix=SAVE)
    for i, name in enumerate(header):
        if not name:
            raise InputError(f"column {i + 1} has no name", where=f"{path}:1", fix="name it")
        if name in header[:i]:
            problem = f"has two columns {name[:60]!r}; its columns are {named(header)}"
            raise InputError(problem, where=f"{path}:1", fix="rename one")
