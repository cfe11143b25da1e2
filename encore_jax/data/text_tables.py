"""CSV and its relatives as programs export them: commas, semicolons or tabs, in UTF-8, UTF-16 or Windows-1252."""

from __future__ import annotations

import csv
import gzip
import io
import logging
import re
import zlib
from collections.abc import Iterator
from pathlib import Path

from encore_jax.data.lines import GZIP_EXPANSION, Allowance
from encore_jax.data.rows import named
from encore_jax.errors import InputError
from encore_jax.json_shape import read_bytes

SUFFIXES = (".csv", ".tsv", ".txt", ".csv.gz", ".tsv.gz")
MAX_TABLE = 512 << 20
"""Bytes of the largest table that is read."""
MAX_CELL = 16 << 20
"""Characters of the longest cell, as of a row of other files."""
DELIMITERS = (",", ";", "\t", "|")
SAVE = "save the table as CSV UTF-8 with a header"
MOST_FOREIGN = 0.2
"""Of the letters of a text in Windows-1252, no more are beyond ASCII: in other code pages nearly all are."""


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
    content = read_bytes(path, fix=SAVE if path.exists() else "", max_bytes=MAX_TABLE)
    text = _decoded(_unpacked(content, path) if path.name.lower().endswith(".gz") else content, path)
    csv.field_size_limit(MAX_CELL)
    first, delimiter = _delimiter_line(text)
    table = io.StringIO(text, newline="")
    for _ in range(first):
        table.readline()
    rows = csv.reader(table, delimiter=delimiter or _delimiter(text), strict=True)
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
            where = f"{path}:{rows.line_num + first}"
            if any(cell.strip() for cell in cells[len(header) :]):
                problem = f"has {len(cells)} cells, and the header {len(header)}"
                raise InputError(problem, where=where, fix="put quotes around texts with a delimiter in them")
            yield where, dict(zip(header, cells + [""] * (len(header) - len(cells)), strict=False))
    except csv.Error as error:
        raise InputError(f"is no table: {error}", where=f"{path}:{rows.line_num + first}", fix=SAVE) from None


def _unpacked(content: bytes, path: Path) -> bytes:
    """What a gzip file holds.

    Raises:
      InputError: it is damaged, or expands to far more than any table does.
    """
    allowance, parts = Allowance(path, *GZIP_EXPANSION), []
    try:
        with gzip.GzipFile(fileobj=io.BytesIO(content)) as file:
            while block := file.read(1 << 20):
                allowance.use(len(block))
                parts.append(block)
    except (EOFError, OSError, zlib.error) as error:
        raise InputError(f"damaged or truncated gzip: {error}", where=str(path), fix=SAVE) from None
    return b"".join(parts)


def _decoded(content: bytes, path: Path) -> str:
    """The text, in whichever encoding it is.

    Raises:
      InputError: it is a workbook, or of an encoding that nothing tells.
    """
    from encore_jax.data.spreadsheets import EXPORT, check_no_workbook

    check_no_workbook(content, path)
    encoding = "utf-16" if content[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-8-sig"
    if encoding != "utf-16" and b"\0" in content[:2]:  # UTF-16 without a byte order mark: a header is ASCII
        encoding = "utf-16-be" if content[:1] == b"\0" else "utf-16-le"
    try:
        return content.decode(encoding)
    except UnicodeDecodeError as error:
        text = _western(content) if encoding == "utf-8-sig" else None
        if text is None:
            problem = f"is not {encoding.upper().removesuffix('-SIG')} text (byte {error.start})"
            raise InputError(problem, where=str(path), fix=f"{SAVE}; {EXPORT}") from None
    example = next(iter(re.findall(r"\w*[^\x00-\x7f]+\w*", text)), "")[:30]
    logging.getLogger(__name__).warning(
        "%s: is not UTF-8; read as Windows-1252, as Excel saves a plain CSV. If %r is not as it should be, %s",
        path, example, SAVE,
    )  # fmt: skip
    return text


def _western(content: bytes) -> str | None:
    """Text in Windows-1252; None if it cannot be that, or hardly is."""
    try:
        text = content.decode("cp1252")
    except UnicodeDecodeError:
        return None
    letters = [character for character in text if character.isalpha()]
    foreign = sum(character > "\x7f" for character in letters)
    return text if foreign <= MOST_FOREIGN * len(letters) else None


def _delimiter_line(text: str) -> tuple[int, str]:
    """How many lines tell Excel the delimiter (``sep=;``), 0 or 1, and which one it is.

    >>> _delimiter_line("sep=;\\nprompt;response"), _delimiter_line("prompt;response")
    ((1, ';'), (0, ''))
    """
    found = re.match(r'"?sep=(.)"?[\t ]*(\r\n|\r|\n)', text, re.IGNORECASE)
    return (1, found[1]) if found else (0, "")


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
