"""Plain rows (dictionaries) in and out of JSONL, JSON and Parquet files.

Every data set reader starts from `read_rows`, so every error says file and line in the same words.
"""

from __future__ import annotations

import contextlib
import gzip
import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path

from encore_jax.data.atomic import atomic_path
from encore_jax.data.json_rows import array_rows, line_rows
from encore_jax.errors import InputError
from encore_jax.files import did_you_mean_file

SUFFIXES = (".jsonl", ".jsonl.gz", ".json", ".parquet")
_KINDS = {str: "text", bool: "true or false", int: "an integer", list: "a list", dict: "an object"}
_MOST_NAMED = 20
"""Fields of a row that an error lists."""


def read_rows(path: str | Path | object) -> Iterator[tuple[str, dict]]:
    """Streams ``(where, row)``; ``where`` names file and line (or row), counted from 1.

    Rows in memory (`encore_jax.data.memory_rows`: dictionaries, a DataFrame, an Arrow table) are taken as well as a
    file's; ``where`` is then ``row 3``.

    ``.jsonl`` and ``.jsonl.gz`` hold one JSON object a line (blank lines are fine), ``.json`` one array of objects or
    the same as ``.jsonl``, ``.parquet`` one table. However a file is made, a row takes at most
    `encore_jax.data.lines.MAX_ROW` bytes, and a compressed file expands within limits.

    Raises:
      InputError: the file is missing, of another kind, truncated, not UTF-8 or not JSON, or beyond a limit.
    """
    from encore_jax.data.memory_rows import MemoryRows, row_source

    path = row_source(path)
    if isinstance(path, MemoryRows):
        yield from path
        return
    suffix = _suffix(path)
    if not path.exists() or path.is_dir():
        fix = f"name one {_or(SUFFIXES)} file"
        if path.is_dir():
            raise InputError("is a folder", where=str(path), fix=fix)
        raise InputError("does not exist", where=str(path), fix=did_you_mean_file(path, fix))
    for where, row in _rows(path, suffix):
        if not isinstance(row, dict):
            fix = "name a file that holds one array .json" if isinstance(row, list) else "write {...}"
            raise InputError(f"expected an object, found {type(row).__name__}", where=where, fix=fix)
        yield where, row


def _rows(path: Path, suffix: str) -> Iterator[tuple[str, object]]:
    if suffix == ".parquet":
        from encore_jax.data.parquet_rows import parquet_rows

        return parquet_rows(path)
    return array_rows(path) if suffix == ".json" else line_rows(path)


def require(row: Mapping, name: str, kind: type, where: str):
    """The field's value, of the given kind (str, bool, int, list or dict); a whole float is an integer.

    Raises:
      InputError: the field is missing (listing those present), null or of another kind.

    >>> require({"prompt": "Hi"}, "prompt", str, "a.jsonl:1")
    'Hi'
    >>> require({"preferred": 1.0}, "preferred", int, "a.jsonl:1")
    1
    """
    if name not in row:
        raise InputError(
            f"missing field; this row has {named(row)}",
            where=f"{where}, field '{name}'",
            fix="check that the file has this format, or name the format",
        )
    value = row[name]
    if kind is int and isinstance(value, float) and value.is_integer():
        return int(value)
    if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
        found = "null" if value is None else type(value).__name__
        raise InputError(
            f"expected {_KINDS[kind]}, found {found}", where=f"{where}, field '{name}'", fix=f"write {_KINDS[kind]}"
        )
    return value


def named(row: Iterable) -> str:
    """The names of a row's fields, as a message lists them.

    >>> named({"prompt": 1, "chosen": 2}), named({})
    ('prompt, chosen', 'none')
    """
    names = [str(name)[:60] for name in row]
    more = [f"{len(names) - _MOST_NAMED} more"] if len(names) > _MOST_NAMED else []
    return ", ".join(names[:_MOST_NAMED] + more) or "none"


@contextlib.contextmanager
def located(where: str) -> Iterator[None]:
    """Adds file and line to an InputError that names only a field (or passes on one that has them).

    >>> with located("a.jsonl:3"):
    ...     raise InputError("blank", where="prompt")
    Traceback (most recent call last):
    encore_jax.errors.InputError: a.jsonl:3, field 'prompt': blank
    """
    try:
        yield
    except InputError as error:
        if error.where.startswith(where):
            raise
        field = f", field '{error.where}'" if error.where else ""
        raise error.at(f"{where}{field}") from None


def write_rows(path: str | Path, rows: Iterable[dict], parquet_schema: Callable[[], object]) -> int:
    """Writes rows to ``.jsonl``, ``.jsonl.gz`` or ``.parquet``, whole or not at all.

    Args:
      path: the target; an existing file is replaced.
      rows: streamed; JSON values only.
      parquet_schema: returns the pyarrow schema; called for Parquet only.

    Returns:
      how many rows were written.
    """
    path = Path(path)
    suffix = _suffix(path)
    if suffix == ".json":
        raise InputError("a .json array cannot be streamed", where=str(path), fix="write .jsonl")
    with atomic_path(path) as temporary:
        if suffix == ".parquet":
            return _write_parquet(temporary, rows, parquet_schema())
        return _write_jsonl(temporary, rows, compress=suffix == ".jsonl.gz")


def _suffix(path: Path) -> str:
    for suffix in SUFFIXES:
        if path.name.endswith(suffix):
            return suffix
    from encore_jax.data.spreadsheets import check_no_workbook_name

    check_no_workbook_name(path)
    fix = f"use {_or(SUFFIXES)}"
    if path.suffix in (".zst", ".xz", ".bz2", ".zip", ".gz"):
        fix = f"unpack it first, or {fix}"
    raise InputError("the file name does not tell its format", where=str(path), fix=fix)


def _or(names: Iterable[str]) -> str:
    *head, last = names
    return f"{', '.join(head)} or {last}"


def _write_jsonl(path: Path, rows: Iterable[dict], compress: bool) -> int:
    number = 0
    with contextlib.ExitStack() as stack:
        file = stack.enter_context(path.open("wb"))
        if compress:  # no name and no time inside, so equal rows give equal bytes
            file = stack.enter_context(gzip.GzipFile("", "wb", fileobj=file, mtime=0))
        for row in rows:
            file.write(json.dumps(row, ensure_ascii=False, allow_nan=False).encode() + b"\n")
            number += 1
    return number


def _write_parquet(path: Path, rows: Iterable[dict], schema) -> int:
    import itertools

    import pyarrow
    import pyarrow.parquet

    number, rows = 0, iter(rows)
    with pyarrow.parquet.ParquetWriter(path, schema) as writer:
        while chunk := list(itertools.islice(rows, 1024)):
            writer.write_batch(pyarrow.RecordBatch.from_pylist(chunk, schema=schema))
            number += len(chunk)
    return number
