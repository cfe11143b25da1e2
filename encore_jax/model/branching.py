"""Many short branches after one prefix: K questions about one conversation, without attention over each other's keys.

In a row of packed branches every query would look at the masked keys of all branches before it. Here a row is laid out
as

    [ prefix: P tokens | branch | branch | ... | padding ]        S tokens, the longest branch at most M

and a piece of queries meets the prefix's keys and those of the piece itself and of the M tokens before it, among which
its own branches begin: about P + M of them and not S. Norms, projections and MLP run over the whole row at once. Before
all prefixes there may lie a root, common to all rows: it is run once (`run_root`), and its keys and values are kept.
Only the last token of each branch is wanted, so the last layer computes no more than that needs.

Exact: the result is that of every path (root, prefix, branch) run alone. Inference only.

Letters: C rows, S positions, E ends, Q queries of a piece, P0 tokens of the root, P of the prefix, T = P0 + P
keys that all of a row may see, U other keys of a piece, D width, L layers, N query heads, K key-value heads, G = N / K,
R = Q * G, H head dimension.
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
from encore_jax.model.decoder import after_attention, apply_matrix, embedded, layer_norm, rotated_heads
from encore_jax.model.rope import of_layer, rotations

HIDDEN = jnp.finfo(jnp.float32).min
FAR = jnp.iinfo(jnp.int32).max
"""Position of keys that nobody may see."""
QUERIES, MOST_PIECES = 128, 24
"""Queries of a row whose scores are held at once; pieces are unrolled, so their number is bounded."""


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
    if not len(tokens):
        return Root(*(jnp.zeros((cfg.layers, 0, cfg.kv_heads, cfg.head_dim), dtype) for _ in "kv"))
    position = jnp.arange(len(tokens), dtype=jnp.int32)[None]
    turns = rotations(position, cfg)

    def layer(x, one):
        weights, window = one
        apply = partial(apply_matrix, weights, 0.0)
        y = layer_norm(cfg, weights, "attn_norm", x)
        q, k, v = rotated_heads(cfg, weights, apply, y, *of_layer(turns, window))
        out = attend_by_position(cfg, q, k, v, position, position, window)
        return after_attention(cfg, weights, apply, x, out), (k[0], v[0])

    x = embedded(cfg, params, tokens, dtype)[None]
    return Root(*lax.scan(layer, x, (params["layers"], layer_windows(cfg)))[1])


def run_branches(
    cfg: DecoderConfig, params: Any, root: Root, rows: BranchRows, prefix: int, longest: int, dtype: Any = jnp.float32
) -> Float[Array, "C E D"]:
    """Hidden states after the final norm at the branches' ends.

    Args:
      params: the backbone's.
      root: from `run_root` with the same parameters and type.
      rows: see `BranchRows`.
      prefix: P, places at the row's beginning that hold the prefix and its padding (static).
      longest: M, no branch has more tokens (static).
      dtype: compute type; products accumulate in fp32, norms, rotations and softmax are fp32.
    """
    windows = layer_windows(cfg)
    shared = jnp.arange(root.k.shape[1], dtype=jnp.int32)[None]
    key_position = jnp.concatenate(
        [
            jnp.where(shared < rows.root[:, None], shared, FAR),
            jnp.where(rows.branch[:, :prefix] == 0, rows.position[:, :prefix], FAR),
        ],
        axis=1,
    )
    turns = rotations(rows.position, cfg)

    def heads(index, x):
        """This layer's weights and queries, the keys and values of what a row shares, and those of the row."""
        take = partial(lax.dynamic_index_in_dim, index=index, keepdims=False)
        weights = jax.tree.map(take, params["layers"])
        apply = partial(apply_matrix, weights, 0.0)
        y = layer_norm(cfg, weights, "attn_norm", x)
        q, *kv = rotated_heads(cfg, weights, apply, y, *of_layer(turns, windows[index]))
        before = (jnp.broadcast_to(take(a)[None], (len(x), *a.shape[1:])) for a in root)
        common = [jnp.concatenate([a, b[:, :prefix]], axis=1) for a, b in zip(before, kv, strict=True)]
        return weights, apply, q, common, kv, windows[index]

    def of_prefix(q, common, window):
        parts = []
        for first, last in _pieces(0, prefix):
            parts.append(
                attend_by_position(cfg, q[:, first:last], *common, key_position, rows.position[:, first:last], window)
            )
        return jnp.concatenate(parts, axis=1)

    def of_branches(q, common, kv, window):
        parts = []
        for first, last in _pieces(prefix, rows.tokens.shape[1]):
            at, near = slice(first, last), slice(max(prefix, first - longest), last)
            own = (*(a[:, near] for a in kv), _own(rows, at, near, window))
            parts.append(attend_by_position(cfg, q[:, at], *common, key_position, rows.position[:, at], window, own))
        return jnp.concatenate(parts, axis=1)

    def layer(index, x):
        weights, apply, q, common, kv, window = heads(index, x)
        out = jnp.concatenate([of_prefix(q, common, window), of_branches(q, common, kv, window)], axis=1)
        return after_attention(cfg, weights, apply, x, out)

    x = embedded(cfg, params, rows.tokens, dtype)
    x = nn.with_logical_constraint(x, ("batch", "seq", "act_embed"))
    x = lax.fori_loop(0, cfg.layers - 1, layer, x)
    weights, apply, q, common, kv, window = heads(cfg.layers - 1, x)
    out = of_branches(q, common, kv, window)
    x = jnp.take_along_axis(x, rows.ends[:, :, None], axis=1)
    out = jnp.take_along_axis(out, (rows.ends - prefix)[:, :, None, None], axis=1)
    return layer_norm(cfg, params, "final_norm", after_attention(cfg, weights, apply, x, out))


def layer_windows(cfg: DecoderConfig) -> jax.Array:
    """Each layer's sliding window ``[L]``, 0 for none."""
    return jnp.asarray(cfg.windows or (0,) * cfg.layers, jnp.int32)


def _pieces(start: int, stop: int) -> list[tuple[int, int]]:
    """Nearly equal pieces (first, last) of a row."""
    count = min(MOST_PIECES, -(-(stop - start) // QUERIES))
    cuts = [start + (stop - start) * i // count for i in range(count + 1)]
    return list(zip(cuts, cuts[1:], strict=False))


def _own(rows: BranchRows, at: slice, near: slice, window):
    """Which keys of a stretch lie on the queries' own branches, ``[C, Q, U]``."""
    back = rows.position[:, at, None] - rows.position[:, None, near]
    same = rows.branch[:, at, None] == rows.branch[:, None, near]
    return same & (back >= 0) & ((back < window) | (window == 0))


def attend_by_position(cfg, q_CQNH, k_CTKH, v_CTKH, key_position_CT, position_CQ, window, own=None):
    """Attention of Q queries over keys no later than they are, and over their own branches.

    All keys of a piece stand side by side, and a key head's queries in one matrix: on a CPU that is a tenth faster than
    scores in two parts.

    Args:
      own: keys and values ``[C, U, K, H]`` and which of them each query may see, ``[C, Q, U]``.
    """
    c, q, n, h = q_CQNH.shape
    heads = k_CTKH.shape[2]
    back_CQT = position_CQ[:, :, None] - key_position_CT[:, None]
    seen_CQT = (back_CQT >= 0) & ((back_CQT < window) | (window == 0))
    if own is not None:
        k_CTKH = jnp.concatenate([k_CTKH, own[0]], axis=1)
        v_CTKH = jnp.concatenate([v_CTKH, own[1]], axis=1)
        seen_CQT = jnp.concatenate([seen_CQT, own[2]], axis=2)
    q_CKRH = jnp.moveaxis(q_CQNH.reshape(c, q, heads, n // heads, h), 2, 1).reshape(c, heads, -1, h)
    score = _dot("CKRH,CTKH->CKRT", q_CKRH, k_CTKH) * h**-0.5
    if cfg.attention_cap:
        score = cfg.attention_cap * jnp.tanh(score / cfg.attention_cap)
    score = jnp.where(jnp.repeat(seen_CQT, n // heads, axis=1)[:, None], score, HIDDEN)
    weight = jnp.exp(score - score.max(-1, keepdims=True))
    out_CKRH = _dot("CKRT,CTKH->CKRH", weight.astype(v_CTKH.dtype), v_CTKH) / weight.sum(-1, keepdims=True)
    out_CKQGH = out_CKRH.reshape(c, heads, q, n // heads, h)
    return jnp.moveaxis(out_CKQGH, 1, 2).reshape(c, q, n, h).astype(q_CQNH.dtype)


def _dot(equation: str, a: jax.Array, b: jax.Array) -> jax.Array:
    precision = lax.Precision.HIGHEST if a.dtype == jnp.float32 else None
    return jnp.einsum(equation, a, b, precision=precision, preferred_element_type=jnp.float32)
