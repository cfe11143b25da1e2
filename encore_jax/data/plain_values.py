"""Values from Python as JSON would hold them: what a cell of a data frame, or a field of a dictionary, says.

pandas is not imported: what its missing values are is known by the names of their types.
"""

from __future__ import annotations

import datetime
import decimal
import enum
import math
import os
import uuid
from collections.abc import Mapping

import numpy as np

from encore_jax.data.json_rows import MAX_PARTS
from encore_jax.data.lines import MAX_ROW
from encore_jax.errors import InputError
from encore_jax.json_shape import MAX_DEPTH

_MISSING = ("NAType", "NaTType", "MaskedConstant")
"""Types whose values say that there is none: pandas' and NumPy's."""
_AS_TEXT = (datetime.date, datetime.time, datetime.timedelta, uuid.UUID, os.PathLike)


def plain_row(row: Mapping, where: str) -> dict[str, object]:
    """A row with values as a JSON file holds them: NaN and other missing values are None, arrays are lists.

    Raises:
      InputError: a name that is no text, a value that no JSON can hold, nested too deep, or larger than a row may be.

    >>> plain_row({"prompt": "Hi", "scores": np.array([1.0, np.nan]), "n": np.int64(3)}, "row 1")
    {'prompt': 'Hi', 'scores': [1.0, None], 'n': 3}
    """
    room = _Room()
    return {
        _name(name, where): _plain(value, f"{where}, field '{str(name)[:60]}'", room) for name, value in row.items()
    }


class _Room:
    """How much more a row may hold."""

    def __init__(self):
        self.texts, self.parts = MAX_ROW, MAX_PARTS

    def take(self, where: str, texts: int = 0, parts: int = 0) -> None:
        self.texts, self.parts = self.texts - texts, self.parts - parts
        if self.texts < 0:
            raise InputError(f"the row holds more than {MAX_ROW >> 20} MiB", where=where, fix="leave it out")
        if self.parts < 0:
            raise InputError(f"more than {MAX_PARTS:,} lists and objects", where=where, fix="correct this row")


def _plain(value: object, where: str, room: _Room, depth: int = 0) -> object:
    if value is None or isinstance(value, bool) or type(value) is int:
        return value
    if isinstance(value, str):
        return _text(value, where, room)
    if isinstance(value, float):
        return None if math.isnan(value) else float(value)
    if type(value).__name__ in _MISSING:
        return None
    if isinstance(value, Mapping | list | tuple | np.ndarray) and not _is_single(value):
        if depth >= MAX_DEPTH:
            raise InputError(f"nested more than {MAX_DEPTH} deep", where=where, fix="correct this row")
        room.take(where, parts=1)
        if isinstance(value, Mapping):
            return {_name(name, where): _plain(inner, where, room, depth + 1) for name, inner in value.items()}
        return [_plain(inner, where, room, depth + 1) for inner in value]
    return _single(value, where, room, depth)


def _is_single(value: object) -> bool:
    return isinstance(value, np.ndarray) and value.ndim == 0


def _single(value: object, where: str, room: _Room, depth: int) -> object:
    """A value that is neither JSON's own nor a list or an object of others."""
    if isinstance(value, bytes | bytearray):
        room.take(where, texts=len(value))
        return bytes(value)
    if isinstance(value, np.datetime64 | np.timedelta64):
        return None if np.isnat(value) else str(value)
    if isinstance(value, enum.Enum):
        return _plain(value.value, where, room, depth)
    if isinstance(value, int):
        return int(value)
    if isinstance(value, np.generic | np.ndarray):
        inner = value.item()
        if not isinstance(inner, np.generic):
            return _plain(inner, where, room, depth)
    if isinstance(value, decimal.Decimal):
        return None if value.is_nan() else float(value)
    if isinstance(value, _AS_TEXT):
        text = value.isoformat() if isinstance(value, datetime.date | datetime.time) else str(value)
        return _text(text, where, room)
    kind = f"{type(value).__module__.partition('.')[0]}.{type(value).__name__}".removeprefix("builtins.")
    fix = "write text, a number, true or false, a list or an object; or leave the field out"
    raise InputError(f"is of type {kind[:60]}, which no file of rows can hold", where=where, fix=fix)


def _text(value: str, where: str, room: _Room) -> str:
    room.take(where, texts=len(value))
    try:
        value.encode()
    except UnicodeEncodeError:
        problem = "half of a surrogate pair, which is no character"
        raise InputError(problem, where=where, fix="correct this row") from None
    return str(value)


def _name(name: object, where: str) -> str:
    if isinstance(name, str):
        return _text(name, where, _Room())
    problem = f"a field is called {str(name)[:60]!r}, which is of type {type(name).__name__}"
    raise InputError(problem, where=where, fix="give every field a text as name")
