"""The tensors of a local Hugging Face folder, read one by one from the mapped files."""

from __future__ import annotations

import json
import math
import mmap
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np

from encore_jax.errors import InputError

_DTYPES = {
    "F64": np.dtype("<f8"),
    "F32": np.dtype("<f4"),
    "F16": np.dtype("<f2"),
    "BF16": np.dtype(ml_dtypes.bfloat16),
}


class SafetensorsFile:
    """One mapped ``.safetensors`` file.

    Raises:
      InputError: a damaged header, or a tensor that reaches past the end of the file.
    """

    def __init__(self, path: Path):
        self.where = str(path)
        with path.open("rb") as file:
            length = int.from_bytes(file.read(8), "little")
            if length < 2 or 8 + length > path.stat().st_size:
                raise self._damaged("the header is missing or truncated")
            self._data = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        self._start = 8 + length
        try:
            self.entries = json.loads(self._data[8 : self._start])
            self.entries.pop("__metadata__", None)
            extents = {name: _extent(entry) for name, entry in self.entries.items()}
        except (ValueError, KeyError, TypeError, AttributeError):
            raise self._damaged("the header is damaged") from None
        for name, (first, last, needed) in extents.items():
            if self._start + last > len(self._data):
                raise self._damaged("the file is truncated", f", tensor {name!r}")
            if needed not in (None, last - first):
                raise self._damaged("shape and size disagree", f", tensor {name!r}")

    def _damaged(self, problem: str, tensor: str = "") -> InputError:
        return InputError(problem, where=self.where + tensor, fix="download the file again")

    def read(self, name: str) -> np.ndarray:
        """A read-only view of one tensor."""
        entry = self.entries[name]
        if entry["dtype"] not in _DTYPES:
            raise InputError(
                f"type {entry['dtype']} is not read here",
                where=f"{self.where}, tensor {name!r}",
                fix=f"save the weights as one of {', '.join(_DTYPES)}",
            )
        first, shape = self._start + entry["data_offsets"][0], tuple(entry["shape"])
        dtype = _DTYPES[entry["dtype"]]
        return np.frombuffer(self._data, dtype, math.prod(shape), first).reshape(shape)

    def release(self, name: str) -> None:
        """Gives back the memory of a tensor's pages; a later read maps them again."""
        first, last = (self._start + offset for offset in self.entries[name]["data_offsets"])
        first, last = -(-first // mmap.PAGESIZE) * mmap.PAGESIZE, last // mmap.PAGESIZE * mmap.PAGESIZE
        if last > first:
            self._data.madvise(mmap.MADV_DONTNEED, first, last - first)


def _extent(entry: dict[str, Any]) -> tuple[int, int, int | None]:
    """First and last byte of a header entry, and how many its shape needs (None: unknown type)."""
    first, last = entry["data_offsets"]
    dtype, shape = _DTYPES.get(entry["dtype"]), entry["shape"]
    if not 0 <= first <= last or any(not isinstance(n, int) or n < 0 for n in shape):
        raise ValueError(entry)
    return first, last, math.prod(shape) * dtype.itemsize if dtype else None


class HuggingFaceFolder:
    """The tensors of a folder: ``model.safetensors``, or an index and its shards.

    Raises:
      InputError: no safetensors weights (pickles are refused), a missing shard, a damaged file.
    """

    def __init__(self, folder: Path):
        self.where = str(folder)
        self._file_of: dict[str, SafetensorsFile] = {}
        for path, names in _shards(folder):
            file = SafetensorsFile(path)
            for name in file.entries if names is None else names:
                if name not in file.entries:
                    raise InputError(f"the index places {name!r} here and it is not",
                                     where=str(path), fix="download the folder again")  # fmt: skip
                self._file_of[name] = file

    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Name -> shape of every tensor in every shard."""
        return {n: tuple(f.entries[n]["shape"]) for n, f in self._file_of.items()}

    def size(self, name: str) -> int:
        """Bytes of one tensor in its file."""
        first, last = self._file_of[name].entries[name]["data_offsets"]
        return last - first

    def read(self, name: str) -> np.ndarray:
        """A read-only view of one tensor."""
        return self._file_of[name].read(name)

    def release(self, name: str) -> None:
        """Gives back the memory of a tensor's pages."""
        self._file_of[name].release(name)


def _shards(folder: Path) -> list[tuple[Path, list[str] | None]]:
    """Every weight file, with the names the index expects in it (None: all it has)."""
    single, index = folder / "model.safetensors", folder / "model.safetensors.index.json"
    if single.is_file():
        return [(single, None)]
    if not index.is_file():
        pickles = sorted(p.name for p in (*folder.glob("*.bin"), *folder.glob("*.pt")))
        problem = f"only pickled weights ({', '.join(pickles)})" if pickles else "no weights"
        raise InputError(
            f"there are {problem} here, no model.safetensors", where=str(folder),
            fix="save with save_pretrained(..., safe_serialization=True); pickles can run code",
        )  # fmt: skip
    placed: dict[str, list[str]] = {}
    for name, shard in read_json(index).get("weight_map", {}).items():
        placed.setdefault(shard, []).append(name)
    absent = [shard for shard in placed if not (folder / shard).is_file()]
    if absent or not placed:
        raise InputError(f"{len(absent)} of {len(placed)} shards missing: {', '.join(absent)}",
                         where=str(index), fix="download the missing files")  # fmt: skip
    return [(folder / shard, names) for shard, names in placed.items()]


def read_json(path: Path) -> dict[str, Any]:
    """A JSON file.

    Raises:
      InputError: it is missing or damaged.
    """
    try:
        return json.loads(path.read_text("utf-8"))
    except FileNotFoundError:
        raise InputError("there is no such file", where=str(path)) from None
    except ValueError as error:
        raise InputError(f"not valid JSON ({error})", where=str(path)) from None
