"""How large the pages of a Parquet file are, read from the pages' own headers, before anything is unpacked.

A page says its size before and after compression, how many values it holds and how they are encoded. Whatever else the
file claims of itself, these numbers are what unpacking it will take. The headers are in Thrift's compact protocol
(https://github.com/apache/thrift/blob/master/doc/specs/thrift-compact-protocol.md); their fields are those of
https://github.com/apache/parquet-format/blob/master/src/main/thrift/parquet.thrift.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import BinaryIO, NamedTuple

PLAIN, PLAIN_DICTIONARY, RLE_DICTIONARY = 0, 2, 8
"""Encodings of texts that pyarrow can leave in their dictionaries."""
DELTA_BYTE_ARRAY = 7
"""The encoding in which a text shares its beginning with the one before it, so that few bytes stand for many."""
_HEADER_BYTES, _LONGEST_HEADER = 256, 1 << 20
_DEPTH = 16


class Page(NamedTuple):
    """One page: bytes once unpacked, how many values, their encoding, and whether it is a dictionary."""

    size: int
    values: int
    encoding: int
    is_dictionary: bool


def pages(file: BinaryIO, start: int, length: int) -> Iterator[Page]:
    """The pages of a column chunk that lies at `start` and takes `length` bytes.

    Raises:
      ValueError: there are no such headers.
    """
    end = start + length
    while start < end:
        header, size = _header(file, start, end)
        unpacked, packed = header.get(2), header.get(3)
        about = header.get(5) or header.get(7) or header.get(8) or {}
        encoding = about.get(4 if 8 in header else 2, -1)
        values = about.get(1, 0)
        if (
            not all(isinstance(n, int) for n in (unpacked, packed, values, encoding))
            or min(unpacked, packed, values) < 0
        ):
            raise ValueError(f"no page header at byte {start}")
        yield Page(unpacked, values, encoding, 7 in header)
        start += size + packed


class ColumnNote(NamedTuple):
    """What a footer says of a column chunk beyond its place: where pyarrow ends the process if it is wrong.

    Attributes:
      is_encrypted: it has a key of its own.
      counts_bytes: how many bytes its texts take is written down.
      repetition, definition: how many counts of levels there are.
    """

    is_encrypted: bool
    counts_bytes: bool
    repetition: int
    definition: int


def column_notes(file: BinaryIO) -> list[list[ColumnNote]]:
    """Notes of every row group's columns, from the file's footer.

    Raises:
      ValueError: there is no such footer.
    """
    end = file.seek(-8, 2)
    size = int.from_bytes(file.read(4), "little")
    if size > end:
        raise ValueError("no footer")
    file.seek(end - size)
    try:
        groups = _Compact(file.read(size)).struct().get(4)
    except IndexError:
        raise ValueError("the footer ends too early") from None
    return [[_note(column) for column in _items(_fields(group).get(1))] for group in _items(groups)]


def _note(column: object) -> ColumnNote:
    about = _fields(_fields(_fields(column).get(3)).get(16))
    return ColumnNote(8 in _fields(column), 1 in about, len(_items(about.get(2))), len(_items(about.get(3))))


def _fields(value: object) -> dict:
    return value if isinstance(value, dict) else {}


def _items(value: object) -> list:
    return value if isinstance(value, list) else []


def _header(file: BinaryIO, start: int, end: int) -> tuple[dict[int, object], int]:
    """A page's header, by field numbers, and its length in bytes."""
    most = _HEADER_BYTES
    while True:
        file.seek(start)
        reader = _Compact(file.read(min(most, end - start)))
        try:
            return reader.struct(), reader.at
        except IndexError:
            if most >= min(_LONGEST_HEADER, end - start):
                raise ValueError(f"no page header at byte {start}") from None
        most *= 16


class _Compact:
    """Reads values in Thrift's compact protocol; IndexError where the bytes end."""

    def __init__(self, content: bytes):
        self._bytes, self.at = content, 0

    def struct(self, depth: int = 0) -> dict[int, object]:
        """Fields by their numbers."""
        found, number = {}, 0
        while kind := self._byte():
            number = number + (kind >> 4) if kind >> 4 else self._integer()
            found[number] = self._value(kind & 15, depth + 1)
        return found

    def _value(self, kind: int, depth: int) -> object:
        if depth > _DEPTH:
            raise ValueError("a page header is nested too deeply")
        if kind in (1, 2):  # true, false
            return kind == 1
        if kind == 3:
            return self._byte()
        if kind in (4, 5, 6):  # integers
            return self._integer()
        if kind == 7:  # a double
            return self._skip(8)
        if kind == 8:  # bytes
            return self._skip(self._varint())
        if kind in (9, 10):  # list, set
            head = self._byte()
            count = head >> 4 if head >> 4 < 15 else self._varint()
            return [self._element(head & 15, depth) for _ in range(self._bounded(count))]
        if kind == 11 and (count := self._varint()):  # a map that holds something
            kinds, pairs = self._byte(), range(self._bounded(count))
            return [(self._element(kinds >> 4, depth), self._element(kinds & 15, depth)) for _ in pairs]
        if kind == 12:
            return self.struct(depth)
        if kind == 11:
            return []
        raise ValueError(f"no page header: a value of kind {kind}")

    def _element(self, kind: int, depth: int) -> object:
        return self._byte() == 1 if kind in (1, 2) else self._value(kind, depth + 1)

    def _bounded(self, count: int) -> int:
        if count > len(self._bytes):
            raise IndexError
        return count

    def _skip(self, count: int) -> None:
        self.at += count
        if self.at > len(self._bytes):
            raise IndexError

    def _byte(self) -> int:
        self.at += 1
        return self._bytes[self.at - 1]

    def _varint(self) -> int:
        value = 0
        for shift in range(0, 70, 7):
            byte = self._byte()
            value |= (byte & 127) << shift
            if byte < 128:
                return value
        raise ValueError("no page header: a number of more than 64 bits")

    def _integer(self) -> int:
        zigzag = self._varint()
        return (zigzag >> 1) ^ -(zigzag & 1)
