"""Flash attention over prefix trees for TPU, forward and backward, as Pallas kernels that skip empty blocks.

The kernels take tree, branch and position ids as arrays, build the mask of a block from them on the chip, and walk only
the pairs of blocks that hold a visible pair of tokens (``tree_blocks``). What is hidden costs neither arithmetic nor
memory traffic, and memory grows with S, not S x S.

Why not splash attention, which jax ships: a mask known only at run time is there an array of S x S for each row, cut
into blocks, stored once for the forward and again for the backward kernels, and read back by them. Its grid is not
shrunk for such masks, so empty blocks remain as steps; and ``vmap`` over rows turns its call into a loop over them,
because its lists in scalar memory differ by row.

Letters: B rows, S tokens, N query heads, K key-value heads, G = N / K, H head dimension.
"""

from __future__ import annotations

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.ad_checkpoint import checkpoint_name
from jaxtyping import Array, Float, Int

from encore_jax.errors import InputError
from encore_jax.model import tree_kernel as tk
from encore_jax.model.device_split import HEADS, ROWS, Split, on_each_device, split_of
from encore_jax.model.tree_attention_backward import backward_keys, backward_queries
from encore_jax.model.tree_attention_forward import forward
from encore_jax.model.tree_blocks import BLOCKS, block_size, not_empty, steps

DTYPES = (jnp.bfloat16, jnp.float32)
TOKENS, STATISTICS = (ROWS, None, HEADS, None), (ROWS, HEADS, None, None)
IDS = ((ROWS, None), (ROWS, None), (ROWS, None), (None,))
"""How the axes of x_BSNH, of lse_BKGS and of the ids and the window are split over devices."""


def takes(length: int, dtype: Any) -> bool:
    """Whether the kernels can run rows of so many tokens of this type.

    >>> takes(2048, jnp.bfloat16), takes(100, jnp.bfloat16)
    (True, False)
    """
    return dtype in DTYPES and length % BLOCKS[-1] == 0


class _Static(NamedTuple):
    """What is fixed when the program is traced."""

    block: int
    windowed: bool
    interpret: Any
    split: Split | None

    @property
    def of_kernels(self):
        return {"block": self.block, "windowed": self.windowed, "interpret": self.interpret}


def tree_attention(
    q_BSNH: Float[Array, "B S N H"],
    k_BSKH: Float[Array, "B S K H"],
    v_BSKH: Float[Array, "B S K H"],
    tree: Int[Array, "B S"],
    branch: Int[Array, "B S"],
    position: Int[Array, "B S"],
    window: Int[Array, ""] | int | None = None,
    *,
    block: int | None = None,
    interpret: Any = False,
) -> Float[Array, "B S N H"]:
    """Scaled dot-product attention over prefix trees, as ``attention.attend`` defines it, on TPU.

    Padding sees nothing: its output is 0 and takes part in no gradient, whatever its keys and values hold. Under a
    mesh each device works on its own rows and heads (see ``device_split``). ``checkpoint_name`` "attention" is on the
    output and its log-sum-exp: a remat policy that saves it runs the forward kernel once.

    Args:
      q_BSNH, k_BSKH, v_BSKH: all bf16, or all fp32; softmax and sums are fp32.
      tree, branch, position, window: see ``visibility.visible``.
      block: tokens per block, a multiple of 128 that divides S; by default ``block_size`` picks it.
      interpret: True, or ``pltpu.InterpretParams``: run the kernels on any platform, slowly, for tests.

    Raises:
      InputError: a row length that 128 does not divide, a block that does not divide it, other types, or a mesh that
        does not divide rows or key-value heads.
    """
    b, s, n, h = q_BSNH.shape
    kv_heads = k_BSKH.shape[2]
    types = [x.dtype for x in (q_BSNH, k_BSKH, v_BSKH)]
    if types[0] not in DTYPES or len(set(types)) > 1:
        names = ", ".join(map(str, types))
        raise InputError(f"queries, keys, values are {names}", where="attention 'pallas'", fix="all bf16 or all fp32")
    largest = block_size(s, n // kv_heads * h * q_BSNH.dtype.itemsize)
    block = block or largest
    if block % BLOCKS[-1] or s % block:
        problem = f"blocks of {block} do not suit rows of {s} tokens"
        raise InputError(problem, where="attention 'pallas'", fix=f"use {largest}, or leave it out")
    limit = jnp.asarray(0 if window is None else window, jnp.int32)
    limit = jnp.where(limit == 0, jnp.iinfo(jnp.int32).max, limit)[None]
    static = _Static(block, window is not None, interpret, split_of(b, kv_heads))
    return _attention(q_BSNH, k_BSKH, v_BSKH, (tree, branch, position, limit), static)


@functools.partial(jax.custom_vjp, nondiff_argnums=(4,))
def _attention(q, k, v, ids, static):
    return _attention_fwd(q, k, v, ids, static)[0]


def _attention_fwd(q, k, v, ids, static):
    run = functools.partial(_forward, static)
    run = on_each_device(run, static.split, (TOKENS, TOKENS, TOKENS, IDS), (TOKENS, STATISTICS))
    out, lse = (checkpoint_name(x, "attention") for x in run(q, k, v, ids))
    return out, (q, k, v, ids, out, lse)


def _attention_bwd(static, saved, dout):
    run = functools.partial(_backward, static)
    axes = (TOKENS, TOKENS, TOKENS, IDS, TOKENS, STATISTICS, TOKENS)
    run = on_each_device(run, static.split, axes, (TOKENS, TOKENS, TOKENS))
    return *run(*saved, dout), None


_attention.defvjp(_attention_fwd, _attention_bwd)


@functools.partial(jax.jit, static_argnums=0)  # where remat saved its results a jit is dropped, a bare kernel is not
def _forward(static, q, k, v, ids):
    tree, kv_heads = ids[0], k.shape[2]
    arrays = _tokens_last(q, tree, kv_heads), _tokens_last(k, tree), _tokens_last(v, tree)
    out, lse = forward(_stacked(ids), *arrays, _scalars(static, ids), **static.of_kernels)
    return _tokens_second(out), lse


def _backward(static, q, k, v, ids, out, lse, dout):
    tree, kv_heads = ids[0], k.shape[2]
    q_BKGHS, out_BKGHS, dout_BKGHS = (_tokens_last(x, tree, kv_heads) for x in (q, out, dout))
    delta = (out_BKGHS.astype(jnp.float32) * dout_BKGHS.astype(jnp.float32)).sum(axis=3)
    arrays = (_stacked(ids), q_BKGHS, _tokens_last(k, tree), _tokens_last(v, tree), dout_BKGHS, lse, delta)
    dq = backward_queries(arrays, _scalars(static, ids), **static.of_kernels)
    dk, dv = backward_keys(arrays, _scalars(static, ids, by_key=True), **static.of_kernels)
    return tuple(map(_tokens_second, (dq, dk, dv)))


def _scalars(static, ids, by_key=False):
    *rows, limit = ids
    kept = not_empty(*rows, limit[0] if static.windowed else None, static.block)
    return tk.Scalars(*steps(kept, by_key=by_key), limit)


def _stacked(ids):
    """ids_BIS: see ``tree_kernel.IDS``."""
    tree, branch, position, _ = ids
    of_key = jnp.where(tree == 0, jnp.iinfo(jnp.int32).min, tree)
    return jnp.stack([tree, branch, position, of_key] + [tree] * (tk.IDS - 4), axis=1)


def _tokens_last(x_BSNH, tree, groups=None):
    """x_BNHS, or x_BKGHS for so many groups of heads, with 0 in padding."""
    b, s, n, h = x_BSNH.shape
    x_BNHS = jnp.where((tree != 0)[..., None, None], x_BSNH, 0).transpose(0, 2, 3, 1)
    return x_BNHS if groups is None else x_BNHS.reshape(b, groups, n // groups, h, s)


def _tokens_second(x):
    """x_BSNH of x_BNHS or x_BKGHS."""
    b, *_, h, s = x.shape
    return x.reshape(b, -1, h, s).transpose(0, 3, 1, 2)
