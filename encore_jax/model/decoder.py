"""The decoder backbone: packed prefix trees in, one hidden state per token out.

Shape letters: B batch, S sequence, D width, V vocabulary; see params.py for those of the weights.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from encore_jax.errors import InputError
from encore_jax.model.attention import attend
from encore_jax.model.config import DecoderConfig
from encore_jax.model.dense import product, project
from encore_jax.model.experts import apply_experts, load, route
from encore_jax.model.lora import INPUT_AXES, Lora, declare_lora
from encore_jax.model.norm import rms_norm
from encore_jax.model.params import Param, declare
from encore_jax.model.remat import REMAT, bits, from_bits
from encore_jax.model.rope import of_layer, rotate, rotations

ROUTING, LOADS = "routing", "loads"
"""Collection and name under which a mixture of experts says how its tokens spread."""


class Backbone(nn.Module):
    """Embedding, L decoder layers under one ``nn.scan``, final norm.

    Attributes:
      cfg: the architecture.
      dtype: compute type; products accumulate in fp32, norms, rotations and softmax are fp32.
      param_dtype: type in which ``init`` draws the parameters.
      remat: a key of ``REMAT``.
      attention: one of ``attention.IMPLEMENTATIONS``.
      unroll: layers per step of the scan.
      lora: low-rank updates beside the matrices, if any; their parameters lie among the layers'.
    """

    cfg: DecoderConfig
    dtype: Any = jnp.float32
    param_dtype: Any = jnp.float32
    remat: str = "none"
    attention: str = "auto"
    unroll: int = 1
    lora: Lora | None = None

    @nn.compact
    def __call__(
        self,
        tokens: Int[Array, "B S"],
        tree: Int[Array, "B S"],
        branch: Int[Array, "B S"],
        position: Int[Array, "B S"],
    ) -> Float[Array, "B S D"]:
        """Hidden states after the final norm, in the compute type.

        With ``mutable=[ROUTING]`` a mixture of experts says in ``variables[ROUTING][LOADS]`` how every layer's tokens
        spread (`experts.Load`, stacked).

        Args:
          tokens: token ids.
          tree: which tree each token belongs to, 0 for padding.
          branch: which branch of it, 0 for the prefix.
          position: distance from the tree's root along the path.

        Raises:
          InputError: unknown ``remat`` or ``attention`` name.
        """
        cfg, declared = self.cfg, declare(self.cfg)
        embed_VD = _param(self, "embed", declared["embed"], self.param_dtype)
        scale_D = _param(self, "final_norm", declared["final_norm"], self.param_dtype)

        # Looked up where the table's columns lie, then moved to where the rows do: else XLA would gather everything.
        tokens = nn.with_logical_constraint(tokens, ("lookup_batch", "seq"))
        x_BSD = embedded(cfg, {"embed": embed_VD}, tokens, self.dtype)
        x_BSD = nn.with_logical_constraint(x_BSD, ("lookup_batch", "seq", "embed"))
        x_BSD = nn.with_logical_constraint(x_BSD, ("batch", "seq", "act_embed"))
        rows = (tree, branch, position, *rotations(position, cfg))
        windows = jnp.asarray(cfg.windows, jnp.int32) if cfg.windows else None
        layers = nn.scan(
            _rematerialised(Layer, self.remat),
            variable_axes={"params": 0},
            split_rngs={"params": True},
            in_axes=(nn.broadcast, 0),
            length=cfg.layers,
            unroll=self.unroll,
            metadata_params={nn.PARTITION_NAME: "layers"},
        )(cfg, self.param_dtype, self.attention, self.lora, name="layers")
        (x_BSD, _), loads = layers((x_BSD, self._stored(x_BSD)), rows, windows)
        if loads is not None and not self.is_initializing():
            self.sow(ROUTING, LOADS, loads, reduce_fn=lambda _, new: new, init_fn=lambda: None)
        return rms_norm(x_BSD, scale_D, cfg.norm_eps, cfg.norm_offset)

    def _stored(self, x_BSD):
        """What a layer's backward pass starts from, as CPUs store it; nothing where everything is kept anyway."""
        return None if self.remat == "none" else bits(x_BSD)


class Layer(nn.Module):
    """One decoder layer: holds its parameters and applies ``decoder_layer``."""

    cfg: DecoderConfig
    param_dtype: Any
    attention: str
    lora: Lora | None

    @nn.compact
    def __call__(self, carry, rows, window):
        x_BSD, stored = carry  # the stream and, where they are what is kept of it, its bits
        x_BSD = x_BSD if stored is None else from_bits(x_BSD, stored)
        declared = declare(self.cfg)["layers"] | (declare_lora(self.cfg, self.lora) if self.lora else {})
        params = {name: _param(self, name, p.of_one_layer, self.param_dtype) for name, p in declared.items()}
        scale = self.lora.scale if self.lora else 0.0
        x_BSD, loads = layer_and_load(self.cfg, params, x_BSD, rows, window, self.attention, scale)
        return (x_BSD, None if stored is None else bits(x_BSD)), loads


def decoder_layer(cfg, params, x_BSD, rows, window=None, attention="xla", lora_scale=0.0):
    """The residual stream after one layer; see `layer_and_load`."""
    return layer_and_load(cfg, params, x_BSD, rows, window, attention, lora_scale)[0]


def layer_and_load(cfg, params, x_BSD, rows, window=None, attention="xla", lora_scale=0.0):
    """Pre-norm attention and pre-norm gated MLP, each (normed again in some models) added to the residual stream.

    Args:
      params: the parameters of one layer, named as in ``declare(cfg)["layers"]``.
      x_BSD: residual stream, in the compute type.
      rows: ``(tree, branch, position, *rope.rotations(position, cfg))`` of the batch.
      window: this layer's sliding window, if any.
      attention: implementation name.
      lora_scale: factor of low-rank updates that are among the parameters.

    Returns:
      The stream, and the `experts.Load` of a layer of experts (else None).
    """
    tree, branch, position, *turns = rows
    cos, sin = of_layer(tuple(turns), window)
    apply = partial(apply_matrix, params, lora_scale)
    y_BSD = layer_norm(cfg, params, "attn_norm", x_BSD)
    q_BSNH, k_BSKH, v_BSKH = rotated_heads(cfg, params, apply, y_BSD, cos, sin)
    rows = (tree, branch, position, window)
    out_BSNH = attend(q_BSNH, k_BSKH, v_BSKH, *rows, cap=cfg.attention_cap, implementation=attention)
    x_BSD, routing = _after_attention(cfg, params, apply, x_BSD, out_BSNH)
    return x_BSD, None if routing is None else load(routing, tree)


def after_attention(cfg, params, apply, x_BSD, out_BSNH):
    """The rest of a layer: attention's output into the residual stream, then the MLP."""
    return _after_attention(cfg, params, apply, x_BSD, out_BSNH)[0]


def _after_attention(cfg, params, apply, x_BSD, out_BSNH):
    norm = partial(layer_norm, cfg, params)
    out_BSNH = nn.with_logical_constraint(out_BSNH, ("batch", "seq", "act_heads", None))
    out_BSD = apply("o", out_BSNH)
    x_BSD = _added(cfg, x_BSD, norm("attn_post_norm", out_BSD) if cfg.post_norms else out_BSD)
    x_BSD = nn.with_logical_constraint(x_BSD, ("batch", "seq", "act_embed"))
    y_BSD, routing = norm("mlp_norm", x_BSD), None
    if cfg.experts:
        routing = route(cfg, params["router"], y_BSD)
        out_BSD = apply_experts(cfg, params, y_BSD, routing)
    else:
        out_BSD = _mlp(cfg, apply, y_BSD)
    x_BSD = _added(cfg, x_BSD, norm("mlp_post_norm", out_BSD) if cfg.post_norms else out_BSD)
    return nn.with_logical_constraint(x_BSD, ("batch", "seq", "act_embed")), routing


def _added(cfg, x, out):
    """The residual stream with what a part of the layer puts out, on the model's scale."""
    return x + (out if cfg.residual_scale == 1 else out * jnp.asarray(cfg.residual_scale, out.dtype))


def layer_norm(cfg, params, name, x):
    """A norm of the parameters by its name."""
    return rms_norm(x, params[name], cfg.norm_eps, cfg.norm_offset)


def embedded(cfg, params, tokens, dtype):
    """Rows of the embedding, on the model's scale."""
    x = jnp.take(params["embed"], tokens, axis=0).astype(dtype)
    return x if cfg.embed_scale == 1 else x * jnp.asarray(cfg.embed_scale, dtype)


def apply_matrix(params, lora_scale, name, x):
    """One matrix of the layer, with its low-rank update if it has one."""
    axes = INPUT_AXES[name]
    out = project(x, params[name], axes)
    if f"{name}_lora_a" in params:
        low = project(project(x, params[f"{name}_lora_a"], axes), params[f"{name}_lora_b"])
        out = out + jnp.asarray(lora_scale, out.dtype) * low
    return out


def rotated_heads(cfg, params, apply, y_BSD, cos, sin):
    """Queries [B, S, N, H], keys and values [B, S, K, H] of the normed residual stream; queries and keys rotated."""
    q_BSNH, k_BSKH, v_BSKH = (_heads(params, apply, name, y_BSD) for name in "qkv")
    if cfg.qk_norm:
        q_BSNH, k_BSKH = _norm_of_heads(cfg, params, "q_norm", q_BSNH), _norm_of_heads(cfg, params, "k_norm", k_BSKH)
    q_BSNH, k_BSKH = rotate(q_BSNH, cos, sin), rotate(k_BSKH, cos, sin)
    if cfg.query_scale not in (0, cfg.head_dim):  # attention itself divides by the square root of H
        q_BSNH = q_BSNH * jnp.asarray((cfg.head_dim / cfg.query_scale) ** 0.5, q_BSNH.dtype)
    return q_BSNH, k_BSKH, v_BSKH


def _norm_of_heads(cfg, params, name, x_BSNH):
    """Each head normed, or all heads of a token as one vector."""
    if not cfg.qk_norm_whole:
        return layer_norm(cfg, params, name, x_BSNH)
    flat = x_BSNH.reshape(*x_BSNH.shape[:2], -1)
    return rms_norm(flat, params[name].reshape(-1), cfg.norm_eps, cfg.norm_offset).reshape(x_BSNH.shape)


def _heads(params, apply, name, y_BSD):
    out = apply(name, y_BSD)
    if f"{name}_bias" in params:
        out = out + params[f"{name}_bias"].astype(out.dtype)[None, None]
    axis = "act_heads" if name == "q" else "act_kv_heads"
    return nn.with_logical_constraint(out, ("batch", "seq", axis, None))


def _mlp(cfg, apply, y_BSD):
    gate_BSF, up_BSF = apply("gate", y_BSD), apply("up", y_BSD)
    opened_BSF = jax.nn.silu(gate_BSF) if cfg.activation == "silu" else jax.nn.gelu(gate_BSF, approximate=True)
    h_BSF = nn.with_logical_constraint(opened_BSF * up_BSF, ("batch", "seq", "act_mlp"))
    return apply("down", h_BSF)


def lm_logits(
    cfg: DecoderConfig,
    params: dict[str, Any],
    hidden: Float[Array, "*b D"],
    lm_head: Float[Array, "V D"] | None = None,
) -> Float[Array, "*b V"]:
    """Next-token logits in fp32 for hidden states after the final norm.

    Args:
      params: the backbone's parameters, whose embedding is the head of a tied model.
      hidden: any leading axes; gather the few states you need first, V is large.
      lm_head: the head of an untied model.

    Raises:
      InputError: the model is untied and no head is given.
    """
    if lm_head is None and not cfg.tie_embeddings:
        raise InputError(
            "this model does not tie its LM head to the embedding",
            where="lm_head",
            fix="pass the loaded LM head, or use a checkpoint that has one",
        )
    head_VD = params["embed"] if lm_head is None else lm_head
    logits = product(hidden, head_VD.astype(hidden.dtype), ((hidden.ndim - 1,), (1,)))
    logits = logits if cfg.logit_divisor == 1 else logits / cfg.logit_divisor
    return cfg.logit_cap * jnp.tanh(logits / cfg.logit_cap) if cfg.logit_cap else logits


def _rematerialised(layer, name: str):
    if name not in REMAT:
        raise InputError(f"{name!r} is unknown", where="remat", fix=f"use one of {list(REMAT)}")
    if name == "none":
        return layer
    return nn.remat(layer, policy=REMAT[name], prevent_cse=False)  # inside a scan CSE is harmless


def _param(module: nn.Module, name: str, p: Param, dtype) -> jax.Array:
    return module.param(name, nn.with_logical_partitioning(p.init, p.axes), p.shape, dtype)
