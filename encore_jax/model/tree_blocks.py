"""Which blocks of rows of packed prefix trees hold anything to attend to, as lists that a kernel walks.

A row of S tokens is cut into as many query blocks as key blocks. A pair of them is *empty* when no query of the one
sees a key of the other; the lists hold the other pairs. They are made from the ids when the program runs, so one
program serves every batch.

Shape letters: B rows, S tokens, n = S / block blocks, T = n (n + 1) / 2 pairs of blocks on and below the diagonal.
"""

from __future__ import annotations

from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Int

from encore_jax.errors import InputError

BLOCKS = (512, 256, 128)
"""Largest first: a pair of blocks of 512 takes less time than four of 256, by the compiled kernels' instruction
counts, which long trees gain from more than short ones lose by skipping less."""
GROUP_BYTES = 1 << 20
"""Most bytes of one block of queries of all heads that share a key-value head. A kernel holds up to six such blocks
beside its scores in on-chip memory, of which TPU v4 has 16 MiB."""


class Steps(NamedTuple):
    """The pairs of blocks that a kernel goes through for each row, in this order.

    Attributes:
      count: how many pairs; entries from ``count[b]`` on are pairs that are left out.
      query, key: their query block and key block.
    """

    count: Int[Array, " B"]
    query: Int[Array, "B T"]
    key: Int[Array, "B T"]


def block_size(length: int, token_bytes: int = 0) -> int:
    """Tokens per block: the largest of ``BLOCKS`` that divides the row and fits on the chip.

    Args:
      length: S.
      token_bytes: size of one token's queries in all heads of one key-value head.

    Raises:
      InputError: S is not a multiple of the smallest block.

    >>> [block_size(s) for s in (128, 768, 2048)]
    [128, 256, 512]
    """
    if length % BLOCKS[-1]:
        raise InputError(
            f"rows of {length} tokens do not divide into blocks of {BLOCKS[-1]}",
            where="attention 'pallas'",
            fix=f"pad rows to {-(-length // BLOCKS[-1]) * BLOCKS[-1]} tokens, or use attention 'xla'",
        )
    fits = (block for block in BLOCKS if length % block == 0 and block * token_bytes <= GROUP_BYTES)
    return next(fits, BLOCKS[-1])


def not_empty(
    tree: Int[Array, "B S"],
    branch: Int[Array, "B S"],
    position: Int[Array, "B S"],
    window: Int[Array, ""] | int | None,
    block: int,
) -> Bool[Array, "B n n"]:
    """Pairs (query block, key block) to go through: those that may hold a visible pair of tokens, and the diagonal.

    Each query that is no padding asks of each key block: does your range of (tree, branch) contain my prefix or my own
    branch, and, under a window, is your last position near enough? A range contains all that is in the block, so no
    pair with anything to see is left out, whatever the ids are. In rows as ``prefix_tree.lay_out`` writes them, whose
    ids rise, it contains nothing else, so nothing is kept in vain, except for trees without a prefix, and under a
    window for blocks of several trees. The diagonal is kept even in padding, so that every output gets written.

    Args:
      tree, branch, position, window: see ``visibility.visible``.
      block: tokens per block.
    """
    b, s = tree.shape
    n = s // block
    real, root = tree != 0, tree << 16
    own = root + branch  # equal ids have equal codes, whatever overflows; that is all that safety needs
    bounds = jnp.iinfo(jnp.int32)

    def of_blocks(x, reduce, fill):
        return reduce(jnp.where(real, x, fill).reshape(b, n, block), axis=-1)[:, None]

    low, high = of_blocks(own, jnp.min, bounds.max), of_blocks(own, jnp.max, bounds.min)
    meets = jnp.zeros((b, s, n), bool)
    for code in (root[..., None], own[..., None]):
        meets |= (low <= code) & (code <= high)
    if window is not None:
        back = position[..., None] - of_blocks(position, jnp.max, 0)
        meets &= (back < window) | (jnp.asarray(window) == 0)
    kept = (meets & real[..., None]).reshape(b, n, block, n).any(axis=2)
    return (kept & np.tri(n, dtype=bool)[None]) | np.eye(n, dtype=bool)[None]


def steps(kept: Bool[Array, "B n n"], *, by_key: bool = False) -> Steps:
    """The kept pairs of each row, query block by query block or key block by key block.

    >>> count, query, key = steps(jnp.array([[[1, 0, 0], [0, 1, 0], [1, 0, 1]]], bool))
    >>> int(count[0]), query[0, :4].tolist(), key[0, :4].tolist()
    (4, [0, 1, 2, 2], [0, 1, 0, 2])
    """
    query, key = np.tril_indices(kept.shape[-1])
    if by_key:
        order = np.lexsort((query, key))
        query, key = query[order], key[order]
    listed = kept[:, query, key]
    order = jnp.argsort(~listed, axis=-1, stable=True)
    count = listed.sum(-1, dtype=jnp.int32)
    return Steps(count, jnp.asarray(query, jnp.int32)[order], jnp.asarray(key, jnp.int32)[order])
