"""Attention over prefix trees in plain XLA: blocks of queries against the stretch of keys that their trees reach.

A block of queries needs no key before the first token of the trees it touches. How far back that is, is known only at
run time, so every block is compiled for a few stretches (powers of two of blocks, and everything) and takes the
shortest that reaches. The scores of one block stay in cache; neither pass materialises S x S, and the backward pass
rebuilds the weights from the log-sum-exp instead of keeping them.

Shape letters: B rows, S query positions, T key positions (T = S), N query heads, K key-value heads, G = N / K query
heads per key-value head, H head dimension, Q queries of a block, W keys of a stretch.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float

from encore_jax.model.remat import named
from encore_jax.model.visibility import reach, visible

SMALLEST_BLOCK, MOST_BLOCKS = 64, 8
"""Blocks are unrolled, so their number is bounded for the compiler's sake."""
STRETCHES = (2, 4)
"""Lengths of stretches in blocks, besides everything up to the block's end."""
HIDDEN = jnp.finfo(jnp.float32).min


class Rows(NamedTuple):
    """Ids ``[B, S]`` of the tokens and, if the layer has one, its sliding window (0: none)."""

    tree: jax.Array
    branch: jax.Array
    position: jax.Array
    window: jax.Array | None


class _Block(NamedTuple):
    start: int
    end: int
    stretches: tuple[int, ...]
    """Keys looked at, up to the block's end, ascending; the last is all of them."""

    def choose(self, first: jax.Array) -> jax.Array:
        """Index of the shortest stretch that holds the place `first`."""
        return jnp.searchsorted(jnp.array(self.stretches), self.end - first).astype(jnp.int32)


def blocks(length: int) -> list[_Block]:
    """Blocks of queries of a row, each with the stretches it may take."""
    size = max(SMALLEST_BLOCK, -(-length // MOST_BLOCKS))
    found = []
    for start in range(0, length, size):
        end = min(start + size, length)
        short = tuple(n * size for n in STRETCHES if n * size < end)
        found.append(_Block(start, end, (*short, end)))
    return found


def _each_block(tree: jax.Array, length: int, run: Callable) -> list[tuple[list[Callable], jax.Array]]:
    """For every block ``run(block, keys, carry)`` with every stretch of keys, and which of these is to be taken."""
    first = reach(tree)
    results = []
    for block in blocks(length):
        choices = [
            lambda carry, block=block, width=width: run(block, slice(block.end - width, block.end), carry)
            for width in block.stretches
        ]
        results.append((choices, block.choose(first[:, block.start : block.end].min())))
    return results


def block_attention(
    q_BSNH: Float[Array, "B S N H"],
    k_BTKH: Float[Array, "B T K H"],
    v_BTKH: Float[Array, "B T K H"],
    rows: Rows,
    cap: float = 0.0,
) -> Float[Array, "B S N H"]:
    """Scaled dot-product attention, see ``attention.attend``. Output and lse are `remat.named` "attention"."""
    b, s, n, h = q_BSNH.shape
    heads = k_BTKH.shape[2]
    q_BKGSH = jnp.moveaxis(q_BSNH.reshape(b, s, heads, n // heads, h), 1, 3)
    out_BKGSH = _attention(q_BKGSH, jnp.moveaxis(k_BTKH, 1, 2), jnp.moveaxis(v_BTKH, 1, 2), rows, cap)
    return jnp.moveaxis(out_BKGSH, 3, 1).reshape(b, s, n, h)


@functools.partial(jax.custom_vjp, nondiff_argnums=(4,))
def _attention(q, k, v, rows, cap):
    return _forward(q, k, v, rows, cap)[0]


def _forward(q, k, v, rows, cap):
    parts = []

    def run(block, keys, carry):
        score = _scores(q, k, rows, block, keys, cap)
        highest = score.max(-1, keepdims=True)
        weight = jnp.exp(score - highest)
        total = weight.sum(-1, keepdims=True)
        out = _dot("BKGQW,BKWH->BKGQH", weight.astype(v.dtype), v[:, :, keys]) / total
        return out.astype(q.dtype), (highest + jnp.log(total))[..., 0]

    for choices, chosen in _each_block(rows.tree, q.shape[3], run):
        parts.append(lax.switch(chosen, choices, ()))
    out, lse = (jnp.concatenate(part, axis=3) for part in zip(*parts, strict=True))
    out, lse = named(out, "attention"), named(lse, "attention")
    return out, (q, k, v, rows, out, lse)


def _backward(cap, saved, dout):
    q, k, v, rows, out, lse = saved
    delta = (out.astype(jnp.float32) * dout.astype(jnp.float32)).sum(-1)

    def run(block, keys, carry):
        dk, dv = carry
        queries = slice(block.start, block.end)
        dout_block = dout[:, :, :, queries]
        score = _scores(q, k, rows, block, keys, cap)
        weight = jnp.exp(score - lse[:, :, :, queries, None])
        slope = _dot("BKGQH,BKWH->BKGQW", dout_block, v[:, :, keys]) - delta[:, :, :, queries, None]
        if cap:  # d/ds of c tanh(s / c); where a key is hidden the weight is 0, and the number must only be finite
            slope = slope * (1 - jnp.square(jnp.maximum(score, -cap) / cap))
        dscore = (weight * slope * q.shape[-1] ** -0.5).astype(q.dtype)
        dv = dv.at[:, :, keys].add(_dot("BKGQW,BKGQH->BKWH", weight.astype(dout.dtype), dout_block))
        dk = dk.at[:, :, keys].add(_dot("BKGQW,BKGQH->BKWH", dscore, q[:, :, :, queries]))
        return (dk, dv), _dot("BKGQW,BKWH->BKGQH", dscore, k[:, :, keys]).astype(q.dtype)

    carry, parts = (jnp.zeros(k.shape, jnp.float32), jnp.zeros(v.shape, jnp.float32)), []
    for choices, chosen in _each_block(rows.tree, q.shape[3], run):
        carry, dq = lax.switch(chosen, choices, carry)
        parts.append(dq)
    return jnp.concatenate(parts, axis=3), carry[0].astype(k.dtype), carry[1].astype(v.dtype), None


_attention.defvjp(_forward, _backward)


def _scores(q, k, rows, block, keys, cap):
    """Scaled (and capped) fp32 scores [B, K, G, Q, W] of a block's queries, hidden keys at the lowest number."""
    queries = slice(block.start, block.end)
    seen = visible(*rows, queries=queries, keys=keys)
    score = _dot("BKGQH,BKWH->BKGQW", q[:, :, :, queries], k[:, :, keys]) * q.shape[-1] ** -0.5
    if cap:
        score = cap * jnp.tanh(score / cap)
    return jnp.where(seen[:, None, None], score, HIDDEN)


def _dot(equation: str, a: jax.Array, b: jax.Array) -> jax.Array:
    precision = lax.Precision.HIGHEST if a.dtype == jnp.float32 else None
    return jnp.einsum(equation, a, b, precision=precision, preferred_element_type=jnp.float32)
