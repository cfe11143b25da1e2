"""From the tensors of a file to the parameter pytree, one parameter at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

import jax
import jax.numpy as jnp
import numpy as np

from encore_jax.checkpoints.finite import check_weights
from encore_jax.errors import InputError
from encore_jax.model.params import Param


@dataclass(frozen=True)
class Extras:
    """What a checkpoint holds besides the backbone.

    Attributes:
      config: the parsed ``config.json``, or the GGUF metadata.
      score: rule-head kernel ``[D, K]`` of a ...ForSequenceClassification checkpoint, fp32.
      lm_head: ``[V, D]`` of a model that does not tie it to the embedding, in the backbone's dtype.
      heads: any other tensors of heads by their names, fp32.
    """

    config: Mapping[str, Any]
    score: jax.Array | None = None
    lm_head: jax.Array | None = None
    heads: Mapping[str, np.ndarray] = field(default_factory=dict)


class TensorSource(Protocol):
    """Named tensors of a checkpoint, read when asked for."""

    where: str
    """What to call the source in an error."""

    def shapes(self) -> Mapping[str, tuple[int, ...]]:
        """Name -> shape of every tensor."""

    def read(self, name: str) -> np.ndarray:
        """One tensor, preferably a view of the mapped file."""

    def release(self, name: str) -> None:
        """Says that a tensor will not be read again soon: its pages of the file need not stay in memory."""


Seen = Callable[[int], None]
"""Told the bytes of every tensor that has been read."""
Progress = Callable[[int, int], None]
"""Told bytes read and bytes to read."""


def counter(progress: Progress | None, total: int) -> Seen:
    """Adds up sizes for a progress callback."""
    done = 0

    def seen(size: int) -> None:
        nonlocal done
        done += size
        if progress:
            progress(done, total)

    return seen


def stored_names(param: Param, template: str) -> list[str]:
    """The tensors one parameter is stored in: one per layer (and expert), or just one.

    >>> from encore_jax.model.config import DecoderConfig
    >>> from encore_jax.model.params import declare
    >>> cfg = DecoderConfig(vocab_size=32, width=8, layers=2, heads=2, kv_heads=1, head_dim=4,
    ...                     mlp_width=16)
    >>> up = declare(cfg)["layers"]["up"]
    >>> stored_names(up, up.gguf)
    ['blk.0.ffn_up.weight', 'blk.1.ffn_up.weight']
    """
    return [name for _, name in param.stored(template)]


def check(source: TensorSource, expected: Mapping[str, tuple[int, ...]], ignored: Iterable[str] = ()) -> None:
    """Compares a source's tensors with what the model needs.

    Args:
      expected: name -> shape in the file.
      ignored: further names that may be present.

    Raises:
      InputError: names every missing, unexpected and wrong-shape tensor (the first 8 of each).
    """
    found = source.shapes()
    missing = [f"{name} {shape}" for name, shape in expected.items() if name not in found]
    unexpected = sorted(found.keys() - expected.keys() - set(ignored))
    wrong = [
        f"{name} is {found[name]}, expected {shape}"
        for name, shape in expected.items()
        if name in found and tuple(found[name]) != tuple(shape)
    ]
    faults = {"missing": missing, "unexpected": unexpected, "wrong shape": wrong}
    listed = [f"{len(v)} {kind}: {_some(v)}" for kind, v in faults.items() if v]
    if listed:
        raise InputError(
            "the tensors do not fit the configuration: " + "; ".join(listed),
            where=source.where,
            fix="check that weights and configuration belong to the same model",
        )


def _some(names: list[str], most: int = 8) -> str:
    more = f", and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more


def assemble(
    source: TensorSource,
    declared: Any,
    name_of: Callable[[Param], str],
    dtype: Any,
    shardings: Any = None,
    seen: Seen = lambda size: None,
) -> Any:
    """Builds the parameters, each tensor of the file read once, at most one shard held twice.

    With shardings, a process looks only at the parts of the file that its own devices hold.

    Args:
      source: already checked.
      declared: a pytree of ``Param``.
      name_of: the name template of a parameter in this source.
      dtype: of the result.
      shardings: a pytree of ``jax.sharding.Sharding`` like ``declared``; None: the default device.
      seen: called after every tensor.

    Raises:
      InputError: a weight is NaN or infinite, or becomes infinite in `dtype`; naming the tensor.
    """

    def load(param: Param, sharding=None) -> jax.Array:
        names, shape = param.stored(name_of(param)), param.shape
        if sharding is None:
            [whole] = _filled(source, param, names, [tuple((0, size) for size in shape)], dtype, seen)
            return jnp.asarray(whole)
        parts = {device: _part(i, shape) for device, i in sharding.addressable_devices_indices_map(shape).items()}
        distinct = list(dict.fromkeys(parts.values()))
        blocks = dict(zip(distinct, _filled(source, param, names, distinct, dtype, seen), strict=True))
        shards = []
        for part in distinct:
            block = blocks.pop(part)
            # Waited for, since a transfer under way keeps its block: else all of them would be held twice at once.
            shards += jax.block_until_ready([jax.device_put(block, d) for d in parts if parts[d] == part])
        return jax.make_array_from_single_device_arrays(shape, sharding, shards)

    def is_param(leaf):
        return isinstance(leaf, Param)

    if shardings is None:
        return jax.tree.map(load, declared, is_leaf=is_param)
    return jax.tree.map(load, declared, shardings, is_leaf=is_param)


Part = tuple[tuple[int, int], ...]
"""First and last (exclusive) place on every axis."""


def _part(index: tuple[slice, ...], shape: tuple[int, ...]) -> Part:
    return tuple(piece.indices(size)[:2] for piece, size in zip(index, shape, strict=True))


def _filled(source, param: Param, names: list[tuple[tuple, str]], parts: list[Part], dtype, seen) -> list[np.ndarray]:
    """These parts of one parameter, filled tensor by tensor and cast while copying."""
    blocks = [np.empty([last - first for first, last in part], dtype) for part in parts]
    for at, name in names:
        targets = []
        for block, part in zip(blocks, parts, strict=True):
            if all(first <= place < last for place, (first, last) in zip(at, part, strict=False)):
                inside = tuple(place - first for place, (first, _) in zip(at, part, strict=False))
                targets.append((block[inside], part[len(at) :]))
        if targets:
            tensor = param.from_file(source.read(name))
            for target, part in targets:
                with np.errstate(over="ignore"):  # what becomes infinite is told below, with the tensor's name
                    target[...] = tensor[tuple(slice(*bounds) for bounds in part)]
                check_weights(target, f"{source.where}, tensor {name!r}")
            seen(tensor.nbytes)
            del tensor
            source.release(name)
    return blocks
