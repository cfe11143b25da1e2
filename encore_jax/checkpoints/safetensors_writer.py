"""Writing safetensors files tensor by tensor: no more than one block of one tensor is ever held besides its source."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import ml_dtypes
import numpy as np

from encore_jax.checkpoints.assemble import Progress, counter
from encore_jax.errors import InputError
from encore_jax.model.params import Param

NAMES = {np.dtype(np.float32): "F32", np.dtype(np.float16): "F16", np.dtype(ml_dtypes.bfloat16): "BF16"}
"""Types that are written, and what safetensors calls them."""
SHARD_BYTES, BLOCK_BYTES = 5 * 10**9, 64 * 2**20
"""Default size of a file; rows of a large matrix are read from its devices in blocks of this size."""


class Stored(NamedTuple):
    """One tensor of a file.

    Attributes:
      name, shape, dtype: as stored.
      blocks: its consecutive rows, made when they are written.
    """

    name: str
    shape: tuple[int, ...]
    dtype: np.dtype
    blocks: Callable[[], Iterable[np.ndarray]]

    @property
    def size(self) -> int:
        """Bytes."""
        return math.prod(self.shape) * self.dtype.itemsize


@dataclasses.dataclass(frozen=True, eq=False)
class Updated:
    """Stacked matrices with low-rank updates that are added, ``W + s A B`` in fp32, only while they are written.

    Attributes:
      base: ``[L, ...]``.
      a, b: of its update, see `encore_jax.model.lora`.
      scale: s.
    """

    base: Any
    a: Any
    b: Any
    scale: float


def updated(layers: Mapping[str, Any], updates: Mapping[str, Any], scale: float) -> dict[str, Any]:
    """The layers' parameters as `encore_jax.model.lora.merged` would have them, but merged one by one, when written."""
    names = {key.removesuffix("_lora_a") for key in updates if key.endswith("_lora_a")}
    return dict(layers) | {
        name: Updated(layers[name], updates[f"{name}_lora_a"], updates[f"{name}_lora_b"], scale) for name in names
    }


def whole(name: str, array: np.ndarray) -> Stored:
    """A small tensor that is at hand.

    >>> whole("score.weight", np.ones((1, 8), np.float32)).size
    32
    """
    return Stored(name, array.shape, array.dtype, lambda: [array])


def stored_params(declared: Any, arrays: Any, dtype: Any, name_of: Callable[[Param], str] = lambda p: p.hf) -> list:
    """What a pytree of parameters is stored as, read from their devices only while it is written.

    Args:
      declared: a pytree of ``Param``.
      arrays: arrays like it, or `Updated` ones.
      dtype: to store.
      name_of: the name template of a parameter.

    Raises:
      InputError: an array lies partly on devices of another process.
    """
    dtype, found = jnp.dtype(dtype), []
    params = jax.tree.leaves(declared, is_leaf=lambda leaf: isinstance(leaf, Param))
    for param, array in zip(params, jax.tree.leaves(arrays), strict=True):
        places = param.stored(name_of(param))
        if isinstance(array, jax.Array) and not array.is_fully_addressable:
            raise InputError("lies partly on other hosts", where=f"tensor {places[0][1]!r}", fix="export on one host")
        for at, name in places:
            found.append(Stored(name, param.file_shape, dtype, partial(_blocks, param, array, at, dtype)))
    return found


def _blocks(param: Param, array, at: tuple[int, ...], dtype: np.dtype) -> Iterator[np.ndarray]:
    if at:
        yield param.to_file(_at(array, at)).astype(dtype, copy=False)
        return
    # What is not of a layer is stored in our order, so blocks of our rows are blocks of the file's.
    rows = max(1, BLOCK_BYTES // (array.nbytes // array.shape[0]))
    for start in range(0, array.shape[0], rows):
        yield _rows(array, start, min(start + rows, array.shape[0])).astype(dtype, copy=False)


def _at(array, at: tuple[int, ...]) -> np.ndarray:
    """What lies at a place on the first axes: a layer's matrix, or one of its experts'."""
    if len(at) > 1 and isinstance(array, jax.Array):
        return _block(array, at, tuple(place + 1 for place in at))[(0,) * len(at)]
    return _rows(array, at[0], at[0] + 1)[(0, *at[1:])]


def _rows(array, start: int, stop: int) -> np.ndarray:
    """Rows of an array as they are on the host; only they are fetched, each from one device that holds it."""
    if isinstance(array, Updated):
        base, a, b = (_rows(part, start, stop).astype(np.float32) for part in (array.base, array.a, array.b))
        return np.stack([w + np.float32(array.scale) * np.tensordot(*ab, 1) for w, *ab in zip(base, a, b, strict=True)])
    if not isinstance(array, jax.Array):
        return np.asarray(array[start:stop])
    return _block(array, (start,), (stop,))


def _block(array: jax.Array, start: tuple[int, ...], stop: tuple[int, ...]) -> np.ndarray:
    """From `start` to `stop` (exclusive) on the first axes, whole on the others."""
    axes, sizes = len(start), [last - first for first, last in zip(start, stop, strict=True)]
    rows = np.empty((*sizes, *array.shape[axes:]), array.dtype)
    for shard in array.addressable_shards:
        bounds = [piece.indices(size)[:2] for piece, size in zip(shard.index, array.shape, strict=True)][:axes]
        low = [max(a, first) for a, (first, _) in zip(start, bounds, strict=True)]
        high = [min(b, last) for b, (_, last) in zip(stop, bounds, strict=True)]
        if shard.replica_id == 0 and all(a < b for a, b in zip(low, high, strict=True)):
            piece = shard.data
            for axis, (a, b, (first, _)) in enumerate(zip(low, high, bounds, strict=True)):
                piece = jax.lax.dynamic_slice_in_dim(piece, a - first, b - a, axis)
            inside = tuple(slice(a - s, b - s) for a, b, s in zip(low, high, start, strict=True))
            rows[(*inside, *shard.index[axes:])] = piece
    return rows


def write_tensors(
    folder: Path, tensors: Sequence[Stored], shard_bytes: int = SHARD_BYTES, progress: Progress | None = None
) -> None:
    """Writes ``model.safetensors``, or several files and their index where one would exceed `shard_bytes`.

    Args:
      folder: exists.
      tensors: in the order of the files.
      shard_bytes: a file is closed before the tensor that would make it larger.
      progress: called with bytes written and bytes to write.
    """
    shards: list[list[Stored]] = [[]]
    for tensor in tensors:
        if shards[-1] and sum(t.size for t in shards[-1]) + tensor.size > shard_bytes:
            shards.append([])
        shards[-1].append(tensor)
    total = sum(tensor.size for tensor in tensors)
    seen = counter(progress, total)
    if len(shards) == 1:
        return write_file(folder / "model.safetensors", tensors, seen)
    placed = {}
    for i, shard in enumerate(shards, start=1):
        file = f"model-{i:05d}-of-{len(shards):05d}.safetensors"
        write_file(folder / file, shard, seen)
        placed |= {tensor.name: file for tensor in shard}
    index = {"metadata": {"total_size": total}, "weight_map": placed}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index, indent=1))


def write_file(
    path: Path,
    tensors: Sequence[Stored],
    seen: Callable[[int], None] = lambda size: None,
    metadata: Mapping[str, str] | None = None,
) -> None:
    """One safetensors file; `seen` is told the bytes of every block that was written."""
    header: dict[str, Any] = {"__metadata__": {"format": "pt", **(metadata or {})}}
    end = 0
    for tensor in tensors:
        start, end = end, end + tensor.size
        kind = NAMES[tensor.dtype]
        header[tensor.name] = {"dtype": kind, "shape": list(tensor.shape), "data_offsets": [start, end]}
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)  # so that the data are aligned
    with path.open("wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        for tensor in tensors:
            for block in tensor.blocks():
                raw = np.ravel(block).view(np.uint8)
                file.write(raw.data)
                seen(raw.nbytes)
