"""Matrices that a family's files store in one, row behind row: taken apart when read, put together when written.

Phi-3 stores queries, keys and values of a layer as ``qkv_proj``, gate and up as ``gate_up_proj``. Here, as for every
other family, each is a parameter of its own, under the names that those have.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple, Protocol

import numpy as np

from encore_jax.checkpoints.assemble import TensorSource
from encore_jax.checkpoints.safetensors_writer import Stored
from encore_jax.errors import InputError
from encore_jax.model.config import DecoderConfig

_PHI = {"self_attn.qkv_proj": ("q_proj", "k_proj", "v_proj"), "mlp.gate_up_proj": ("gate_proj", "up_proj")}
_MODULES = {"phi3": _PHI}
"""By family: the module that is stored, and those that are its rows, in order."""


class Rows(NamedTuple):
    """Where a matrix lies: the stored tensor, and its rows there from `first` to `last` (exclusive)."""

    stored: str
    first: int
    last: int


def _sizes(cfg: DecoderConfig) -> dict[str, int]:
    """Rows of every matrix."""
    heads = {"q_proj": cfg.heads, "k_proj": cfg.kv_heads, "v_proj": cfg.kv_heads}
    return {name: count * cfg.head_dim for name, count in heads.items()} | dict.fromkeys(
        ("gate_proj", "up_proj"), cfg.mlp_width
    )


def _parts(cfg: DecoderConfig, stored: str) -> Iterator[tuple[str, Rows]]:
    """The matrices of a stored tensor; none of one that is not fused."""
    module, _, end = stored.rpartition(".")
    for fused, names in _MODULES.get(cfg.family, {}).items():
        if end == "weight" and module.endswith(f".{fused}"):
            first = 0
            for name in names:
                last = first + _sizes(cfg)[name]
                yield f"{module.removesuffix(fused.rpartition('.')[2])}{name}.weight", Rows(stored, first, last)
                first = last


class SizedSource(TensorSource, Protocol):
    """Tensors whose bytes are known before they are read."""

    def size(self, name: str) -> int:
        """Bytes of one tensor."""


class Apart:
    """The tensors of a source, fused ones apart.

    Args:
      source: as the files have them.
      cfg: the architecture.

    Raises:
      InputError: a fused tensor has other rows than its matrices together, or one of these is stored besides.
    """

    def __init__(self, source: SizedSource, cfg: DecoderConfig):
        self.where, self._source, self._rows = source.where, source, {}
        found = source.shapes()
        for name, shape in found.items():
            parts = dict(_parts(cfg, name))
            for part in parts.keys() & found.keys():
                problem = f"holds {part} twice: by itself, and as rows of {name}"
                raise InputError(problem, where=source.where, fix="remove the one that is not the model's")
            rows = max((part.last for part in parts.values()), default=0)
            if parts and (len(shape) != 2 or shape[0] != rows):
                raise InputError(
                    f"{name} is {shape}, expected {(rows, cfg.width)}",
                    where=source.where,
                    fix="check that weights and configuration belong to the same model",
                )
            self._rows |= parts

    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Name -> shape of every matrix."""
        found, fused = dict(self._source.shapes()), {rows.stored for rows in self._rows.values()}
        apart = {name: (last - first, *found[stored][1:]) for name, (stored, first, last) in self._rows.items()}
        return {name: shape for name, shape in found.items() if name not in fused} | apart

    def size(self, name: str) -> int:
        """Bytes of one."""
        if name not in self._rows:
            return self._source.size(name)
        stored, first, last = self._rows[name]
        return self._source.size(stored) * (last - first) // self._source.shapes()[stored][0]

    def read(self, name: str) -> np.ndarray:
        """One matrix, a view where the source gives views."""
        if name not in self._rows:
            return self._source.read(name)
        stored, first, last = self._rows[name]
        return self._source.read(stored)[first:last]

    def release(self, name: str) -> None:
        """Gives back the memory of its pages."""
        self._source.release(self._rows[name].stored if name in self._rows else name)


def fused_names(cfg: DecoderConfig, prefix: str = "model.") -> dict[str, list[str]]:
    """Each fused tensor of the files of a model, and the names of its matrices here, in order.

    >>> cfg = DecoderConfig(vocab_size=32, width=8, layers=1, heads=2, kv_heads=1, head_dim=4, mlp_width=16,
    ...                     family="phi3")
    >>> fused_names(cfg)["model.layers.0.mlp.gate_up_proj.weight"]
    ['model.layers.0.mlp.gate_proj.weight', 'model.layers.0.mlp.up_proj.weight']
    """
    modules = _MODULES.get(cfg.family, {})
    stored = [f"{prefix}layers.{layer}.{module}.weight" for layer in range(cfg.layers) for module in modules]
    return {name: [part for part, _ in _parts(cfg, name)] for name in stored}


def fuse(tensors: Sequence[Stored], cfg: DecoderConfig) -> list[Stored]:
    """What the files of this family store of these tensors."""
    by_name, found = {tensor.name: tensor for tensor in tensors}, []
    for name, parts in fused_names(cfg).items():
        together = [by_name.pop(part) for part in parts if part in by_name]
        if together:
            shape = (sum(part.shape[0] for part in together), *together[0].shape[1:])
            found.append(Stored(name, shape, together[0].dtype, lambda parts=together: _in_turn(parts)))
    return [*by_name.values(), *found]


def _in_turn(parts: Iterable[Stored]) -> Iterator[np.ndarray]:
    for part in parts:
        yield from part.blocks()


def fuse_updates(
    tensors: Sequence[Stored], cfg: DecoderConfig, rank: int, prefix: str
) -> tuple[list[Stored], dict[str, int]]:
    """Low-rank updates as PEFT has them of the modules of this family.

    The update of a fused module is that of its g adapted matrices together: their A one below the other, so its rank is
    g R, and their B side by side, each in the rows of its matrix. PEFT divides alpha by the rank, so B is g times as
    large.

    Args:
      tensors: A and B of every adapted matrix.
      cfg: the architecture.
      rank: R.
      prefix: of the names of an adapter's tensors.

    Returns:
      The tensors, and the ranks of modules that have another one than R.
    """
    by_name, ranks, sizes, found = {tensor.name: tensor for tensor in tensors}, {}, _sizes(cfg), []
    for stored, parts in fused_names(cfg).items():
        stems = [f"{prefix}{part.removesuffix('.weight')}.lora_" for part in parts]
        adapted = [stem for stem in stems if f"{stem}A.weight" in by_name]
        if not adapted:
            continue
        module, count = f"{prefix}{stored.removesuffix('.weight')}", len(adapted)
        a = np.concatenate([_array(by_name.pop(f"{stem}A.weight")) for stem in adapted])
        b = np.zeros((sum(sizes[part.split(".")[-2]] for part in parts), count * rank), a.dtype)
        first = 0
        for stem, part in zip(stems, parts, strict=True):
            last = first + sizes[part.split(".")[-2]]
            if stem in adapted:
                at = adapted.index(stem) * rank
                b[first:last, at : at + rank] = count * _array(by_name.pop(f"{stem}B.weight"))
            first = last
        found += [_whole(f"{module}.lora_A.weight", a), _whole(f"{module}.lora_B.weight", b)]
        if count > 1:
            ranks[module.rpartition(".")[2]] = count * rank
    return [*by_name.values(), *found], ranks


def fused_modules(modules: Iterable[str], cfg: DecoderConfig) -> list[str]:
    """The names of modules as the family's files have them, each once.

    >>> cfg = DecoderConfig(vocab_size=32, width=8, layers=1, heads=2, kv_heads=1, head_dim=4, mlp_width=16,
    ...                     family="phi3")
    >>> fused_modules(["q_proj", "v_proj", "o_proj"], cfg)
    ['qkv_proj', 'o_proj']
    """
    fused_of: Mapping[str, str] = {
        name: fused.rpartition(".")[2] for fused, names in _MODULES.get(cfg.family, {}).items() for name in names
    }
    return list(dict.fromkeys(fused_of.get(name, name) for name in modules))


def _array(tensor: Stored) -> np.ndarray:
    return np.concatenate(list(tensor.blocks())).reshape(tensor.shape)


def _whole(name: str, array: np.ndarray) -> Stored:
    return Stored(name, array.shape, array.dtype, lambda: [array])
