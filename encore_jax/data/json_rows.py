"""Rows of JSON files: one object a line, or one array of objects, read object by object."""

from __future__ import annotations

import codecs
import json
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from encore_jax.data.lines import MAX_ROW, blocks, lines, opened
from encore_jax.errors import InputError
from encore_jax.json_shape import MAX_DEPTH, check_depth

MAX_PARTS = 1 << 20
"""Lists and objects of a row: each takes some hundred bytes of memory for two of the file."""
_FIX = "correct this row"
_SURROGATE = re.compile(r"\\u[dD][89abcdefABCDEF]")
_BLANK = re.compile(r"[ \t\n\r]*")


def line_rows(path: Path) -> Iterator[tuple[str, object]]:
    """Streams ``("FILE:LINE", value)`` of every line that is not blank."""
    for number, line in lines(path):
        where = f"{path}:{number}"
        yield where, _parsed(line, where)


def array_rows(path: Path) -> Iterator[tuple[str, object]]:
    """Streams ``("FILE, row N", value)`` of one array, or of a file with one object a line what `line_rows` does."""
    with opened(path) as file:
        text = _Text(path, blocks(file, path))
        if text.next() == "{":
            yield from _lines_of_json(path)
            return
        if not text.take("["):
            raise InputError(
                "neither an array of objects nor an object a line", where=str(path), fix="write [{...}, {...}]"
            )
        number, more = 1, not text.take("]")
        while more:
            where = f"{path}, row {number}"
            yield where, text.value(where)
            number, more = number + 1, text.take(",")
            if not more and not text.take("]"):
                raise InputError("neither a comma nor ] after it", where=where, fix=_FIX)
        if text.next():
            raise InputError("there is more behind the array", where=str(path), fix="write one array")


def _lines_of_json(path: Path) -> Iterator[tuple[str, object]]:
    try:
        yield from line_rows(path)
    except InputError as error:
        if error.where != f"{path}:1":
            raise
        fix = "write an array of objects, or one object a line"
        raise InputError(error.problem, where=error.where, fix=fix) from None


class _Text:
    """A file's text, of which no more is held than the value that is being read."""

    def __init__(self, path: Path, source: Iterator[bytes]):
        self._where, self._source = str(path), source
        self._decoder = codecs.getincrementaldecoder("utf-8")()
        self._text, self._at, self._ended = "", 0, False

    def next(self) -> str:
        """The next character that is not blank; "" at the end."""
        while (at := _BLANK.match(self._text, self._at).end()) == len(self._text) and not self._ended:
            self._text, self._at = "", 0
            self._read(1)
        self._at = at
        return self._text[at : at + 1]

    def take(self, character: str) -> bool:
        """Whether this is the next one; if so, it is passed."""
        found = self.next() == character
        self._at += found
        return found

    def value(self, where: str) -> object:
        """The next value; it is read again from its beginning whenever it turns out to be longer."""
        self.next()
        while True:
            held = len(self._text) - self._at
            if held > 4 * MAX_PARTS and self._text.count("[", self._at) + self._text.count("{", self._at) > MAX_PARTS:
                raise InputError(f"more than {MAX_PARTS:,} lists and objects", where=where, fix=_FIX)
            try:
                value, end = _decoder.raw_decode(self._text, self._at)
                break
            except json.JSONDecodeError as error:
                if self._ended:
                    raise _broken(error, where, self._at) from None
                if held > MAX_ROW:
                    problem = f"the row is broken ({error.msg}), or longer than {MAX_ROW >> 20} MiB"
                    raise InputError(problem, where=where, fix="correct it, or leave it out") from None
            except (ValueError, RecursionError) as error:
                raise _broken(error, where) from None
            self._text, self._at = self._text[self._at :], 0
            self._read(len(self._text))
        if end - self._at > MAX_ROW:
            raise InputError(f"the row is longer than {MAX_ROW >> 20} MiB", where=where, fix="leave it out")
        _check(self._text[self._at : end], value, where)
        self._at = end
        return value

    def _read(self, count: int) -> None:
        """Adds at least so many bytes, unless the file ends."""
        parts = []
        while count >= 0 and not self._ended:
            block = next(self._source, b"")
            self._ended = not block
            count -= len(block) or 1
            try:
                parts.append(self._decoder.decode(block, final=self._ended))
            except UnicodeDecodeError as error:
                raise InputError(
                    f"not UTF-8: {error.reason}", where=self._where, fix="save the file as UTF-8"
                ) from None
        self._text += "".join(parts)


def _parsed(line: bytes, where: str) -> object:
    if len(line) > MAX_PARTS and line.count(b"[") + line.count(b"{") > MAX_PARTS:
        raise InputError(f"more than {MAX_PARTS:,} lists and objects", where=where, fix=_FIX)
    try:
        text = line.decode("utf-8")
        value = _decoder.decode(text)
    except UnicodeDecodeError as error:
        raise InputError(f"byte {error.start} is not UTF-8", where=where, fix="save the file as UTF-8") from None
    except (ValueError, RecursionError) as error:
        if b"\0" in line:
            raise InputError(
                "there are null bytes: UTF-16 text, or a file that was not written to its end",
                where=where,
                fix="save the file as UTF-8, or fetch it again",
            ) from None
        raise _broken(error, where) from None
    _check(text, value, where)
    return value


def _check(text: str, value: object, where: str) -> None:
    """Refuses what later steps could not hold: half of a surrogate pair, deep nesting."""
    if text.count("[") + text.count("{") > MAX_DEPTH:
        check_depth(value, MAX_DEPTH, where, _FIX)
    if _SURROGATE.search(text):
        try:
            json.dumps(value, ensure_ascii=False).encode()
        except UnicodeEncodeError:
            raise InputError("half of a surrogate pair, which is no character", where=where, fix=_FIX) from None


def _broken(error: Exception, where: str, start: int = 0) -> InputError:
    """What is wrong with the row that begins at this place of the text."""
    if isinstance(error, json.JSONDecodeError):
        said = f"{error.msg} at character {error.pos - start + 1}"
    else:
        said = f"nested more than {MAX_DEPTH} deep" if isinstance(error, RecursionError) else str(error)[:200]
    return InputError(f"broken JSON: {said}", where=where, fix=_FIX)


def _no_duplicates(pairs: list[tuple[str, object]]) -> dict:
    row = dict(pairs)
    if len(row) < len(pairs):
        twice = sorted(name[:60] for name, count in Counter(name for name, _ in pairs).items() if count > 1)
        raise ValueError(f"the same key twice: {', '.join(twice[:5])}")
    return row


def _no_constant(text: str):
    raise ValueError(f"{text} is not JSON; write null for what is missing")


_decoder = json.JSONDecoder(object_pairs_hook=_no_duplicates, parse_constant=_no_constant)
