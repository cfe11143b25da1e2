"""The fields of a row that say something about it: its id, the part it belongs to, numbers and truth values.

Tables are written by many hands: an id may be a number, a whole number a float (pandas makes it one where a column has
gaps), a truth value 0 or 1.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path

from encore_jax.errors import InputError

EXACT = 2.0**53
"""Floats from here on stand for more than one whole number."""


def row_id(row: Mapping, where: str, *names: str) -> str:
    """The row's own id as text, or else file name and line.

    Args:
      row: the row.
      where: file and line.
      names: the fields to look at, the first one that holds something counts; by default "id". NaN, as tables write
        gaps, holds nothing.

    Raises:
      InputError: neither text nor a whole number; or a float so large that it may stand for several numbers.

    >>> row_id({"id": 7.0}, "pairs.jsonl:1"), row_id({}, "data/pairs.jsonl:1")
    ('7', 'pairs.jsonl:1')
    """
    for name in names or ("id",):
        value = row.get(name)
        if value is None or value != value:
            continue
        if isinstance(value, bool) or not isinstance(value, str | int | float):
            raise InputError(
                f"expected text or a number, found {type(value).__name__}",
                where=name,
                fix="write text, or leave it out",
            )
        if isinstance(value, float) and not (value.is_integer() and abs(value) < EXACT):
            fix = "write it as text, or leave it out"
            raise InputError(f"is {value!r}, which names no row for sure", where=name, fix=fix)
        return str(int(value)) if isinstance(value, float) else str(value)
    return Path(where).name


def text_label(row: Mapping, *names: str) -> str:
    """The first of these fields that holds something, as text; "" if none does.

    >>> text_label({"subset": None, "category": 3}, "subset", "category")
    '3'
    """
    for name in names:
        value = row.get(name)
        if value is None or value != value or value == "":
            continue
        if not isinstance(value, str | int | float) or (isinstance(value, float) and math.isinf(value)):
            found = value if isinstance(value, float) else type(value).__name__
            raise InputError(f"expected text, found {found}", where=name, fix="write text")
        return str(value)
    return ""


def whole(value: object, where: str) -> int | None:
    """A whole number, also written as a float; None where there is none (null, or NaN in a table).

    Raises:
      InputError: neither; a truth value is none.

    >>> whole(1.0, "preferred"), whole(float("nan"), "preferred")
    (1, None)
    """
    if value is None or value != value:
        return None
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if isinstance(value, bool) or not isinstance(value, int):
        raise InputError(
            f"expected a whole number or null, found {str(value)[:40]!r}", where=where, fix="write 0, 1, ..."
        )
    return value


def truth(value: object, where: str) -> bool:
    """A truth value, also written as 0 or 1.

    >>> truth(1.0, "is_safe")
    True
    """
    if isinstance(value, bool | int | float) and value in (0, 1):
        return bool(value)
    found = "null" if value is None else f"{str(value)[:40]!r}"
    raise InputError(f"expected true or false, found {found}", where=where, fix="write true or false")
