"""What the kernels of attention over prefix trees share: their grid, their blocks, their mask.

The grid is (row, key-value head, step). A step is one pair of blocks of the row's list (``tree_blocks.Steps``), which
lies in scalar memory, where index maps read it. The grid ends with the longest list of all rows; a row with a shorter
one stays at its last pair for the rest, which fetches nothing and computes nothing.

Tokens lie along lanes in every block. So scores are [keys, queries], the statistics of their softmax are rows, and a
head dimension of 64 wastes no lanes. The G query heads of one key-value head share its blocks and one mask.

Shape letters: B rows, K key-value heads, G query heads for each, H head dimension, S tokens, I kinds of ids.
"""

from __future__ import annotations

import functools
import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jax.experimental import pallas as pl
from jax.experimental.pallas import tpu as pltpu

HIDDEN = -1e30
"""Added to the score of a hidden key."""
NOTHING = -1e20
"""Maximum of no scores: below any score, yet so far above a hidden one that hidden keys weigh exactly 0."""
TREE, BRANCH, POSITION, KEY_TREE, IDS = 0, 1, 2, 3, 8
"""Rows of ids_BIS; ``KEY_TREE`` is the tree as keys have it, and the four rows after it fill up a tile."""


class Scalars(NamedTuple):
    """What lies in scalar memory: the list of pairs of blocks, and the window [1] (positions back, exclusive)."""

    count: jax.Array
    query: jax.Array
    key: jax.Array
    limit: jax.Array

    def pair(self, b, t):
        """The query block and the key block of step t."""
        t = jnp.minimum(t, self.count[b] - 1)
        return self.query[b, t], self.key[b, t]


class Place(NamedTuple):
    """Of a grid step: its pair of blocks, whether it does anything, starts an output block, ends one."""

    query: jax.Array
    key: jax.Array
    live: jax.Array
    first: jax.Array
    last: jax.Array


def specs(block: int):
    """Two makers of block specs: of what goes with the query block, and of what goes with the key block.

    They take the sizes between the first axes and the tokens: [B, K, *sizes, S], or with ``heads=False``
    [B, *sizes, S].
    """

    def spec(which, *sizes, heads=True):
        def index(b, h, t, *scalars):
            return b, *(h,) * heads, *(0,) * len(sizes), Scalars(*scalars).pair(b, t)[which]

        return pl.BlockSpec((None, *(None,) * heads, *sizes, block), index)

    return functools.partial(spec, 0), functools.partial(spec, 1)


def call(kernel, scalars: Scalars, arrays, out_shape, in_specs, out_specs, scratch, *, products: int, interpret):
    """Runs a kernel over the grid.

    Args:
      kernel: gets references to scalars, arrays, outputs and fp32 scratch, in this order.
      arrays: the ids twice, then q_BKGHS, then the rest.
      scratch: shapes.
      products: matrix products per pair of blocks and query head, for the cost that the compiler is told; the cost is
        that of a full triangle, since what is skipped is not known to it.
    """
    b, heads, g, h, s = arrays[2].shape
    pairs = b * heads * g * s * (s + 1) // 2
    outs = jax.tree.leaves(out_shape)
    return pl.pallas_call(
        kernel,
        name=f"tree_attention{kernel.func.__name__}",
        out_shape=out_shape,
        grid_spec=pltpu.PrefetchScalarGridSpec(
            num_scalar_prefetch=len(scalars),
            grid=(b, heads, scalars.count.max()),
            in_specs=in_specs,
            out_specs=out_specs,
            scratch_shapes=[pltpu.VMEM(shape, jnp.float32) for shape in scratch],
        ),
        compiler_params=pltpu.CompilerParams(dimension_semantics=("parallel", "parallel", "arbitrary")),
        cost_estimate=pl.CostEstimate(
            flops=2 * products * h * pairs,
            transcendentals=pairs,
            bytes_accessed=sum(math.prod(x.shape) * x.dtype.itemsize for x in (*arrays, *outs)),
        ),
        interpret=interpret,
    )(*scalars, *arrays)


def place(scalars: Scalars, *, by_key: bool = False) -> Place:
    """Of the current step; ``by_key`` is that of the list. Must be called outside of conditions."""
    b, t = pl.program_id(0), pl.program_id(2)
    count, lead = scalars.count[b], scalars.key if by_key else scalars.query
    query, key = scalars.pair(b, t)
    here, live = key if by_key else query, t < count
    first = (t == 0) | (lead[b, jnp.maximum(t - 1, 0)] != here)
    last = (t == count - 1) | (lead[b, jnp.minimum(t + 1, count - 1)] != here)
    return Place(query, key, live, live & first, live & last)


def mask(at: Place, scalars: Scalars, q_ids, k_ids, windowed: bool):
    """0 where a query (column) sees a key (row), ``HIDDEN`` elsewhere: the rule of ``visibility.visible``.

    Except that padding sees nothing: as a key it is of no tree.
    """
    block = q_ids.shape[-1]
    of_keys = k_ids[...].T

    def query(row):
        return q_ids[row : row + 1, :]

    def key(row):
        return of_keys[:, row : row + 1]

    back = lax.broadcasted_iota(jnp.int32, (block, block), 1) - lax.broadcasted_iota(jnp.int32, (block, block), 0)
    seen = (back >= (at.key - at.query) * block) & (key(KEY_TREE) == query(TREE))
    seen &= (key(BRANCH) == 0) | (key(BRANCH) == query(BRANCH))
    if windowed:
        seen &= query(POSITION) - key(POSITION) < scalars.limit[0]
    return jnp.where(seen, 0.0, HIDDEN)


def dot(a, b, over: tuple[int, int]):
    """Product of two matrices over an axis of each, in fp32, exact for fp32 factors."""
    precision = lax.Precision.HIGHEST if a.dtype == jnp.float32 else None
    axes = (((over[0],), (over[1],)), ((), ()))
    return lax.dot_general(a, b, axes, precision=precision, preferred_element_type=jnp.float32)
