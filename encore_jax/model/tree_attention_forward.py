"""The forward kernel of attention over prefix trees: an online softmax, one pair of blocks at a time.

Shape letters: see tree_kernel.py.
"""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
from jax.experimental import pallas as pl

from encore_jax.model import tree_kernel as tk


def forward(ids_BIS, q_BKGHS, k_BKHS, v_BKHS, scalars: tk.Scalars, *, block: int, windowed: bool, interpret):
    """Attention and its log-sum-exp.

    Args:
      ids_BIS: see ``tree_kernel.IDS``.
      scalars: pairs of blocks, query block by query block, and the window.
      block: tokens per block.
      windowed: whether there is a window.

    Returns:
      out_BKGHS in the type of the queries, lse_BKGS in fp32; 0 and ``NOTHING`` for queries that see nothing.
    """
    b, kv_heads, g, h, s = q_BKGHS.shape
    by_query, by_key = tk.specs(block)
    return tk.call(
        functools.partial(_forward, windowed=windowed),
        scalars,
        (ids_BIS, ids_BIS, q_BKGHS, k_BKHS, v_BKHS),
        out_shape=(
            jax.ShapeDtypeStruct(q_BKGHS.shape, q_BKGHS.dtype),
            jax.ShapeDtypeStruct((b, kv_heads, g, s), jnp.float32),
        ),
        in_specs=[by_query(tk.IDS, heads=False), by_key(tk.IDS, heads=False), by_query(g, h), by_key(h), by_key(h)],
        out_specs=(by_query(g, h), by_query(g)),
        scratch=[(g, block), (g, block), (g, h, block)],
        products=2,
        interpret=interpret,
    )


def _forward(count, query, key, limit, q_ids, k_ids, q_ref, k_ref, v_ref, out_ref, lse_ref, *scratch, windowed):
    scalars = tk.Scalars(count, query, key, limit)
    at = tk.place(scalars)
    top, total, acc = scratch
    heads, h, _ = q_ref.shape

    @pl.when(at.first)
    def _():
        top[...] = jnp.full_like(top, tk.NOTHING)
        total[...] = jnp.zeros_like(total)
        acc[...] = jnp.zeros_like(acc)

    @pl.when(at.live)
    def _():
        mask, k, v = tk.mask(at, scalars, q_ids, k_ids, windowed), k_ref[...], v_ref[...]
        for g in range(heads):
            row = slice(g, g + 1)
            score = tk.dot(k, q_ref[g], (0, 0)) * h**-0.5 + mask
            highest = jnp.maximum(top[row], score.max(axis=0, keepdims=True))
            weight, shrink = jnp.exp(score - highest), jnp.exp(top[row] - highest)
            top[row] = highest
            total[row] = total[row] * shrink + weight.sum(axis=0, keepdims=True)
            acc[g] = acc[g] * shrink + tk.dot(v, weight.astype(v.dtype), (1, 0))

    @pl.when(at.last)
    def _():
        divisor = jnp.where(total[...] == 0, 1.0, total[...])
        for g in range(heads):
            out_ref[g] = (acc[g] / divisor[g : g + 1]).astype(out_ref.dtype)
        lse_ref[...] = top[...] + jnp.log(divisor)
