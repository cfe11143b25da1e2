"""Lines of a text file, plain or gzip, read so that no file takes more memory or time than its rows are worth.

A line ends with a line feed, a carriage return, or both; JSON has neither inside a text, so all three can be told apart
from what is on the line.
"""

from __future__ import annotations

import contextlib
import gzip
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from encore_jax.errors import InputError
from encore_jax.files import open_file

MAX_ROW = 16 << 20
"""Bytes of the longest row that is read, some four million tokens."""
GZIP_EXPANSION = 32 << 20, 32
"""Bytes that any gzip file may expand to, and how many times its own size it may expand to beyond that."""

_BLOCK = 1 << 20
_BOM = b"\xef\xbb\xbf"
_OTHER_BOMS = {
    b"\xff\xfe\x00\x00": "UTF-32", b"\x00\x00\xfe\xff": "UTF-32", b"\xff\xfe": "UTF-16", b"\xfe\xff": "UTF-16",
}  # fmt: skip


@contextlib.contextmanager
def opened(path: Path) -> Iterator[BinaryIO]:
    """The file's bytes, unpacked if its name ends in .gz.

    Raises:
      InputError: it is missing or no regular file; in the block, a read finds the gzip damaged.
    """
    with contextlib.ExitStack() as stack:
        file = stack.enter_context(open_file(path))
        try:
            yield stack.enter_context(gzip.GzipFile(fileobj=file, mode="rb")) if path.name.endswith(".gz") else file
        except (EOFError, gzip.BadGzipFile, zlib.error) as error:
            raise InputError(
                f"damaged or truncated gzip: {error}", where=str(path), fix="fetch the file again"
            ) from None
        except OSError as error:
            raise InputError(f"cannot be read: {error.strerror or error}", where=str(path)) from None


def blocks(file: BinaryIO, path: Path) -> Iterator[bytes]:
    """The file's bytes in blocks, without a byte order mark.

    Raises:
      InputError: it is UTF-16 or UTF-32, or expands to far more than any text does.
    """
    allowance, total = Allowance(path, *GZIP_EXPANSION), 0
    while block := file.read(_BLOCK):
        if not total:
            for mark, name in _OTHER_BOMS.items():
                if block.startswith(mark):
                    raise InputError(f"is {name} text", where=str(path), fix="save the file as UTF-8")
        if path.name.endswith(".gz"):
            allowance.use(len(block))
        yield block.removeprefix(_BOM) if not total else block
        total += len(block)


def lines(path: Path, limit: int = MAX_ROW) -> Iterator[tuple[int, bytes]]:
    """Streams ``(number, line)`` of all lines that are not blank, counted from 1, without their ends.

    Raises:
      InputError: a line is longer than `limit` bytes; and see `opened` and `blocks`.
    """
    number, pending, size, after_return = 1, [], 0, False
    with opened(path) as file:
        for block in blocks(file, path):
            if after_return and block.startswith(b"\n"):
                block = block[1:]
            after_return = block.endswith(b"\r")
            if not size and block.isspace():  # a million blank lines take no longer than one
                number += block.count(b"\n") + block.count(b"\r") - block.count(b"\r\n")
                continue
            for line in block.splitlines(keepends=True):
                pending.append(line)
                size += len(line)
                if size > limit:
                    raise InputError(
                        f"the line is longer than {limit >> 20} MiB",
                        where=f"{path}:{number}",
                        fix="leave the row out, or split the file into one row a line",
                    )
                if line.endswith((b"\n", b"\r")):
                    whole = b"".join(pending).strip()
                    if whole:
                        yield number, whole
                    number, pending, size = number + 1, [], 0
    if whole := b"".join(pending).strip():
        yield number, whole


class Allowance:
    """How much a compressed file may still expand to.

    Args:
      path: the file.
      free: bytes that any file may expand to.
      times: beyond that, how many times its own size.

    >>> import pathlib, tempfile
    >>> path = pathlib.Path(tempfile.mkdtemp()) / "bomb.gz"
    >>> _ = path.write_bytes(bytes(100))
    >>> Allowance(path, 64 << 20, 100).use((64 << 20) + 1)
    Traceback (most recent call last):
    encore_jax.errors.InputError: ...bomb.gz: 100 bytes expand to more than 64 MiB... Fix: ...
    """

    def __init__(self, path: Path, free: int, times: int):
        self._path, self._size, self._used = path, path.stat().st_size, 0
        self._most = max(free, times * self._size)

    def use(self, count: int) -> None:
        """Takes so many bytes of it.

        Raises:
          InputError: there are not so many left.
        """
        self._used += count
        if self._used > self._most:
            raise InputError(
                f"{self._size:,} bytes expand to more than {self._most >> 20} MiB, as no text does",
                where=str(self._path),
                fix="if it is right all the same, write it as plain .jsonl, which has no such limit",
            )
