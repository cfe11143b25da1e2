"""The three small files of a saved reward model: heads, passport, and where the backbone is.

The heads are written first, and ``backbone.json``, which holds their SHA-256, last. So a folder whose files do not
belong together (a save that was cut off, or one that is under way in another process) is told from one that is whole.
A model with intervals has its calibration beside them (`encore_jax.reward.calibration`); the passport holds its hash.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, NamedTuple, NotRequired, TypedDict

import numpy as np
from msgspec import Meta

from encore_jax.checkpoints.finite import check_weights
from encore_jax.checkpoints.safetensors import SafetensorsFile
from encore_jax.checkpoints.safetensors_writer import whole, write_file
from encore_jax.data.atomic import atomic_path
from encore_jax.data.lock import output_lock
from encore_jax.errors import InputError
from encore_jax.json_shape import decode_json, read_json
from encore_jax.reward.calibration import Calibration
from encore_jax.reward.passport import PASSPORT, Passport, read_passport

HEADS, BACKBONE = "heads.safetensors", "backbone.json"
MAX_BYTES = 4 << 20
"""Largest JSON file of a saved model."""
LONGEST_ROW = 2**20
"""Longest row length, in tokens."""

_AGAIN = "save the model again"
Buckets = Annotated[list[Annotated[int, Meta(ge=1, le=LONGEST_ROW)]], Meta(min_length=1, max_length=64)]
"""Row lengths as files hold them."""


class _Backbone(TypedDict):
    path: Annotated[str, Meta(min_length=1)]
    buckets: Buckets
    heads_sha256: NotRequired[str]


class Saved(NamedTuple):
    """What a folder of a saved reward model holds.

    Attributes:
      kernel, bias: fp32 ``[D, K]`` and ``[K]``.
      passport: as stored.
      backbone: path or uri.
      buckets: row lengths.
      changed: files that are not those it was saved with.
    """

    kernel: np.ndarray
    bias: np.ndarray
    passport: Passport
    backbone: str
    buckets: tuple[int, ...]
    changed: tuple[str, ...]


def read_saved(folder: Path) -> Saved:
    """Reads and checks the three files; the backbone itself is not looked at.

    Raises:
      InputError: a file is missing or damaged, holds something else, or contradicts another.
    """
    # In the opposite order of writing: old notes then never pass for those of new heads.
    origin = read_json(folder / BACKBONE, _Backbone, fix=_AGAIN, max_bytes=MAX_BYTES, unique_keys=True)
    buckets = tuple(origin["buckets"])
    if list(buckets) != sorted(set(buckets)):
        raise InputError(f"{list(buckets)[:8]} do not increase", where=f"{folder / BACKBONE}, field 'buckets'",
                         fix="write each row length once, the shortest first")  # fmt: skip
    passport = read_passport(folder)
    file = SafetensorsFile(folder / HEADS)
    kernel, bias = _heads(file, passport)
    changed = (HEADS,) if origin.get("heads_sha256") not in (None, file.sha256()) else ()
    return Saved(kernel, bias, passport, origin["path"], buckets, changed)


def _heads(file: SafetensorsFile, passport: Passport) -> tuple[np.ndarray, np.ndarray]:
    if set(file.entries) != {"kernel", "bias"}:
        names = ", ".join(sorted(file.entries)[:8]) or "none"
        raise InputError(f"the tensors are {names[:200]}, not kernel and bias", where=file.where, fix=_AGAIN)
    for name, entry in file.entries.items():
        if entry["dtype"] != "F32":
            raise InputError(f"is {entry['dtype'][:20]}, not F32", where=f"{file.where}, tensor {name!r}", fix=_AGAIN)
    where = f"{file.where}, metadata 'rules'"
    rules = decode_json(file.metadata.get("rules", ""), list[str], where=where, fix=_AGAIN)
    if tuple(rules) != passport.rules:
        raise InputError(f"the heads are of {_some(rules)}, and the passport names {_some(passport.rules)}",
                         where=where, fix=_AGAIN)  # fmt: skip
    kernel, bias = np.array(file.read("kernel")), np.array(file.read("bias"))
    check_heads(kernel, bias, passport.rules, file.where)
    return kernel, bias


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:8])[:200] + (f" and {len(names) - 8} more" if len(names) > 8 else "")


def check_heads(kernel: np.ndarray, bias: np.ndarray, rules: Sequence[str], where: str) -> None:
    """Makes sure of heads ``[D, K]`` and their offsets ``[K]``.

    Raises:
      InputError: another shape than the rules ask for, or values that are not finite; naming the tensor.
    """
    shapes = {"kernel": ((*np.shape(kernel)[:1], len(rules)), kernel), "bias": ((len(rules),), bias)}
    for name, (expected, array) in shapes.items():
        if np.ndim(array) != len(expected) or np.shape(array) != expected or not np.size(array):
            raise InputError(
                f"shape {np.shape(array)}, not {expected if len(expected) == 1 else f'(D, {len(rules)})'}",
                where=f"{where}, tensor {name!r}",
                fix="heads and rules must belong together",
            )
        check_weights(np.asarray(array), f"{where}, tensor {name!r}")


def save_heads(
    folder: Path,
    kernel: np.ndarray,
    bias: np.ndarray,
    passport: Passport,
    backbone: str | Path,
    buckets: Sequence[int],
    calibration: Calibration | None = None,
) -> None:
    """Writes the files of a saved reward model, each whole or not at all; of a calibrated one its calibration as well.

    Raises:
      InputError: what would not be read again: shapes that do not fit, values that are not finite.
    """
    passport.check(str(folder / PASSPORT))
    check_heads(kernel, bias, passport.rules, str(folder / HEADS))
    tensors = {"kernel": np.ascontiguousarray(kernel, np.float32), "bias": np.ascontiguousarray(bias, np.float32)}
    metadata = {"rules": json.dumps(list(passport.rules))}
    passport = dataclasses.replace(passport, intervals=None if calibration is None else calibration.note)
    with output_lock(folder / BACKBONE, wait=True):
        if calibration is not None:
            calibration.save(folder)
        with atomic_path(folder / HEADS) as temporary:
            write_file(temporary, [whole(name, array) for name, array in tensors.items()], metadata=metadata)
            digest = hashlib.sha256(temporary.read_bytes()).hexdigest()
        with atomic_path(folder / PASSPORT) as temporary:
            temporary.write_text(json.dumps(passport.to_dict(), indent=1))
        origin = {"path": str(backbone), "buckets": sorted(set(buckets)), "heads_sha256": digest}
        with atomic_path(folder / BACKBONE) as temporary:
            temporary.write_text(json.dumps(origin, indent=1))
