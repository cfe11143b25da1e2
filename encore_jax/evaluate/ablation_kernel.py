"""Decisions of many weightings over the same comparisons, as one program: the heart of the ablation engine.

A setting chooses entropies, a temperature and a subset of the rules, hence weights w; it decides comparison n by the
sign of Σ_k w_k Δ_nk. All settings of a range are decided by one matrix product per tile, whose result never leaves the
cache: it is compared and counted where it stands. Bootstrap replicates reuse the decisions: they cost one product of
the decisions with how often each comparison was drawn.

Letters: N comparisons, K rules, S settings, E entropies, T temperatures, M subsets, R replicates.
"""

from __future__ import annotations

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.sharding import AxisType, Mesh, PartitionSpec
from jaxtyping import Array, Bool, Float, Int

from encore_jax.composition.weights import softmax_over
from encore_jax.evaluate.ablation_grid import digits_after

SETTINGS = "settings"
"""The mesh axis over which settings are split."""
_TIE = 4096.0
"""What a tie adds to the packed count of a tile, beside 1 for each correct decision: exact in fp32 for 2048 rows."""


class Tile(NamedTuple):
    """Comparisons (at most 2048) and settings decided at once."""

    comparisons: int
    settings: int


CACHED = Tile(2048, 256)
"""For CPUs: two megabytes of margins, which stay in the cores' caches between the product and the counting."""
WIDE = Tile(2048, 4096)
"""For accelerators."""


class Tables(NamedTuple):
    """What settings choose from.

    Attributes:
      entropy: ``[E, K]``.
      tau: ``[T]``; infinity means equal weights.
      subset: ``[M, K]``, which rules take part.
    """

    entropy: Float[Array, "E K"]
    tau: Float[Array, " T"]
    subset: Bool[Array, "M K"]

    @property
    def shape(self) -> tuple[int, int, int]:
        """Of the grid of settings: entropies, temperatures, subsets."""
        return len(self.entropy), len(self.tau), len(self.subset)


class Decided(NamedTuple):
    """How many comparisons each setting got right and how many it left open; int ``[S]``, or fp32 ``[S, R]``."""

    correct: Array
    ties: Array


def setting_weights(tables: Tables, digits: Int[Array, "S 3"]) -> Float[Array, "S K"]:
    """ENCORE's weights within the chosen subset, 0 outside of it."""
    entropy, tau, subset = (table[digits[:, i]] for i, table in enumerate(tables))
    return softmax_over(jnp.where(subset, -entropy, -jnp.inf), tau[:, None])


def tile_here() -> Tile:
    """The tile for the devices of this process."""
    return CACHED if jax.default_backend() == "cpu" else WIDE


def decide(
    margin: Float[Array, "N K"],
    weight: Float[Array, "S K"],
    times: Float[Array, "R N"] | None = None,
    tile: Tile = CACHED,
) -> Decided:
    """Decides all N comparisons by all S weightings, tile by tile; call it under `jax.jit`.

    Args:
      margin: per-rule margins, preferred minus other.
      weight: any scale, since only signs matter.
      times: how often each replicate draws each comparison; `None` counts every comparison once.
      tile: its size changes nothing but the speed.

    Returns:
      int32 ``[S]``, or with `times` fp32 ``[S, R]``.
    """
    n, settings = len(margin), len(weight)
    tile = Tile(min(tile.comparisons, n), min(tile.settings, settings))
    margin_IxNxK = _tiled(margin, tile.comparisons)
    unreal = margin_IxNxK.shape[0] * margin_IxNxK.shape[1] - n  # rows of padding: margins 0, so they all tie
    drawn = () if times is None else (_tiled(times.T, tile.comparisons),)
    start = (
        jnp.zeros((2, tile.settings, len(times)), jnp.float32) if drawn else jnp.zeros((2, tile.settings), jnp.int32)
    )

    def one_tile(weight_SxK):
        def add(counts, chunk):
            return counts + _counted(_margins(chunk[0], weight_SxK), *chunk[1:]), None

        return jax.lax.scan(add, start, (margin_IxNxK, *drawn))[0]

    counts = jax.lax.map(one_tile, _tiled(weight, tile.settings)).swapaxes(0, 1)
    correct, ties = counts.reshape(2, -1, *counts.shape[3:])[:, :settings]
    return Decided(correct, ties - unreal if times is None else ties)


def _margins(margin_NxK, weight_SxK):
    return jax.lax.dot_general(margin_NxK, weight_SxK, (((1,), (1,)), ((), ())), precision="highest")


def _counted(margin_NxS, times_NxR=None):
    """Correct and ties ``[2, S]`` of a tile, or ``[2, S, R]`` as often as each replicate draws the comparisons."""
    if times_NxR is not None:
        hits = jnp.stack([margin_NxS > 0, margin_NxS == 0]).astype(jnp.float32)
        return jnp.einsum("hns,nr->hsr", hits, times_NxR, precision="highest")
    # One pass over the tile: both counts are digits of one fp32 sum.
    packed = jnp.where(margin_NxS > 0, 1.0, jnp.where(margin_NxS == 0, _TIE, 0.0)).sum(0).astype(jnp.int32)
    return jnp.stack([packed % int(_TIE), packed // int(_TIE)])


def _tiled(rows, size):
    """``[N, ...]`` to ``[tiles, size, ...]``, padded with zeros."""
    padded = jnp.pad(rows, ((0, -len(rows) % size), *((0, 0),) * (rows.ndim - 1)))
    return padded.reshape(-1, size, *rows.shape[1:])


@functools.partial(jax.jit, static_argnames=("count", "mesh", "tile"))
def decide_range(
    margin: Float[Array, "N K"],
    tables: Tables,
    start: Int[Array, "3"],
    times: Float[Array, "R N"] | None = None,
    *,
    count: int,
    mesh: Mesh,
    tile: Tile = CACHED,
) -> Decided:
    """Decides the comparisons by `count` consecutive settings, split over the devices of a mesh.

    A tile's weights are made when they are needed, so memory grows with the results only.

    Args:
      margin, times, tile: see `decide`.
      tables: what settings choose from; the last, subset, changes fastest.
      start: digits of the first setting; past the end of the grid it begins again.
      count: how many settings.
      mesh: has an axis "settings".
    """
    share = -(-count // mesh.shape[SETTINGS])
    tile = Tile(tile.comparisons, min(tile.settings, share))
    share += -share % tile.settings

    def on_device(margin, tables, start, times):
        def one_tile(first):
            digits = digits_after(start, first + jnp.arange(tile.settings, dtype=jnp.int32), tables.shape)
            return decide(margin, setting_weights(tables, digits), times, tile)

        firsts = jax.lax.axis_index(SETTINGS) * share + jnp.arange(0, share, tile.settings, dtype=jnp.int32)
        decided = jax.lax.map(one_tile, firsts)
        return jax.tree.map(lambda counts: counts.reshape(share, *counts.shape[2:]), decided)

    whole, split = PartitionSpec(), PartitionSpec(SETTINGS)
    program = jax.shard_map(on_device, mesh=mesh, in_specs=(whole,) * 4, out_specs=split, check_vma=False)
    return jax.tree.map(lambda counts: counts[:count], program(margin, tables, start, times))


def settings_mesh() -> Mesh:
    """All devices along the axis "settings"."""
    return jax.make_mesh((jax.device_count(),), (SETTINGS,), axis_types=(AxisType.Auto,))
