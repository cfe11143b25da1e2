"""The tensors of a local Hugging Face folder, read one by one from the mapped files."""

from __future__ import annotations

import hashlib
import math
import mmap
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Any, NoReturn, TypedDict

import ml_dtypes
import numpy as np
from msgspec import Meta

from encore_jax import json_shape
from encore_jax.checkpoints.text_part import is_multimodal, left_out, text_name
from encore_jax.errors import InputError
from encore_jax.files import open_file

MAX_HEADER = 16 << 20
"""Longest header of a file, and largest JSON file beside it, in bytes."""

_DTYPES = {
    "F64": np.dtype("<f8"),
    "F32": np.dtype("<f4"),
    "F16": np.dtype("<f2"),
    "BF16": np.dtype(ml_dtypes.bfloat16),
}
_AGAIN = "download the file again"
_Size = Annotated[int, Meta(ge=0, lt=2**48)]


class Entry(TypedDict):
    """What a header says of one tensor: its type, shape, and first and last (exclusive) byte after the header."""

    dtype: str
    shape: Annotated[list[_Size], Meta(max_length=16)]
    data_offsets: tuple[_Size, _Size]


class _Index(TypedDict):
    weight_map: dict[str, str]


class SafetensorsFile:
    """One mapped ``.safetensors`` file.

    Attributes:
      entries: name -> `Entry`.
      metadata: the texts that its header holds besides.

    Raises:
      InputError: a damaged header, or a tensor that reaches past the end of the file or into another.
    """

    def __init__(self, path: Path):
        self.where = str(path)
        with open_file(path) as file:
            length, size = int.from_bytes(file.read(8), "little"), file.seek(0, 2)
            if length < 2 or 8 + length > size:
                self._damaged("the header is missing or truncated")
            if length > MAX_HEADER:
                raise InputError(f"the header has {length:,} bytes, more than {MAX_HEADER:,}", where=self.where)
            self._data = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        self._start = 8 + length
        where = f"{self.where}, header"
        header = json_shape.decode_json(
            self._data[8 : self._start], dict[str, object], where=where, fix=_AGAIN, unique_keys=True
        )
        stored = header.pop("__metadata__", None) or {}
        self.metadata = json_shape.check_shape(stored, dict[str, str], where=f"{where} '__metadata__'", fix=_AGAIN)
        self.entries: dict[str, Entry] = {
            name: json_shape.check_shape(entry, Entry, where=self._at(name), fix=_AGAIN)
            for name, entry in header.items()
        }
        self._check_extents()

    def _check_extents(self) -> None:
        ends, available = (0, ""), len(self._data) - self._start
        for name, entry in sorted(self.entries.items(), key=lambda item: item[1]["data_offsets"]):
            (first, last), dtype = entry["data_offsets"], _DTYPES.get(entry["dtype"])
            if last > available:
                self._damaged("the file is truncated", name)
            needed = math.prod(entry["shape"]) * dtype.itemsize if dtype else last - first
            if not needed == last - first >= 0 or math.prod(size or 1 for size in entry["shape"]) >= 2**56:
                self._damaged(f"shape {entry['shape']} and size {last - first} disagree", name)
            if first < last:
                if first < ends[0]:
                    self._damaged(f"it overlaps tensor {_short(ends[1])}", name)
                ends = last, name

    def _at(self, name: str) -> str:
        return f"{self.where}, tensor {_short(name)}"

    def _damaged(self, problem: str, name: str = "") -> NoReturn:
        raise InputError(problem, where=self._at(name) if name else self.where, fix=_AGAIN)

    def read(self, name: str) -> np.ndarray:
        """A read-only view of one tensor."""
        entry = self.entries[name]
        if entry["dtype"] not in _DTYPES:
            raise InputError(
                f"type {entry['dtype'][:20]} is not read here",
                where=self._at(name),
                fix=f"save the weights as one of {', '.join(_DTYPES)}",
            )
        first, shape = self._start + entry["data_offsets"][0], tuple(entry["shape"])
        dtype, count = _DTYPES[entry["dtype"]], math.prod(shape)
        if not count:
            return np.zeros(shape, dtype)
        return np.frombuffer(self._data, dtype, count, first).reshape(shape)

    def sha256(self) -> str:
        """Of the whole file, as it was opened."""
        return hashlib.sha256(self._data).hexdigest()

    def release(self, name: str) -> None:
        """Gives back the memory of a tensor's pages; a later read maps them again."""
        first, last = (self._start + offset for offset in self.entries[name]["data_offsets"])
        first, last = -(-first // mmap.PAGESIZE) * mmap.PAGESIZE, last // mmap.PAGESIZE * mmap.PAGESIZE
        if last > first:
            self._data.madvise(mmap.MADV_DONTNEED, first, last - first)


def _short(name: str) -> str:
    return repr(name if len(name) <= 200 else name[:200] + "...")


class HuggingFaceFolder:
    """The tensors of a folder: ``model.safetensors``, or an index and its shards.

    Of a model that reads pictures too, the tensors of its text part, under their names in a model of text alone.

    Attributes:
      left_out: what is not of the text part, counted (`text_part.left_out`).

    Raises:
      InputError: no safetensors weights (pickles are refused), a missing shard, a damaged file.
    """

    def __init__(self, folder: Path):
        self.where = str(folder)
        file_of: dict[str, SafetensorsFile] = {}
        files = []
        for path, names in _shards(folder):
            files.append(file := SafetensorsFile(path))
            for name in file.entries if names is None else names:
                if name not in file.entries:
                    raise InputError(f"the index places {_short(name)} here and it is not",
                                     where=str(path), fix="download the folder again")  # fmt: skip
                file_of[name] = file
        for file in files:
            elsewhere = sorted(name for name in file.entries if file_of.get(name, file) is not file)
            if elsewhere:
                other = Path(file_of[elsewhere[0]].where).name
                problem = f"the index places {_short(elsewhere[0])} in {other}, and it is here too"
                raise InputError(problem, where=file.where, fix="download the folder again, or remove one of the two")
            unplaced = sorted(file.entries.keys() - file_of.keys())
            if unplaced:
                raise InputError(f"{len(unplaced)} tensors are in no index: {_some(map(_short, unplaced))}",
                                 where=file.where, fix="download the folder again")  # fmt: skip
        self.left_out = left_out(file_of) if is_multimodal(file_of) else ""
        self._place = self._named(file_of)

    def _named(self, file_of: dict[str, SafetensorsFile]) -> dict[str, tuple[SafetensorsFile, str]]:
        """Of each tensor its file, and its name there."""
        if not is_multimodal(file_of):
            return {name: (file, name) for name, file in file_of.items()}
        place: dict[str, tuple[SafetensorsFile, str]] = {}
        for stored, file in file_of.items():
            name = text_name(stored)
            if name in place:
                raise InputError(f"{_short(stored)} and {_short(place[name][1])} are the same tensor of the text part",
                                 where=self.where, fix="remove one of them")  # fmt: skip
            if name is not None:
                place[name] = file, stored
        return place

    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Name -> shape of every tensor in every shard."""
        return {name: tuple(file.entries[stored]["shape"]) for name, (file, stored) in self._place.items()}

    def size(self, name: str) -> int:
        """Bytes of one tensor in its file."""
        file, stored = self._place[name]
        first, last = file.entries[stored]["data_offsets"]
        return last - first

    def read(self, name: str) -> np.ndarray:
        """A read-only view of one tensor."""
        file, stored = self._place[name]
        return file.read(stored)

    def release(self, name: str) -> None:
        """Gives back the memory of a tensor's pages."""
        file, stored = self._place[name]
        file.release(stored)


def _shards(folder: Path) -> list[tuple[Path, list[str] | None]]:
    """Every weight file, with the names the index expects in it (None: all it has)."""
    single, index = folder / "model.safetensors", folder / "model.safetensors.index.json"
    if single.is_file():
        _check_alone(single, index)
        return [(single, None)]
    if not index.is_file():
        pickles = sorted(p.name for p in (*folder.glob("*.bin"), *folder.glob("*.pt")))
        problem = f"only pickled weights ({', '.join(pickles)})" if pickles else "no weights"
        raise InputError(
            f"there are {problem} here, no model.safetensors", where=str(folder),
            fix="save with save_pretrained(..., safe_serialization=True); pickles can run code",
        )  # fmt: skip
    return [(folder / shard, names) for shard, names in _placed(folder, index).items()]


def _check_alone(single: Path, index: Path) -> None:
    """Refuses a folder that holds its weights twice; an index of shards that are not there counts for nothing."""
    if not index.is_file():
        return
    shards = set(_weight_map(index).values()) - {single.name}
    there = sorted(name for name in shards if _is_name(name) and _is_another(index.parent / name, single))
    if there:
        problem = f"holds weights twice: {single.name}, and {_some(there)} of {index.name}"
        raise InputError(problem, where=str(index.parent), fix="remove the ones that are not the model's")


def _is_another(shard: Path, single: Path) -> bool:
    """Whether a shard is there and no link to the single file, as a hub's cache may have."""
    return shard.is_file() and not shard.samefile(single)


def _weight_map(index: Path) -> dict[str, str]:
    return json_shape.read_json(index, _Index, max_bytes=MAX_HEADER, unique_keys=True, fix="download the index again")[
        "weight_map"
    ]


def _is_name(shard: str) -> bool:
    return Path(shard).name == shard and "\0" not in shard and len(shard.encode()) <= 255


def _placed(folder: Path, index: Path) -> dict[str, list[str]]:
    """The names of the tensors in every shard, as the index says; each shard is a file of the folder itself."""
    placed: dict[str, list[str]] = {}
    for name, shard in _weight_map(index).items():
        placed.setdefault(shard, []).append(name)
    outside = [shard for shard in placed if not _is_name(shard)]
    if outside:
        raise InputError(f"{_short(outside[0])} is no file of this folder", where=f"{index}, field 'weight_map'",
                         fix="use an index that names files beside it")  # fmt: skip
    absent = [shard for shard in placed if not (folder / shard).is_file()]
    if absent or not placed:
        raise InputError(f"{len(absent)} of {len(placed)} shards missing: {_some(absent)}",
                         where=str(index), fix="download the missing files")  # fmt: skip
    return placed


def _some(names: Iterable[str], most: int = 8) -> str:
    names = list(names)
    return ", ".join(names[:most]) + (f", and {len(names) - most} more" if len(names) > most else "")


def read_json(path: Path) -> dict[str, Any]:
    """A JSON file that holds an object.

    Raises:
      InputError: it is missing or damaged, holds something else, or a key twice.
    """
    return json_shape.read_json(path, dict[str, Any], max_bytes=MAX_HEADER, unique_keys=True)
