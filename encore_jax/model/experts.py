"""A layer's mixture of experts: a router picks k of E gated MLPs for every token; their outputs are added up, weighted.

Tokens are sorted by expert, and each matrix of the experts is one grouped product (``jax.lax.ragged_dot``) of all
pairs of a token and a chosen expert. No expert has a limit, so no token is ever dropped, and what one token gets does
not depend on the others. Padding is routed like any token, since shapes are static; nobody reads what it gets.

On several devices experts lie apart (mesh axis "expert"), which split rows as well: a device gathers the tokens of
those it shares the experts with, computes what its own experts add to each, and the sums are scattered back. With k of
the order of the number of such devices, nearly every token would have gone to nearly every device anyway.

Shape letters: B rows, S tokens of a row, T tokens, D width, E experts, k experts of a token, F MLP width.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import lax
from jax.ad_checkpoint import checkpoint_name
from jax.sharding import PartitionSpec
from jaxtyping import Array, Float, Int

from encore_jax.model.config import DecoderConfig
from encore_jax.model.dense import product


class Routing(NamedTuple):
    """What the router says of every token.

    Attributes:
      probability: ``[B, S, E]`` over all experts, fp32.
      weight: ``[B, S, k]``, fp32, of the chosen ones.
      chosen: ``[B, S, k]``, their numbers.
    """

    probability: Float[Array, "B S E"]
    weight: Float[Array, "B S k"]
    chosen: Int[Array, "B S k"]


class Load(NamedTuple):
    """How a layer's tokens spread over its experts, padding left out: sums over tokens, from which `balance` follows.

    Attributes:
      chosen: ``[E]``, how many tokens chose each expert.
      probability: ``[E]``, its probability added up.
      tokens: how many there were.
    """

    chosen: Float[Array, " E"]
    probability: Float[Array, " E"]
    tokens: Float[Array, ""]


def route(cfg: DecoderConfig, router_DE: Float[Array, "D E"], y_BSD: Float[Array, "B S D"]) -> Routing:
    """Chooses each token's experts, in fp32: those of the k largest probabilities, which are their weights.

    With ``cfg.normalize_experts`` the weights of a token add up to 1.
    """
    logits = product(y_BSD.astype(jnp.float32), router_DE.astype(jnp.float32), ((2,), (0,)))
    probability = jax.nn.softmax(logits, axis=-1)
    weight, chosen = lax.top_k(probability, cfg.experts_per_token)
    if cfg.normalize_experts:
        weight = weight / weight.sum(-1, keepdims=True)
    return Routing(probability, weight, chosen)


def load(routing: Routing, tree: Int[Array, "B S"]) -> Load:
    """Sums over the tokens that are not padding."""
    real = (tree != 0).astype(jnp.float32)
    experts = routing.probability.shape[-1]
    picked = jax.nn.one_hot(routing.chosen, experts, dtype=jnp.float32).sum(2)
    return Load((picked * real[..., None]).sum((0, 1)), (routing.probability * real[..., None]).sum((0, 1)), real.sum())


def balance(loads: Load) -> Float[Array, ""]:
    """The load-balancing loss ``E sum_e f_e p_e``: Switch Transformer (arXiv 2101.03961), equations 4 to 6.

    Args:
      loads: of all layers, added up or stacked ``[L, ...]``; f_e is the mean number of times that a token chose expert
        e, p_e the expert's mean probability, both over all tokens and layers together, as transformers has it.

    >>> even = Load(jnp.full(4, 2.0), jnp.full(4, 1.0), jnp.float32(4))  # four tokens, two of four experts each
    >>> float(balance(even))
    2.0
    """
    chosen, probability = (x.reshape(-1, x.shape[-1]).sum(0) for x in (loads.chosen, loads.probability))
    tokens = jnp.maximum(loads.tokens.sum(), 1.0)
    return chosen.shape[0] * jnp.sum(chosen / tokens * (probability / tokens))


def apply_experts(
    cfg: DecoderConfig, params: dict[str, Any], y_BSD: Float[Array, "B S D"], routing: Routing
) -> Float[Array, "B S D"]:
    """Every token's weighted sum of its experts' outputs.

    Args:
      params: of one layer; "gate" and "up" ``[E, D, F]``, "down" ``[E, F, D]``.
      y_BSD: the normed residual stream, in the compute type, in which the experts compute.
    """
    matrices = [params[name] for name in ("gate", "up", "down")]
    mesh = jax.sharding.get_abstract_mesh()
    if mesh.empty or mesh.are_all_axes_manual:
        return _local(y_BSD, routing.weight, routing.chosen, *matrices, activation=cfg.activation)
    axes = _Axes(*(_names(nn.logical_to_mesh_axes((name,))[0]) for name in ("batch", "experts", "embed", "mlp")))

    def run(y, weight, chosen, *matrices):
        return _shared(y, weight, chosen, matrices, axes, cfg.activation)

    rows = PartitionSpec(axes.rows or None)
    inward, outward = (PartitionSpec(*(names or None for names in spec)) for spec in (
        (axes.experts, axes.embed, axes.mlp), (axes.experts, axes.mlp, axes.embed)))  # fmt: skip
    specs = (rows, rows, rows, inward, inward, outward)
    return jax.shard_map(run, in_specs=specs, out_specs=rows, check_vma=False)(
        y_BSD, routing.weight, routing.chosen, *matrices
    )


class _Axes(NamedTuple):
    """Mesh axes over which rows, experts, the width and the MLP's width are split."""

    rows: tuple[str, ...]
    experts: tuple[str, ...]
    embed: tuple[str, ...]
    mlp: tuple[str, ...]


def _names(axes) -> tuple[str, ...]:
    return (axes,) if isinstance(axes, str) else tuple(axes or ())


def _shared(y, weight, chosen, matrices, axes: _Axes, activation: str):
    """One device's part: what its experts add to the tokens of all devices that share the experts with it."""
    gate, up, down = matrices
    if axes.embed:  # whole for this layer only, as every other matrix
        gate, up = (lax.all_gather(w, axes.embed, axis=1, tiled=True) for w in (gate, up))
        down = lax.all_gather(down, axes.embed, axis=2, tiled=True)
    together = tuple(name for name in axes.experts if name in axes.rows)
    if together:
        y, weight, chosen = (lax.all_gather(x, together, axis=0, tiled=True) for x in (y, weight, chosen))
    first = lax.axis_index(axes.experts) * gate.shape[0] if axes.experts else 0
    out = _local(y, weight, chosen, gate, up, down, first=first, activation=activation)
    if axes.mlp:
        out = lax.psum(out, axes.mlp)
    return lax.psum_scatter(out, together, scatter_dimension=0, tiled=True) if together else out


def _local(y_BSD, weight_BSk, chosen_BSk, gate_EDF, up_EDF, down_EFD, *, first=0, activation="silu"):
    """What the experts numbered from `first` on add to every token; with all experts, the whole sum."""
    b, s, d = y_BSD.shape
    k, experts = chosen_BSk.shape[-1], gate_EDF.shape[0]
    number = chosen_BSk.reshape(-1) - first
    number = jnp.where((number >= 0) & (number < experts), number, experts)  # others' come last and are in no group
    order = jnp.argsort(number, stable=True)
    sizes = jnp.bincount(number, length=experts + 1)[:experts].astype(jnp.int32)
    x = jnp.take(y_BSD.reshape(-1, d), order // k, axis=0)
    opened = _grouped(x, gate_EDF, sizes)
    opened = jax.nn.silu(opened) if activation == "silu" else jax.nn.gelu(opened, approximate=True)
    out = _grouped(opened * _grouped(x, up_EDF, sizes), down_EFD, sizes)
    back = jnp.argsort(order)  # where each pair of a token and a choice went
    mine = (number < experts).reshape(-1, 1)
    out = jnp.where(mine, jnp.take(out, back, axis=0), 0).astype(jnp.float32)
    total = (out.reshape(b, s, k, d) * weight_BSk[..., None]).sum(2)
    return total.astype(y_BSD.dtype)


def _grouped(x_TD, w_EDF, sizes):
    """Consecutive groups of rows, each times its own matrix, in the type of the rows."""
    precision = lax.Precision.HIGHEST if x_TD.dtype == jnp.float32 else None
    out = lax.ragged_dot(x_TD, w_EDF.astype(x_TD.dtype), sizes, precision=precision)
    return checkpoint_name(out, "projection")
