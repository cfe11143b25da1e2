"""Low-rank updates (LoRA): ``W x + s B (A x)`` with small A and B beside a frozen W. Source: Hu et al. 2021, section 4.

Shape letters: L layers, D width, N query heads, K key-value heads, H head dimension, F MLP width, R rank.
"""

from __future__ import annotations

import dataclasses
import math

import jax
import jax.numpy as jnp

from encore_jax.errors import InputError
from encore_jax.model.config import DecoderConfig
from encore_jax.model.params import Param, declare

INPUT_AXES = {"q": 1, "k": 1, "v": 1, "o": 2, "gate": 1, "up": 1, "down": 1}
"""Adaptable matrices of a layer, and how many of their leading axes are contracted."""


@dataclasses.dataclass(frozen=True)
class Lora:
    """Which matrices are adapted, and how.

    Attributes:
      rank: R of every update.
      scale: s, the factor of every update (alpha / rank elsewhere).
      targets: names from `INPUT_AXES`.

    Raises:
      InputError: a rank below 1, or an unknown target.
    """

    rank: int
    scale: float = 2.0
    targets: tuple[str, ...] = tuple(INPUT_AXES)

    def __post_init__(self):
        unknown = [name for name in self.targets if name not in INPUT_AXES]
        if unknown or not self.targets:
            raise InputError(f"targets {list(self.targets)}", where="LoRA", fix=f"use some of {list(INPUT_AXES)}")
        if self.rank < 1:
            raise InputError(f"rank {self.rank} is below 1", where="LoRA", fix="use a rank such as 16")


def declare_lora(cfg: DecoderConfig, lora: Lora) -> dict[str, Param]:
    """The parameters of the updates, to be merged into those of the layers; names as in PEFT's files.

    Raises:
      InputError: a target is a matrix of experts.

    >>> cfg = DecoderConfig(vocab_size=32, width=8, layers=2, heads=2, kv_heads=1, head_dim=4, mlp_width=16)
    >>> declared = declare_lora(cfg, Lora(rank=3, targets=("o",)))
    >>> {name: (p.shape, p.axes, p.file_shape) for name, p in declared.items()}["o_lora_a"]
    ((2, 2, 4, 3), ('layers', 'heads', 'head_dim', 'lora'), (3, 8))
    """
    layers, declared = declare(cfg)["layers"], {}
    experts = [name for name in lora.targets if "experts" in layers[name].axes]
    if experts:
        raise InputError(
            f"{', '.join(experts)} are the matrices of {cfg.experts} experts, which have no low-rank updates here",
            where="LoRA",
            fix="adapt attention alone: targets q, k, v, o",
        )
    for name in lora.targets:
        whole = layers[name].of_one_layer
        count = INPUT_AXES[name]
        inside, outside = whole.shape[:count], whole.shape[count:]
        # A like a freshly drawn linear layer, B zero: training starts at the model as it is.
        start = jax.nn.initializers.normal(1 / math.sqrt(math.prod(inside)))
        template = layers[name].hf.replace("model.", "base_model.model.model.", 1).removesuffix(".weight")
        for part, shape, axes, init, order, file_shape in (
            ("a", (*inside, lora.rank), (*whole.axes[:count], "lora"), start, (count, *range(count)),
             (lora.rank, math.prod(inside))),
            ("b", (lora.rank, *outside), ("lora", *whole.axes[count:]), jax.nn.initializers.zeros,
             (*range(1, len(outside) + 1), 0), (math.prod(outside), lora.rank)),
        ):  # fmt: skip
            declared[f"{name}_lora_{part}"] = Param(
                (cfg.layers, *shape), ("layers", *axes), init, f"{template}.lora_{part.upper()}.weight", "", order,
                file_shape,
            )  # fmt: skip
    return declared


def init_lora(cfg: DecoderConfig, lora: Lora, key: jax.Array) -> dict[str, jax.Array]:
    """Freshly drawn fp32 updates; their effect is zero."""
    declared = declare_lora(cfg, lora)
    keys = jax.random.split(key, len(declared))
    return {name: p.init(k, p.shape, jnp.float32) for (name, p), k in zip(sorted(declared.items()), keys, strict=True)}


def merged(layers: dict[str, jax.Array], updates: dict[str, jax.Array], scale: float) -> dict[str, jax.Array]:
    """The layers' parameters with the updates added into their matrices, as they are exported.

    Args:
      layers: stacked parameters ``[L, ...]``.
      updates: from `init_lora`, trained.
      scale: `Lora.scale`.
    """
    result = dict(layers)
    for name in {key.removesuffix("_lora_a") for key in updates if key.endswith("_lora_a")}:
        a, b = updates[f"{name}_lora_a"], updates[f"{name}_lora_b"]
        change = jax.vmap(lambda a, b: jnp.tensordot(a, b, 1, precision=jax.lax.Precision.HIGHEST))(a, b)
        result[name] = (layers[name].astype(jnp.float32) + scale * change).astype(layers[name].dtype)
    return result
