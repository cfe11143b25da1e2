"""Values of list fields as people type them: ``3 bins;5 bins``, ``0.5,1,inf``, ``(0.5, 1)``, ``0..4``.

Separators are semicolons, or commas where there is no semicolon outside of quotes and brackets. Brackets around the
whole and quotes around items may be left out, so that a shell needs at most one pair of quotes.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import get_args

from encore_jax.cli.grid import INTEGERS, split_outside
from encore_jax.errors import InputError

_OPEN, _CLOSE = "([", ")]"
MAX_RANGE = 100_000
"""Values that a range of whole numbers may stand for."""


def list_items(text: str) -> list[str]:
    """The items of a list, as text.

    Raises:
      InputError: quotes or brackets do not match.

    >>> list_items("3 bins;5 bins"), list_items("('http://a:1',)"), list_items("()")
    (['3 bins', '5 bins'], ['http://a:1'], [])
    >>> list_items("a,b;c"), list_items('"a,b"')
    (['a,b', 'c'], ['a,b'])
    """
    text = _without_brackets(text.strip())
    if not text:
        return []
    items = split_outside(text, ";")
    if len(items) == 1:
        items = split_outside(text, ",")
    if len(items) > 1 and not items[-1]:
        items = items[:-1]
    return [_without_quotes(item) for item in items]


def parse_list(text: str, kind: type) -> tuple:
    """The value of a field of type ``tuple[T, ...]`` or ``tuple[T, T]``.

    Raises:
      ValueError: an item is no number, or there are not as many as the type says.
      InputError: quotes or brackets do not match.

    >>> parse_list("0.5, 1, inf", tuple[float, ...]), parse_list("0..2", tuple[int, ...])
    ((0.5, 1.0, inf), (0, 1, 2))
    """
    types = get_args(kind)
    convert, items = types[0], list_items(text)
    if convert is int:
        items = [number for item in items for number in _whole_numbers(item)]
    if types[-1] is not Ellipsis and len(items) != len(types):
        raise ValueError(f"{len(items)} values, not {len(types)}")
    return tuple(convert(item) for item in items)


def list_text(items: Sequence[str]) -> str:
    """Items as one text that `list_items` reads.

    >>> list_text(["3 bins", "5 bins"]), list_items(list_text(["a;b", "c,d"])), list_items(list_text(["a,b"]))
    ('3 bins;5 bins', ['a;b', 'c,d'], ['a,b'])
    """
    special = set("\"'()[]{};,")
    quoted = [_quoted(item) if not item or special & set(item) else item for item in items]
    return ";".join(quoted)


def _whole_numbers(item: str) -> list[str]:
    match = INTEGERS.fullmatch(item)
    if not match:
        return [item]
    first, last = map(int, match.groups())
    if not first <= last < first + MAX_RANGE:
        raise ValueError(f"{item} is no range")
    return [str(number) for number in range(first, last + 1)]


def _without_brackets(text: str) -> str:
    """Without a pair of brackets around the whole text."""
    if not text or text[0] not in _OPEN or text[-1] != _CLOSE[_OPEN.index(text[0])]:
        return text
    depth, quote = 0, ""
    for at, letter in enumerate(text):
        if quote:
            quote = "" if letter == quote else quote
        elif letter in "\"'":
            quote = letter
        else:
            depth += (letter in _OPEN) - (letter in _CLOSE)
        if depth == 0 and not quote and at < len(text) - 1:
            return text  # the first bracket closes before the end
    return text[1:-1].strip()


def _without_quotes(item: str) -> str:
    if len(item) > 1 and item[0] in "\"'" and item[-1] == item[0] and item[0] not in item[1:-1]:
        return item[1:-1]
    return item


def _quoted(item: str) -> str:
    mark = "'" if '"' in item else '"'
    if mark in item:
        raise InputError("holds both kinds of quotes", where=repr(item), fix="leave one kind out")
    return f"{mark}{item}{mark}"
