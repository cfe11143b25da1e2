"""What a stage writes and another one reads: one codec for arrays, tables and JSON, and a handle of what was written.

A value is written by its type: by its own ``save(folder)`` and ``load(folder)`` if it has them; a mapping as
results.json; a NamedTuple field by field: arrays as FIELD.npy, whatever else as JSON in fields.json.
"""

from __future__ import annotations

import dataclasses
import json
import types
import typing
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from encore_jax.data.atomic import atomic_path
from encore_jax.data.manifest import FIX
from encore_jax.errors import InputError
from encore_jax.json_shape import read_json

RESULTS, FIELDS = "results.json", "fields.json"


@dataclasses.dataclass(frozen=True)
class Artefact:
    """A handle of what a stage wrote.

    Attributes:
      stage: its name.
      folder: where it lies.
      outputs: hashes of its files, by name: what another stage that reads it depends on.
    """

    stage: str
    folder: Path
    outputs: Mapping[str, str]
    _read: dict = dataclasses.field(default_factory=dict, repr=False, compare=False)

    def read(self, kind: Any) -> Any:
        """What was written, as this type; `Path`, or no type, gives the folder. Read once, and nobody may change it."""
        kind = _only(kind)
        if kind in (None, Path):
            return self.folder
        if kind not in self._read:
            self._read[kind] = read(kind, self.folder)
        return self._read[kind]


def write(value: Any, folder: Path) -> None:
    """Writes what a stage's function returned into its folder."""
    if hasattr(value, "save"):
        value.save(folder)
    elif isinstance(value, Mapping):
        _write_json(value, folder / RESULTS)
    elif hasattr(value, "_fields"):
        arrays = {name: one for name, one in value._asdict().items() if isinstance(one, np.ndarray)}
        for name, array in arrays.items():
            np.save(folder / f"{name}.npy", array, allow_pickle=False)
        rest = {name: one for name, one in value._asdict().items() if name not in arrays}
        if rest:
            _write_json(rest, folder / FIELDS)
    else:
        raise TypeError(f"a stage cannot write a {type(value).__name__}: return a NamedTuple, or give it save and load")


def read(kind: Any, folder: Path) -> Any:
    """The inverse of `write`; of arrays only those rows are read from the disk that somebody takes.

    Raises:
      InputError: a file is missing or not what it should be.
    """
    if hasattr(kind, "load"):
        return kind.load(folder)
    if kind in (dict, Mapping) or typing.get_origin(kind) in (dict, Mapping):
        return read_json(folder / RESULTS, dict[str, object], fix=FIX)
    if not hasattr(kind, "_fields"):
        raise TypeError(f"a stage cannot read a {kind}: take a NamedTuple, or give it save and load")
    given = {name: folder / f"{name}.npy" for name in kind._fields}
    arrays = {name: _array(path) for name, path in given.items() if path.exists()}
    plain = read_json(folder / FIELDS, dict[str, object], fix=FIX) if len(arrays) < len(kind._fields) else {}
    missing = [name for name in kind._fields if name not in arrays and name not in plain]
    if missing:
        raise InputError(f"holds no {', '.join(missing)}", where=str(folder), fix=FIX)
    return kind(**arrays, **{name: plain[name] for name in kind._fields if name not in arrays})


def _array(path: Path) -> np.ndarray:
    try:
        return np.load(path, mmap_mode="r", allow_pickle=False)
    except (ValueError, OSError, EOFError) as error:
        raise InputError(f"is no array ({error})", where=str(path), fix=FIX) from None


def _write_json(value: Any, path: Path) -> None:
    with atomic_path(path) as temporary:
        temporary.write_text(json.dumps(value, indent=1, allow_nan=False), encoding="utf-8")


def _only(kind: Any) -> Any:
    """The type of an optional parameter; of a generic one its origin."""
    if typing.get_origin(kind) in (typing.Union, types.UnionType):
        kinds = [one for one in typing.get_args(kind) if one is not types.NoneType]
        return _only(kinds[0]) if len(kinds) == 1 else None
    return typing.get_origin(kind) or kind
