"""JSON from outside, read with a declared shape: whatever is wrong with it ends in one line that names the place.

The shape is a Python type as msgspec understands it: a dataclass or `TypedDict`, ``dict[str, list[int]]``,
``float | None``, `object` where anything may stand, with bounds by `typing.Annotated` and `msgspec.Meta`.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import TypeVar

import msgspec

from encore_jax.errors import InputError
from encore_jax.files import open_file

T = TypeVar("T")

MAX_BYTES = 64 << 20
"""Largest JSON file that is read unless a caller says otherwise."""

MAX_DEPTH = 64
"""Deepest nesting of lists and objects in JSON from outside."""

_LONGEST_QUOTE = 200
"""Longest quotation of bad input in a message, in characters."""

_OF_A_KEY = "key` in `"
"""How msgspec's paths begin where not a value is wrong but its key."""

_SURROGATE = re.compile(r"\\u[dD][89abcdefABCDEF]")


def decode_json(
    text: str | bytes,
    shape: type[T] = object,
    *,
    where: str,
    fix: str = "",
    max_depth: int = MAX_DEPTH,
    unique_keys: bool = False,
    replace_surrogates: bool = False,
) -> T:
    """Parses JSON text of a declared shape.

    Args:
      text: JSON; bytes are UTF-8, with or without a byte order mark. ``NaN`` and ``Infinity`` are numbers, as Python's
        `json` writes them.
      shape: type of the result. Dataclasses and TypedDicts ignore fields that they do not know.
      where: the file or message, as an error names it.
      fix: what the user can do.
      max_depth: deepest nesting allowed.
      unique_keys: whether an object that has a key twice is refused; otherwise its last value counts.
      replace_surrogates: whether half of a surrogate pair becomes U+FFFD; otherwise it is refused.

    Raises:
      InputError: no UTF-8, no JSON, too deeply nested, or another shape; names the place inside (``field 'a.b[0]'``).

    >>> decode_json('{"a": [1, 2]}', dict[str, list[int]], where="x.json")
    {'a': [1, 2]}
    >>> decode_json('{"a": [1, "2"]}', dict[str, list[int]], where="x.json", fix="write it again")
    Traceback (most recent call last):
    encore_jax.errors.InputError: x.json: field '[...][1]': expected `int`, got `str`. Fix: write it again
    """
    try:
        if isinstance(text, bytes | bytearray | memoryview):
            text = bytes(text).decode("utf-8-sig")
        value = json.loads(text, object_pairs_hook=_unique if unique_keys else None)
        if _SURROGATE.search(text):
            value = _whole_characters(value, replace_surrogates)
    except UnicodeEncodeError:
        raise InputError("holds half of a surrogate pair, which is no character", where=where, fix=fix) from None
    except UnicodeDecodeError as error:
        raise InputError(f"is not UTF-8 text (byte {error.start})", where=where, fix=fix) from None
    except RecursionError:
        raise InputError(f"is nested more than {max_depth} deep", where=where, fix=fix) from None
    except json.JSONDecodeError as error:
        place = f"line {error.lineno}, column {error.colno}"
        raise InputError(f"is not valid JSON: {error.msg} ({place})", where=where, fix=fix) from None
    except _RepeatedKey as error:
        raise InputError(f"has the key {_quoted(error.args[0])} twice", where=where, fix=fix) from None
    except ValueError as error:  # a whole number of thousands of digits
        raise InputError(f"is not valid JSON: {str(error)[:_LONGEST_QUOTE]}", where=where, fix=fix) from None
    return check_shape(value, shape, where=where, fix=fix, max_depth=max_depth)


def _whole_characters(value, replace: bool):
    """The value without halves of surrogate pairs.

    Raises:
      UnicodeEncodeError: there is one, and it shall not be replaced.
    """
    text = json.dumps(value, ensure_ascii=False)
    try:
        text.encode()
    except UnicodeEncodeError:
        if not replace:
            raise
        return json.loads(text.encode("utf-16", "surrogatepass").decode("utf-16", "replace"))
    return value


def check_shape(value, shape: type[T] = object, *, where: str, fix: str = "", max_depth: int = MAX_DEPTH) -> T:
    """A parsed JSON value converted to a declared shape; see `decode_json`.

    >>> check_shape({"n": 3}, dict[str, float], where="reply")
    {'n': 3.0}
    """
    check_depth(value, max_depth, where, fix)
    try:
        return msgspec.convert(value, shape)
    except msgspec.ValidationError as error:
        problem, _, path = str(error).partition(" - at `")
        if path.startswith(_OF_A_KEY):
            problem, path = f"a key: {problem[:1].lower()}{problem[1:]}", path.removeprefix(_OF_A_KEY)
        place = path.rstrip("`").removeprefix("$").removeprefix(".")
        problem = problem[:1].lower() + problem[1:_LONGEST_QUOTE]
        raise InputError(f"field {place!r}: {problem}" if place else problem, where=where, fix=fix) from None


def read_json(
    path: str | Path,
    shape: type[T] = object,
    *,
    fix: str = "",
    max_bytes: int = MAX_BYTES,
    max_depth: int = MAX_DEPTH,
    unique_keys: bool = False,
) -> T:
    """Reads a JSON file of a declared shape; see `decode_json`.

    Raises:
      InputError: as `decode_json`; or the file is missing, no file, not readable, or larger than `max_bytes`.
    """
    path = Path(path)
    content = read_bytes(path, fix=fix, max_bytes=max_bytes)
    return decode_json(content, shape, where=str(path), fix=fix, max_depth=max_depth, unique_keys=unique_keys)


def read_bytes(path: str | Path, *, fix: str = "", max_bytes: int = MAX_BYTES) -> bytes:
    """A file's contents, with a limit: of a larger file not more than `max_bytes` are ever held.

    Raises:
      InputError: the file is missing, no file, not readable, or larger than `max_bytes`.
    """
    try:
        with open_file(path, fix=fix) as file:
            content = file.read(max_bytes + 1)
    except OSError as error:
        raise InputError(f"cannot be read: {error.strerror or error}", where=str(path), fix=fix) from None
    if len(content) > max_bytes:
        raise InputError(f"is larger than {max_bytes:,} bytes", where=str(path), fix=fix)
    return content


class _RepeatedKey(ValueError):
    """An object has a key twice."""


def _unique(pairs: list[tuple[str, object]]) -> dict[str, object]:
    found = dict(pairs)
    if len(found) < len(pairs):
        seen: set[str] = set()
        raise _RepeatedKey(next(key for key, _ in pairs if key in seen or seen.add(key)))
    return found


def _quoted(text: str) -> str:
    return repr(text if len(text) <= _LONGEST_QUOTE else text[:_LONGEST_QUOTE] + "...")


def check_depth(value, limit: int, where: str, fix: str) -> None:
    """Refuses nesting beyond `limit`, without recursion."""
    level = [value]
    for _ in range(limit):
        level = [
            inner
            for outer in level
            if isinstance(outer, dict | list)
            for inner in (outer.values() if isinstance(outer, dict) else outer)
            if isinstance(inner, dict | list)
        ]
        if not level:
            return
    raise InputError(f"is nested more than {limit} deep", where=where, fix=fix)
