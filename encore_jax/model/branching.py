"""Many short branches after one prefix: K questions about one conversation, without attention over each other's keys.

In a row of packed branches every branch would look at the masked keys of all others. Here a row is laid out as

    [ prefix: P tokens | block: W tokens | ... | block: W tokens ]        S = P + R W tokens

with whole branches packed into R blocks. Tokens of the prefix see the prefix, tokens of a block see the prefix and
their own branch, so a query meets P + W keys and not S. Norms, projections and MLP run over the whole row at once.
Before all prefixes there may lie a root, common to all rows: it is run once (`run_root`), and its keys and values are
kept. Only the last token of each branch is wanted, so the last layer computes no more than that needs.

Exact: the result is that of every path (root, prefix, branch) run alone. Inference only.

Shape letters: C rows, S positions, R blocks of W tokens, E ends, P0 tokens of the root, P of the prefix, T = P0 + P
keys that all of a row may see, D width, L layers, N query heads, K key-value heads, G = N / K, H head dimension.
"""

from __future__ import annotations

from functools import partial
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float, Int

from encore_jax.model.config import DecoderConfig
from encore_jax.model.decoder import after_attention, apply_matrix, rotated_heads
from encore_jax.model.norm import rms_norm
from encore_jax.model.rope import rotation

HIDDEN = jnp.finfo(jnp.float32).min
FAR = jnp.iinfo(jnp.int32).max
"""Position of keys that nobody may see."""
MOST_QUERIES = 128
"""Queries of the prefix whose scores are held at once."""


class Root(NamedTuple):
    """Keys (rotated) and values ``[L, P0, K, H]`` of the tokens that all rows begin with."""

    k: Array
    v: Array


class BranchRows(NamedTuple):
    """C rows of one prefix and its branches.

    Attributes:
      tokens, branch, position: ``[C, S]``; branch 0 is the prefix, -1 padding; position is the distance from the path's
        beginning, the root counted.
      root: ``[C]``, how many of the root's tokens the row begins with; the others are hidden from it.
      ends: ``[C, E]``, place in the row of each branch's last token; anything (in range) where there is no branch.
    """

    tokens: Array
    branch: Array
    position: Array
    root: Array
    ends: Array


def run_root(cfg: DecoderConfig, params: Any, tokens: Int[Array, " P0"], dtype: Any = jnp.float32) -> Root:
    """Runs the tokens that all rows begin with (there may be none)."""
    position = jnp.arange(len(tokens), dtype=jnp.int32)[None]
    cos, sin = rotation(position, cfg)

    def layer(x, one):
        weights, window = one
        apply = partial(apply_matrix, weights, 0.0)
        y = rms_norm(x, weights["attn_norm"], cfg.norm_eps)
        q, k, v = rotated_heads(cfg, weights, apply, y, cos, sin)
        out = _attend(q, k, v, position, position, window)
        return after_attention(cfg, weights, apply, x, out), (k[0], v[0])

    x = jnp.take(params["embed"], tokens, axis=0)[None].astype(dtype)
    return Root(*lax.scan(layer, x, (params["layers"], _windows(cfg)))[1])


def run_branches(
    cfg: DecoderConfig, params: Any, root: Root, rows: BranchRows, block: int, blocks: int, dtype: Any = jnp.float32
) -> Float[Array, "C E D"]:
    """Hidden states after the final norm at the branches' ends.

    Args:
      params: the backbone's.
      root: from `run_root` with the same parameters and type.
      rows: see `BranchRows`.
      block, blocks: W and R (static); the first S - R W tokens of a row are its prefix.
      dtype: compute type; products accumulate in fp32, norms, rotations and softmax are fp32.
    """
    prefix = rows.tokens.shape[1] - block * blocks
    windows = _windows(cfg)
    shared = jnp.arange(root.k.shape[1], dtype=jnp.int32)[None]
    key_position = jnp.concatenate(
        [
            jnp.where(shared < rows.root[:, None], shared, FAR),
            jnp.where(rows.branch[:, :prefix] == 0, rows.position[:, :prefix], FAR),
        ],
        axis=1,
    )
    cos, sin = rotation(rows.position, cfg)

    def heads(index, x):
        """This layer's weights, its queries, and keys and values: of what a row shares, and of its blocks."""
        take = partial(lax.dynamic_index_in_dim, index=index, keepdims=False)
        weights = jax.tree.map(take, params["layers"])
        apply = partial(apply_matrix, weights, 0.0)
        y = rms_norm(x, weights["attn_norm"], cfg.norm_eps)
        q, *kv = rotated_heads(cfg, weights, apply, y, cos, sin)
        before = (jnp.broadcast_to(take(a)[None], (len(x), *a.shape[1:])) for a in root)
        common = [jnp.concatenate([a, b[:, :prefix]], axis=1) for a, b in zip(before, kv, strict=True)]
        return weights, apply, q, common, [b[:, prefix:] for b in kv], windows[index]

    def of_blocks(q, common, kv, window):
        """Attention of the blocks' tokens, one block after the other, so that their scores stay small."""
        own = (q[:, prefix:], *kv, rows.position[:, prefix:], rows.branch[:, prefix:])

        def one(part):
            q, k, v, position, branch = part
            return _attend(q, *common, key_position, position, window, (k, v, branch))

        out = lax.map(one, _in_pieces(own, blocks))
        return jnp.moveaxis(out, 0, 1).reshape(len(q), blocks * block, *q.shape[2:])

    def of_prefix(q, common, window):
        out = lax.map(
            lambda part: _attend(part[0], *common, key_position, part[1], window),
            _in_pieces((q[:, :prefix], rows.position[:, :prefix]), _pieces(prefix)),
        )
        return jnp.moveaxis(out, 0, 1).reshape(len(q), prefix, *q.shape[2:])

    def layer(index, x):
        weights, apply, q, common, kv, window = heads(index, x)
        out = jnp.concatenate([of_prefix(q, common, window), of_blocks(q, common, kv, window)], axis=1)
        return after_attention(cfg, weights, apply, x, out)

    x = jnp.take(params["embed"], rows.tokens, axis=0).astype(dtype)
    x = nn.with_logical_constraint(x, ("batch", "seq", "act_embed"))
    x = lax.fori_loop(0, cfg.layers - 1, layer, x)
    weights, apply, q, common, kv, window = heads(cfg.layers - 1, x)
    out = of_blocks(q, common, kv, window)
    x = jnp.take_along_axis(x, rows.ends[:, :, None], axis=1)
    out = jnp.take_along_axis(out, (rows.ends - prefix)[:, :, None, None], axis=1)
    return rms_norm(after_attention(cfg, weights, apply, x, out), params["final_norm"], cfg.norm_eps)


def _windows(cfg: DecoderConfig) -> jax.Array:
    """Each layer's sliding window, 0 for none."""
    return jnp.asarray(cfg.windows or (0,) * cfg.layers, jnp.int32)


def _in_pieces(arrays, n: int):
    """Each array ``[C, n Q, ...]`` as ``[n, C, Q, ...]``."""
    return tuple(jnp.moveaxis(a.reshape(len(a), n, -1, *a.shape[2:]), 1, 0) for a in arrays)


def _pieces(length: int) -> int:
    """The fewest equal pieces of at most `MOST_QUERIES` tokens."""
    return next(n for n in range(-(-length // MOST_QUERIES), length + 1) if length % n == 0)


def _attend(q_CQNH, k_CTKH, v_CTKH, key_position_CT, position_CQ, window, own=None):
    """Attention of Q queries over keys no later than they are, and over the keys of their own branch in their block.

    Args:
      own: keys and values ``[C, Q, K, H]`` and branches ``[C, Q]`` of the queries' block.
    """
    c, q, n, h = q_CQNH.shape
    heads = k_CTKH.shape[2]
    q_CQKGH = q_CQNH.reshape(c, q, heads, n // heads, h)
    back_CQT = position_CQ[:, :, None] - key_position_CT[:, None]
    seen_CQT = (back_CQT >= 0) & ((back_CQT < window) | (window == 0))
    parts = [(_scores(q_CQKGH, k_CTKH, seen_CQT), v_CTKH)]
    if own is not None:
        k_CQKH, v_CQKH, branch_CQ = own
        back_CQQ = position_CQ[:, :, None] - position_CQ[:, None]
        at_Q = jnp.arange(q)
        seen_CQQ = (branch_CQ[:, :, None] == branch_CQ[:, None]) & (at_Q[:, None] >= at_Q[None])[None]
        parts.append((_scores(q_CQKGH, k_CQKH, seen_CQQ & ((back_CQQ < window) | (window == 0))), v_CQKH))
    highest = jnp.max(jnp.stack([score.max(-1) for score, _ in parts]), axis=0)[..., None]
    weights = [(jnp.exp(score - highest), v) for score, v in parts]
    total = sum(weight.sum(-1, keepdims=True) for weight, _ in weights)
    out = sum(_dot("CKGQT,CTKH->CKGQH", weight.astype(v.dtype), v) for weight, v in weights) / total
    return jnp.moveaxis(out, 3, 1).reshape(c, q, n, h).astype(q_CQNH.dtype)


def _scores(q_CQKGH, k_CTKH, seen_CQT):
    """Scaled fp32 scores [C, K, G, Q, T], hidden keys at the lowest number."""
    score = _dot("CQKGH,CTKH->CKGQT", q_CQKGH, k_CTKH) * q_CQKGH.shape[-1] ** -0.5
    return jnp.where(seen_CQT[:, None, None], score, HIDDEN)


def _dot(equation: str, a: jax.Array, b: jax.Array) -> jax.Array:
    precision = lax.Precision.HIGHEST if a.dtype == jnp.float32 else None
    return jnp.einsum(equation, a, b, precision=precision, preferred_element_type=jnp.float32)
