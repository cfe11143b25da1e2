"""One declaration per parameter, from which initialisation, sharding and loading follow.

Shape letters: V vocabulary, D width, L layers, N query heads, K key-value heads, H head
dimension, F MLP width, E experts.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import PartitionSpec

from encore_jax.model.config import DecoderConfig

Initializer = Callable[..., jax.Array]


@dataclass(frozen=True)
class Param:
    """One parameter: what it looks like here and in the files of others.

    Attributes:
      shape: as the model uses it; a parameter of the layers is stacked, with L in front, and one of their experts
        with L and E.
      axes: a logical name for every axis, which sharding rules map to mesh axes.
      init: a jax initialiser ``(key, shape, dtype) -> array``.
      hf: tensor name in a Hugging Face checkpoint; the first ``{}`` stands for the layer, the second for the expert.
      gguf: the same in a GGUF file, where a layer's experts are stacked.
      file_order: our axes (of one layer, one expert) in the order in which files store them.
      file_shape: the shape files store of these, adjacent axes of ``file_order`` merged.
    """

    shape: tuple[int, ...]
    axes: tuple[str, ...]
    init: Initializer
    hf: str
    gguf: str
    file_order: tuple[int, ...]
    file_shape: tuple[int, ...]

    @property
    def stacked(self) -> bool:
        """Whether the first axis counts layers."""
        return self.axes[0] == "layers"

    @property
    def of_one_layer(self) -> Param:
        """The same without the leading layers axis."""
        return replace(self, shape=self.shape[1:], axes=self.axes[1:]) if self.stacked else self

    def stored(self, template: str) -> list[tuple[tuple[int, ...], str]]:
        """The tensors that a file with such names has of it: their places on our first axes, and their names.

        >>> cfg = DecoderConfig(vocab_size=32, width=8, layers=2, heads=2, kv_heads=1, head_dim=4, mlp_width=16,
        ...                     experts=3, experts_per_token=2)
        >>> up = declare(cfg)["layers"]["up"]
        >>> up.stored(up.hf)[4]
        ((1, 1), 'model.layers.1.mlp.experts.1.up_proj.weight')
        >>> up.stored(up.gguf)[1], up.stored_shape(up.gguf)
        (((1,), 'blk.1.ffn_up_exps.weight'), (3, 16, 8))
        """
        return [(at, template.format(*at)) for at in np.ndindex(*self.shape[: template.count("{}")])]

    def stored_shape(self, template: str) -> tuple[int, ...]:
        """The shape of each of these tensors."""
        return (*self.shape[template.count("{}") : len(self.shape) - len(self.file_order)], *self.file_shape)

    def from_file(self, tensor: np.ndarray) -> np.ndarray:
        """A view of one stored tensor, in our order of axes; those before ``file_order`` stay in front."""
        before = tensor.ndim - len(self.file_shape)
        shape = self.shape[len(self.shape) - len(self.file_order) :]
        split = tensor.reshape([*tensor.shape[:before], *(shape[axis] for axis in self.file_order)])
        return split.transpose([*range(before), *(before + np.argsort(self.file_order))])

    def to_file(self, array: np.ndarray) -> np.ndarray:
        """The inverse of ``from_file``."""
        return array.transpose(self.file_order).reshape(self.file_shape)


def declare(cfg: DecoderConfig) -> dict[str, Any]:
    """Every parameter of the backbone, as a nested dict of ``Param``.

    >>> cfg = DecoderConfig(vocab_size=32, width=8, layers=2, heads=2, kv_heads=1, head_dim=4,
    ...                     mlp_width=16)
    >>> q = declare(cfg)["layers"]["q"]
    >>> q.shape, q.axes, q.hf.format(1)
    ((2, 8, 2, 4), ('layers', 'embed', 'heads', 'head_dim'), 'model.layers.1.self_attn.q_proj.weight')
    """
    d, n, k, h = cfg.width, cfg.heads, cfg.kv_heads, cfg.head_dim
    kernel = jax.nn.initializers.normal(cfg.init_std)
    ones, zeros = jax.nn.initializers.ones, jax.nn.initializers.zeros
    unit = zeros if cfg.norm_offset else ones

    def layer(hf, gguf, shape, axes, init, file_order=None, experts=0):
        stack = {"layers": cfg.layers} | ({"experts": experts} if experts else {})
        return _declared(f"model.layers.{{}}.{hf}", f"blk.{{}}.{gguf}", shape, axes, init, file_order, stack)

    layers = {
        "attn_norm": layer("input_layernorm.weight", "attn_norm.weight", (d,), ("norm",), unit),
        "q": layer("self_attn.q_proj.weight", "attn_q.weight", (d, n, h),
                   ("embed", "heads", "head_dim"), kernel, (1, 2, 0)),
        "k": layer("self_attn.k_proj.weight", "attn_k.weight", (d, k, h),
                   ("embed", "kv_heads", "head_dim"), kernel, (1, 2, 0)),
        "v": layer("self_attn.v_proj.weight", "attn_v.weight", (d, k, h),
                   ("embed", "kv_heads", "head_dim"), kernel, (1, 2, 0)),
        "o": layer("self_attn.o_proj.weight", "attn_output.weight", (n, h, d),
                   ("heads", "head_dim", "embed"), kernel, (2, 0, 1)),
        "mlp_norm": layer("pre_feedforward_layernorm.weight" if cfg.post_norms else "post_attention_layernorm.weight",
                          "ffn_norm.weight", (d,), ("norm",), unit),
        **_declare_mlp(cfg, layer),
    }  # fmt: skip
    if cfg.post_norms:
        for name, hf, gguf in (
            ("attn_post_norm", "post_attention_layernorm", "post_attention_norm"),
            ("mlp_post_norm", "post_feedforward_layernorm", "post_ffw_norm"),
        ):
            layers[name] = layer(f"{hf}.weight", f"{gguf}.weight", (d,), ("norm",), unit)
    if cfg.qkv_bias:
        for name, count, axis in (("q", n, "heads"), ("k", k, "kv_heads"), ("v", k, "kv_heads")):
            layers[f"{name}_bias"] = layer(
                f"self_attn.{name}_proj.bias", f"attn_{name}.bias", (count, h),
                (axis, "head_dim"), zeros,
            )  # fmt: skip
    if cfg.qk_norm:
        for name, count in (("q", n), ("k", k)):
            shape, axes = ((count, h), ("norm", "head_dim")) if cfg.qk_norm_whole else ((h,), ("norm",))
            layers[f"{name}_norm"] = layer(
                f"self_attn.{name}_norm.weight", f"attn_{name}_norm.weight", shape, axes, unit
            )
    vocab = (cfg.vocab_size, d), ("vocab", "embed"), kernel
    return {
        "embed": _declared("model.embed_tokens.weight", "token_embd.weight", *vocab),
        "layers": layers,
        "final_norm": _declared("model.norm.weight", "output_norm.weight", (d,), ("norm",), unit),
    }


def _declare_mlp(cfg: DecoderConfig, layer) -> dict[str, Param]:
    """The MLP of a layer; or its experts, one behind the other, and the router that picks some."""
    d, f, e = cfg.width, cfg.mlp_width, cfg.experts
    kernel = jax.nn.initializers.normal(cfg.init_std)
    shapes = {"gate": ((d, f), ("embed", "mlp")), "up": ((d, f), ("embed", "mlp")), "down": ((f, d), ("mlp", "embed"))}
    if not e:
        return {
            name: layer(f"mlp.{name}_proj.weight", f"ffn_{name}.weight", shape, axes, kernel, (1, 0))
            for name, (shape, axes) in shapes.items()
        }
    router = layer("mlp.gate.weight", "ffn_gate_inp.weight", (d, e), ("embed", "router"), kernel, (1, 0))
    return {"router": router} | {
        name: layer(f"mlp.experts.{{}}.{name}_proj.weight", f"ffn_{name}_exps.weight", shape, axes, kernel, (1, 0), e)
        for name, (shape, axes) in shapes.items()
    }


def declare_lm_head(cfg: DecoderConfig) -> Param:
    """The LM head of a model that does not tie it to the embedding, stored like the embedding."""
    kernel = jax.nn.initializers.normal(cfg.init_std)
    shape, axes = (cfg.vocab_size, cfg.width), ("vocab", "embed")
    return _declared("lm_head.weight", "output.weight", shape, axes, kernel)


def _declared(hf, gguf, shape, axes, init, file_order=None, stack=None) -> Param:
    """A Param whose file shape merges the head axes; ``file_order`` defaults to our order."""
    order = tuple(range(len(shape))) if file_order is None else file_order
    file_shape: list[int] = []
    for axis in order:
        if axes[axis] == "head_dim":  # files store heads x head_dim as one axis
            file_shape[-1] *= shape[axis]
        else:
            file_shape.append(shape[axis])
    stack = stack or {}
    shape, axes = (*stack.values(), *shape), (*stack, *axes)
    return Param(shape, axes, init, hf, gguf, order, tuple(file_shape))


def _is_param(leaf) -> bool:
    return isinstance(leaf, Param)


def _map(function, cfg: DecoderConfig):
    return jax.tree.map(function, declare(cfg), is_leaf=_is_param)


def init(cfg: DecoderConfig, key: jax.Array, dtype=jnp.float32) -> dict[str, Any]:
    """Freshly drawn parameters, shaped as ``declare`` says.

    >>> cfg = DecoderConfig(vocab_size=32, width=8, layers=2, heads=2, kv_heads=1, head_dim=4,
    ...                     mlp_width=16)
    >>> init(cfg, jax.random.key(0))["layers"]["gate"].shape
    (2, 8, 16)
    """
    leaves, tree = jax.tree.flatten(declare(cfg), is_leaf=_is_param)
    keys = jax.random.split(key, len(leaves))
    drawn = [p.init(k, p.shape, dtype) for p, k in zip(leaves, keys, strict=True)]
    return jax.tree.unflatten(tree, drawn)


def abstract(cfg: DecoderConfig, dtype=jnp.float32) -> dict[str, Any]:
    """``jax.ShapeDtypeStruct`` for every parameter: for compiling and restoring without weights."""
    return _map(lambda p: jax.ShapeDtypeStruct(p.shape, dtype), cfg)


def logical_axes(cfg: DecoderConfig) -> dict[str, Any]:
    """A ``PartitionSpec`` of logical axis names for every parameter."""
    return _map(lambda p: PartitionSpec(*p.axes), cfg)


def count(cfg: DecoderConfig) -> int:
    """Number of parameters of the backbone, the LM head not counted."""
    return sum(math.prod(p.shape) for p in jax.tree.leaves(declare(cfg), is_leaf=_is_param))
