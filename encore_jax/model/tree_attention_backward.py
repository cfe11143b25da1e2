"""The backward kernels of attention over prefix trees: one for queries, one for keys and values.

Both make the weights P again from the log-sum-exp. With dP = dO v^T their cotangent and delta = sum(dO * O) for each
query, the cotangent of the scores is dS = P * (dP - delta); from it dQ = dS k, dK = dS^T q, and dV = P^T dO.

Shape letters: see tree_kernel.py.
"""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
from jax.experimental import pallas as pl

from encore_jax.model import tree_kernel as tk


def backward_queries(arrays, scalars: tk.Scalars, *, block: int, windowed: bool, interpret):
    """dq_BKGHS.

    Args:
      arrays: ``(ids_BIS, q_BKGHS, k_BKHS, v_BKHS, dout_BKGHS, lse_BKGS, delta_BKGS)``.
      scalars: pairs of blocks, query block by query block, and the window.
      block, windowed: as for ``forward``.
    """
    q = arrays[1]
    g, h = q.shape[2:4]
    by_query, _ = tk.specs(block)
    return tk.call(
        functools.partial(_backward_queries, windowed=windowed),
        scalars,
        (arrays[0], *arrays),
        out_shape=jax.ShapeDtypeStruct(q.shape, q.dtype),
        in_specs=_in_specs(block, g, h),
        out_specs=by_query(g, h),
        scratch=[(g, h, block)],
        products=3,
        interpret=interpret,
    )


def backward_keys(arrays, scalars: tk.Scalars, *, block: int, windowed: bool, interpret):
    """dk_BKHS and dv_BKHS; ``scalars`` goes key block by key block, the rest is as for ``backward_queries``."""
    _, q, k, v, *_ = arrays
    g, h = q.shape[2:4]
    _, by_key = tk.specs(block)
    return tk.call(
        functools.partial(_backward_keys, windowed=windowed),
        scalars,
        (arrays[0], *arrays),
        out_shape=(jax.ShapeDtypeStruct(k.shape, k.dtype), jax.ShapeDtypeStruct(v.shape, v.dtype)),
        in_specs=_in_specs(block, g, h),
        out_specs=(by_key(h), by_key(h)),
        scratch=[(h, block), (h, block)],
        products=4,
        interpret=interpret,
    )


def _in_specs(block, g, h):
    by_query, by_key = tk.specs(block)
    ids = [by_query(tk.IDS, heads=False), by_key(tk.IDS, heads=False)]
    return [*ids, by_query(g, h), by_key(h), by_key(h), by_query(g, h), by_query(g), by_query(g)]


def _weights(at, scalars, q_ids, k_ids, q_ref, k_ref, v_ref, dout_ref, lse_ref, delta_ref, windowed):
    """Of each query head: its number, P and dS (times the scale of the scores), both [keys, queries]."""
    mask, k, v = tk.mask(at, scalars, q_ids, k_ids, windowed), k_ref[...], v_ref[...]
    heads, h, _ = q_ref.shape
    for g in range(heads):
        row = slice(g, g + 1)
        weight = jnp.exp(tk.dot(k, q_ref[g], (0, 0)) * h**-0.5 + mask - lse_ref[row])
        dscore = weight * (tk.dot(v, dout_ref[g], (0, 0)) - delta_ref[row]) * h**-0.5
        yield g, weight, dscore


def _backward_queries(count, query, key, limit, *refs, windowed):
    *ins, dq_ref, dq = refs
    scalars = tk.Scalars(count, query, key, limit)
    at, k_ref = tk.place(scalars), ins[3]

    @pl.when(at.first)
    def _():
        dq[...] = jnp.zeros_like(dq)

    @pl.when(at.live)
    def _():
        for g, _, dscore in _weights(at, scalars, *ins, windowed):
            dq[g] += tk.dot(k_ref[...], dscore.astype(k_ref.dtype), (1, 0))

    @pl.when(at.last)
    def _():
        dq_ref[...] = dq[...].astype(dq_ref.dtype)


def _backward_keys(count, query, key, limit, *refs, windowed):
    *ins, dk_ref, dv_ref, dk, dv = refs
    scalars = tk.Scalars(count, query, key, limit)
    at, q_ref, dout_ref = tk.place(scalars, by_key=True), ins[2], ins[5]

    @pl.when(at.first)
    def _():
        dk[...], dv[...] = jnp.zeros_like(dk), jnp.zeros_like(dv)

    @pl.when(at.live)
    def _():
        for g, weight, dscore in _weights(at, scalars, *ins, windowed):
            dv[...] += tk.dot(dout_ref[g], weight.astype(dout_ref.dtype), (1, 1))
            dk[...] += tk.dot(q_ref[g], dscore.astype(q_ref.dtype), (1, 1))

    @pl.when(at.last)
    def _():
        dk_ref[...] = dk[...].astype(dk_ref.dtype)
        dv_ref[...] = dv[...].astype(dv_ref.dtype)
