"""Rows that are in memory already: dictionaries, data frames, Arrow tables, data sets of Hugging Face.

pandas, polars and datasets are not imported: what is given is known by what it can do.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

from encore_jax.data.plain_values import plain_row
from encore_jax.data.rows import named
from encore_jax.errors import InputError

_BATCH_ROWS = 512
WHAT = "pass a path, a list of dictionaries, a pandas or polars DataFrame, a pyarrow Table or a datasets.Dataset"


class MemoryRows:
    """Rows of something in memory, under the names that errors call them by: ``row 1``, ``row 2``, ...

    Args:
      data: see `WHAT`; an iterator of dictionaries is read to its end at once, so that it can be read twice.

    Raises:
      InputError: it is nothing of these, or has columns without names or of one name.

    >>> rows = MemoryRows([{"prompt": "Hi", "response": "Hello!"}])
    >>> str(rows), list(rows)
    ('the list', [('row 1', {'prompt': 'Hi', 'response': 'Hello!'})])
    """

    def __init__(self, data: object):
        self._name, self._rows = _source(data)

    def __str__(self) -> str:
        return self._name

    def __iter__(self) -> Iterator[tuple[str, dict]]:
        for number, row in enumerate(self._rows(), 1):
            where = f"row {number}"
            if not isinstance(row, Mapping):
                fix = "pass dictionaries, one a row"
                raise InputError(f"expected an object, found {type(row).__name__}", where=where, fix=fix)
            yield where, plain_row(row, where)


def is_path(source: object) -> bool:
    """Whether it names a file."""
    return isinstance(source, str | os.PathLike)


def row_source(source: object) -> Path | MemoryRows:
    """A path, or rows in memory, as `encore_jax.data.rows.read_rows` takes them.

    >>> row_source("pairs.jsonl").name
    'pairs.jsonl'
    """
    if isinstance(source, MemoryRows):
        return source
    return Path(source) if is_path(source) else MemoryRows(source)


def is_frame(data: object) -> bool:
    """Whether it is a pandas DataFrame."""
    return all(hasattr(data, name) for name in ("iloc", "columns", "index", "to_dict"))


def is_table(data: object) -> bool:
    """Whether it is a table with named columns: a DataFrame, an Arrow table or a data set."""
    if isinstance(data, type):
        return False
    if is_frame(data) or _is_dataset(data):
        return True
    has_names = any(hasattr(data, name) for name in ("column_names", "columns", "schema"))
    return has_names and any(hasattr(data, name) for name in ("to_arrow", "__arrow_c_stream__", "__arrow_c_array__"))


def _source(data: object):
    """What errors call it, and a function that streams its rows."""
    if isinstance(data, type) or data is None:
        raise _strange(data)
    if is_frame(data):
        columns = _frame_columns(data)
        return "the DataFrame", lambda: _frame_rows(data, columns)
    if _is_dataset(data):
        return "the Dataset", lambda: _dataset_rows(data)
    if is_table(data):
        table = _arrow_table(data)
        _check_names(table.column_names, "the table")
        return "the table", lambda: _table_rows(table)
    if isinstance(data, Mapping):
        if data and all(is_table(part) for part in data.values()):
            raise InputError(
                "the data set has several splits", fix=f"pass one of {named(data)}, e.g. DATA[{next(iter(data))!r}]"
            )
        raise InputError(
            f"got one {type(data).__name__}, no list of rows", fix="pass a list of dictionaries, one a row"
        )
    if hasattr(data, "collect"):  # polars' LazyFrame
        raise InputError(f"a {type(data).__name__} holds no rows yet", fix="pass what .collect() gives")
    if isinstance(data, str | bytes | bytearray) or not isinstance(data, Iterable) or hasattr(data, "shape"):
        raise _strange(data)
    rows = data if isinstance(data, Sequence) else list(data)
    return "the list", lambda: iter(rows)


def _strange(data: object) -> InputError:
    name = data.__name__ if isinstance(data, type) else type(data).__name__
    return InputError(f"the type {name[:60]} holds no rows with named fields", fix=WHAT)


def _check_names(columns: Sequence, where: str) -> None:
    """Refuses columns that a row could not tell apart."""
    for i, name in enumerate(columns):
        if not isinstance(name, str):
            problem = f"column {i + 1} is called {str(name)[:60]!r}, which is of type {type(name).__name__}"
            raise InputError(problem, where=where, fix="give every column a text as name")
        if name in columns[:i]:
            problem = f"has two columns {name[:60]!r}; its columns are {named(columns)}"
            raise InputError(problem, where=where, fix="rename one")


def _frame_columns(frame) -> list[str]:
    """Names of a DataFrame's columns, and of the parts of its index that have a name and are no column's."""
    columns = list(frame.columns)
    _check_names(columns, "the DataFrame")
    return [*(name for name in frame.index.names if isinstance(name, str) and name not in columns), *columns]


def _frame_rows(frame, columns: Sequence[str]) -> Iterator[dict]:
    for start in range(0, len(frame), _BATCH_ROWS):
        part = frame.iloc[start : start + _BATCH_ROWS]
        cells = [part.iloc[:, i].tolist() for i in range(len(frame.columns))]
        levels = {name: part.index.get_level_values(i).tolist() for i, name in enumerate(part.index.names)}
        index = [levels[name] for name in columns[: len(columns) - len(cells)]]
        for values in zip(*index, *cells, strict=True):
            yield dict(zip(columns, values, strict=True))


def _is_dataset(data: object) -> bool:
    """Whether it is a `datasets.Dataset` or `IterableDataset`."""
    return all(hasattr(data, name) for name in ("with_format", "features", "column_names")) and hasattr(
        data, "__iter__"
    )


def _dataset_rows(data) -> Iterator[dict]:
    """Rows as they are stored (an image as bytes, not decoded), in the order that the data set has them."""
    as_stored = data.with_format("arrow")
    if not hasattr(as_stored, "iter"):
        yield from data.with_format(None)
        return
    for table in as_stored.iter(batch_size=_BATCH_ROWS):
        yield from _table_rows(table)


def _arrow_table(data):
    import pyarrow

    if not isinstance(data, pyarrow.Table) and hasattr(data, "to_arrow"):
        data = data.to_arrow()
    try:
        return data if isinstance(data, pyarrow.Table) else pyarrow.table(data)
    except (TypeError, ValueError, pyarrow.ArrowException):
        raise _strange(data) from None


def _table_rows(table) -> Iterator[dict]:
    for batch in table.to_batches(max_chunksize=_BATCH_ROWS):
        yield from batch.to_pylist()
