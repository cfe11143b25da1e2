"""Rows of Parquet files, unpacked within limits: a few hundred bytes can stand for gigabytes of text.

Texts stay in their dictionaries until a row is made of them, so that a text that a million rows share is held once, and
how much text a row holds is known before it is made.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, NamedTuple

from encore_jax.data.lines import MAX_ROW, Allowance
from encore_jax.data.parquet_pages import DELTA_BYTE_ARRAY, PLAIN, PLAIN_DICTIONARY, RLE_DICTIONARY, column_notes, pages
from encore_jax.errors import InputError
from encore_jax.files import open_file

if TYPE_CHECKING:
    import pyarrow
    import pyarrow.parquet

MAX_PAGE = 128 << 20
"""Bytes of the largest page that is unpacked; writers make them of about 1 MiB."""
MAX_VALUES = 1 << 24
"""Values of one page; a row group's column has at most `VALUES_PER_ROW` more for each row."""
VALUES_PER_ROW = 1024
EXPANSION = 64 << 20, 200
"""Bytes of text that any file may expand to, and how many times its own size it may expand to beyond that: more than
other files, because a prompt of many rows is stored once."""
_BATCH_ROWS, _BATCH_BYTES = 512, 64 << 20
_VALUE_BYTES = 64
"""What a value takes in memory, besides its text."""
_FIX = "fetch or write the file again"


def parquet_rows(path: Path) -> Iterator[tuple[str, object]]:
    """Streams ``("FILE, row N", row)``.

    Raises:
      InputError: no Parquet file, damaged, or beyond a limit.
    """
    import pyarrow.parquet

    number, allowance = 0, Allowance(path, *EXPANSION)
    with open_file(path) as raw, _readable(path, lambda: number):
        metadata = _metadata(raw, path)
        chunks = [_chunks(raw, path, metadata, group) for group in range(metadata.num_row_groups)]
        shared = {chunk.column for group in chunks for chunk in group if not chunk.keeps_dictionary}
        texts = sorted({chunk.column for group in chunks for chunk in group if chunk.is_text} - shared)
        with pyarrow.parquet.ParquetFile(path, metadata=metadata, read_dictionary=texts) as table:
            for group in range(metadata.num_row_groups):
                rows = min(chunk.batch_rows(chunk.column in texts, path) for chunk in chunks[group])
                for batch in table.iter_batches(rows, row_groups=[group]):
                    for part in _parts(batch, path, number):
                        texts_alone = sum(text_bytes(column, 0) for column in part.columns)
                        allowance.use(texts_alone + _VALUE_BYTES * part.num_rows)
                        for row in part.to_pylist():
                            number += 1
                            yield f"{path}, row {number}", row


def file_metadata(path: Path) -> pyarrow.parquet.FileMetaData:
    """How many rows and columns there are, and what the file's writer noted.

    Raises:
      InputError: no Parquet file, or damaged.
    """
    import pyarrow.parquet

    with open_file(path), _readable(path, lambda: 0):
        return pyarrow.parquet.read_metadata(path)


def record_batches(path: Path, columns: Sequence[str] | None = None) -> Iterator[pyarrow.RecordBatch]:
    """Rows of a file that this package wrote, and that may have been damaged since.

    Args:
      path: the file.
      columns: which ones; all by default.

    Raises:
      InputError: no Parquet file, damaged, a page is beyond its limit, or a column is missing.
    """
    import pyarrow.parquet

    number = 0
    with open_file(path) as raw, _readable(path, lambda: number):
        metadata = _metadata(raw, path)
        if missing := sorted(set(columns or ()) - set(metadata.schema.to_arrow_schema().names)):
            raise InputError(f"has no column {missing[0]!r}", where=str(path), fix=_FIX)
        for group in range(metadata.num_row_groups):
            _chunks(raw, path, metadata, group)
        with pyarrow.parquet.ParquetFile(path, metadata=metadata) as table:
            for batch in table.iter_batches(_BATCH_ROWS, columns=columns):
                number += batch.num_rows
                yield batch


def column_names(path: Path) -> list[str]:
    """Names of the top columns.

    Raises:
      InputError: no Parquet file, or damaged.
    """
    import pyarrow.parquet

    with open_file(path), _readable(path, lambda: 0):
        return pyarrow.parquet.read_schema(path).names


def number_columns(path: Path, names: Sequence[str]) -> pyarrow.Table:
    """Columns of numbers, or of lists of numbers, whole.

    Raises:
      InputError: no Parquet file, damaged, or beyond a limit; a column is missing, stands there twice, or holds
        something else.
    """
    import pyarrow.parquet

    with open_file(path) as raw, _readable(path, lambda: 0):
        metadata = _metadata(raw, path)
        schema = metadata.schema.to_arrow_schema()
        for name in names:
            if schema.names.count(name) != 1:
                problem = "stands there twice" if name in schema.names else "is missing"
                raise InputError(problem, where=f"{path}, column {name[:80]!r}", fix=_FIX)
            if not _is_numbers(schema.field(name).type):
                kind = str(schema.field(name).type)[:80]
                raise InputError(f"holds {kind}, no numbers", where=f"{path}, column {name[:80]!r}", fix=_FIX)
        allowance = Allowance(path, *EXPANSION)
        for group in range(metadata.num_row_groups):
            for chunk in _chunks(raw, path, metadata, group):
                if chunk.column.partition(".")[0] in names:
                    allowance.use(int(8 * chunk.values_per_row * metadata.row_group(group).num_rows))
        with pyarrow.parquet.ParquetFile(path, metadata=metadata) as table:
            return table.read(columns=list(names))


def _is_numbers(kind: pyarrow.DataType) -> bool:
    from pyarrow import types

    inner = kind.value_type if types.is_list(kind) or types.is_large_list(kind) else kind
    return types.is_integer(inner) or types.is_floating(inner) or types.is_null(inner)


@contextlib.contextmanager
def _readable(path: Path, rows_read: Callable[[], int]) -> Iterator[None]:
    """Whatever a damaged file makes pyarrow raise becomes one error."""
    try:
        yield
    except InputError:
        raise
    except Exception as error:
        said = str(error).strip().split("\n")[0][:200] or type(error).__name__
        raise InputError(
            f"not a readable Parquet file after row {rows_read()}: {said}", where=str(path), fix=_FIX
        ) from None


def _metadata(raw: BinaryIO, path: Path) -> pyarrow.parquet.FileMetaData:
    """The file's footer. Of some faults of a column pyarrow does not raise: it ends the process.

    Raises:
      InputError: a column is encrypted, or its counts of levels do not fit its type.
    """
    import pyarrow.parquet

    metadata = pyarrow.parquet.read_metadata(path)
    columns = [metadata.schema.column(i) for i in range(metadata.num_columns)]
    for group, notes in enumerate(column_notes(raw)):
        for column, note in zip(columns, notes, strict=True):
            fits = note.repetition in (0, column.max_repetition_level + 1)
            fits &= note.definition in (0, column.max_definition_level + 1)
            fits &= not note.counts_bytes or column.physical_type == "BYTE_ARRAY"
            if note.is_encrypted or not fits:
                problem = "is encrypted" if note.is_encrypted else "has size statistics of another type"
                raise InputError(f"column {column.path[:80]!r} {problem}", where=f"{path}, row group {group}", fix=_FIX)
    return metadata


class _Chunk(NamedTuple):
    """A column of a row group, as its page headers tell.

    Attributes:
      column: its path.
      is_text, is_nested: whether it holds texts (or bytes), and several of them a row.
      keeps_dictionary: whether its texts can stay in their dictionaries.
      values_per_row: on average.
      value_bytes: of a value, on average, in the page where they are longest.
      longest: bytes of the largest page.
      is_shared: whether a few bytes can stand for a text as long as a page.
    """

    column: str
    is_text: bool
    is_nested: bool
    keeps_dictionary: bool
    values_per_row: float
    value_bytes: float
    longest: int
    is_shared: bool

    def batch_rows(self, in_dictionary: bool, path: Path) -> int:
        """How many rows may be unpacked at once.

        Raises:
          InputError: a single row may take any amount of memory.
        """
        unpacked = self.is_shared and not in_dictionary
        if unpacked and self.is_nested:
            raise InputError(
                "lists of texts that share their beginnings",
                where=f"{path}, column {self.column[:80]!r}",
                fix="write the file as .jsonl",
            )
        value_bytes = self.longest if unpacked else self.value_bytes
        return max(1, min(_BATCH_ROWS, int(_BATCH_BYTES / max(1.0, value_bytes * max(1.0, self.values_per_row)))))


def _chunks(raw: BinaryIO, path: Path, metadata: pyarrow.parquet.FileMetaData, group: int) -> list[_Chunk]:
    """The columns of a row group.

    Raises:
      InputError: a page, or the number of values, is beyond its limit.
    """
    about, found = metadata.row_group(group), []
    for i in range(about.num_columns):
        chunk, column = about.column(i), metadata.schema.column(i)
        start = chunk.data_page_offset
        if chunk.has_dictionary_page and chunk.dictionary_page_offset:
            start = min(start, chunk.dictionary_page_offset)
        where, values, value_bytes, longest, encodings = f"{path}, row group {group}", 0, 1.0, 1, set()
        for page in pages(raw, start, chunk.total_compressed_size):
            if page.size > MAX_PAGE:
                problem = f"column {column.path[:80]!r} has a page of {page.size >> 20} MiB, more than {MAX_PAGE >> 20}"
                raise InputError(problem, where=where, fix="write the file with smaller pages, or as .jsonl")
            longest, value_bytes = max(longest, page.size), max(value_bytes, page.size / max(1, page.values))
            if page.is_dictionary:
                encodings.add(RLE_DICTIONARY)
                continue
            encodings.add(page.encoding)
            values += page.values
            if page.values > MAX_VALUES or values > MAX_VALUES + VALUES_PER_ROW * about.num_rows:
                problem = f"column {column.path[:80]!r} has {values:,} values in {about.num_rows:,} rows"
                raise InputError(problem, where=where, fix=_FIX)
        found.append(
            _Chunk(
                column=column.path,
                is_text=column.physical_type == "BYTE_ARRAY",
                is_nested=column.max_repetition_level > 0,
                keeps_dictionary=encodings <= {PLAIN, PLAIN_DICTIONARY, RLE_DICTIONARY},
                values_per_row=values / max(1, about.num_rows),
                value_bytes=value_bytes,
                longest=longest,
                is_shared=column.physical_type.endswith("BYTE_ARRAY")
                and not encodings.isdisjoint({PLAIN_DICTIONARY, RLE_DICTIONARY, DELTA_BYTE_ARRAY}),
            )
        )
    return found


def _parts(batch: pyarrow.RecordBatch, path: Path, before: int) -> Iterator[pyarrow.RecordBatch]:
    """The rows of a batch in parts that take at most `MAX_ROW` bytes.

    Raises:
      InputError: a single row holds more.
    """
    if sum(map(text_bytes, batch.columns)) <= MAX_ROW:
        yield batch
    elif batch.num_rows == 1:
        raise InputError(
            f"the row holds more than {MAX_ROW >> 20} MiB", where=f"{path}, row {before + 1}", fix="leave it out"
        )
    else:
        half = batch.num_rows // 2
        yield from _parts(batch.slice(0, half), path, before)
        yield from _parts(batch.slice(half), path, before + half)


def text_bytes(array: pyarrow.Array, value_bytes: int = _VALUE_BYTES) -> int:
    """Bytes of all texts in an array, and so many more for every value.

    >>> import pyarrow
    >>> text_bytes(pyarrow.array([["ab", "abc"], None])), text_bytes(pyarrow.array([["ab", "abc"], None]), 0)
    (261, 5)
    """
    import pyarrow.compute
    from pyarrow import types

    kind, own = array.type, value_bytes * len(array)
    if types.is_dictionary(kind) and _is_text(kind.value_type):
        lengths = pyarrow.compute.binary_length(array.dictionary).take(array.indices)
        return own + (pyarrow.compute.sum(lengths).as_py() or 0)
    if _is_text(kind):
        return own + (pyarrow.compute.sum(pyarrow.compute.binary_length(array)).as_py() or 0)
    if types.is_map(kind):
        first, last = array.offsets[0].as_py(), array.offsets[-1].as_py()
        inner = [part.slice(first, last - first) for part in (array.keys, array.items)]
    elif types.is_struct(kind):
        inner = array.flatten()
    else:
        inner = [array.flatten()] if types.is_nested(kind) and hasattr(array, "flatten") else []
    return own + sum(text_bytes(part, value_bytes) for part in inner)


def _is_text(kind: pyarrow.DataType) -> bool:
    from pyarrow import types

    return types.is_string(kind) or types.is_large_string(kind) or types.is_binary(kind) or types.is_large_binary(kind)
