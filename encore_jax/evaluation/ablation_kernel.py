"""Decisions of many weightings over the same comparisons, as one program: the heart of the ablation engine.

A setting chooses entropies, a temperature and a subset of the rules and so weights w; it decides comparison n by the
sign of Σ_k w_k Δ_nk. All settings of a range are decided by one matrix product per tile, whose result never leaves the
cache: it is compared and counted where it stands. Bootstrap replicates reuse the decisions: they cost one product of
the decisions with how often each comparison was drawn.

A margin within its own rounding error is a tie (`encore_jax.composition.ties`), |Σ_k w_k Δ_nk| ≤ Σ_k w_k e_nk. The
right side is a second product as large as the first, and almost no margin is so small. So a bound that costs nothing
comes first: a margin beyond Σ_k w_k max_n e_nk is decided, and one of exactly 0 is a tie. Only settings with a margin
in between get the second product; where ratings lie on a grid and weights are equal, these are all.

Letters: N comparisons, K rules, S settings, E entropies, T temperatures, M subsets, R replicates.
"""

from __future__ import annotations

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.sharding import AxisType, Mesh, PartitionSpec
from jaxtyping import Array, Bool, Float, Int

from encore_jax.composition.ties import is_tie, rule_tolerance, sign
from encore_jax.composition.weights import softmax_over
from encore_jax.evaluation.ablation_grid import digits_after

SETTINGS = "settings"
"""The mesh axis over which settings are split."""
_DIGIT = 11
"""Bits of a digit of a tile's packed counts: correct decisions, ties, and (in the 10 that are left) open ones."""
MOST_COMPARISONS = 1023
"""Of a tile, so that each count fits its digit."""
_SLACK = 1.01
"""On the bound that comes first, for the rounding of its own sum."""
_FEW = (32, 8)
"""Up to these parts of a tile's settings the second product is made for these alone."""


class Tile(NamedTuple):
    """Comparisons (at most `MOST_COMPARISONS`) and settings decided at once."""

    comparisons: int
    settings: int


CACHED = Tile(MOST_COMPARISONS, 512)
"""For CPUs: two megabytes of margins, which stay in the cores' caches between the product and the counting."""
WIDE = Tile(MOST_COMPARISONS, 4096)
"""For accelerators."""


class Tables(NamedTuple):
    """What settings choose from.

    Attributes:
      entropy: ``[E, K]``.
      tau: ``[T]``; infinity means equal weights.
      subset: ``[M, K]``, which rules take part.
      prior: ``[P, K]``, what entropy weights are multiplied by, e.g. agreement's weights; None for no such choice.
    """

    entropy: Float[Array, "E K"]
    tau: Float[Array, " T"]
    subset: Bool[Array, "M K"]
    prior: Float[Array, "P K"] | None = None

    @property
    def shape(self) -> tuple[int, ...]:
        """Of the grid of settings: entropies, temperatures, subsets, and priors if there are any."""
        return tuple(len(table) for table in self if table is not None)


class Decided(NamedTuple):
    """How many comparisons each setting got right and how many it left open; int ``[S]``, or fp32 ``[S, R]``."""

    correct: Array
    ties: Array


def setting_weights(tables: Tables, digits: Int[Array, "S A"]) -> Float[Array, "S K"]:
    """ENCORE's weights within the chosen subset times the chosen prior, on any scale; 0 outside of the subset."""
    entropy, tau, subset = (table[digits[:, i]] for i, table in enumerate(tables[:3]))
    weights = softmax_over(jnp.where(subset, -entropy, -jnp.inf), tau[:, None])
    return weights if tables.prior is None else weights * tables.prior[digits[:, 3]]


def tile_here() -> Tile:
    """The tile for the devices of this process."""
    return CACHED if jax.default_backend() == "cpu" else WIDE


def decide(
    margin: Float[Array, "N K"],
    weight: Float[Array, "S K"],
    times: Float[Array, "R N"] | None = None,
    tile: Tile = CACHED,
    tolerance: Float[Array, "N K"] | None = None,
) -> Decided:
    """Decides all N comparisons by all S weightings, tile by tile; call it under `jax.jit`.

    Args:
      margin: per-rule margins, preferred minus other.
      weight: any scale, since only signs matter.
      times: how often each replicate draws each comparison; `None` counts every comparison once.
      tile: its size changes nothing but the speed.
      tolerance: how far rounding may have moved each margin, as from `margin_tolerances`; left out, the scores behind
        the margins count as exact.

    Returns:
      int32 ``[S]``, or with `times` fp32 ``[S, R]``.
    """
    n, settings = len(margin), len(weight)
    tolerance = rule_tolerance(margin) if tolerance is None else tolerance
    tiles = -(-n // min(tile.comparisons, MOST_COMPARISONS))
    tile = Tile(-(-n // tiles), min(tile.settings, settings))  # of even sizes, so that little is padding
    chunks = [_tiled(rows, tile.comparisons) for rows in (margin, tolerance)]
    unreal = tiles * tile.comparisons - n  # rows of padding: margins 0, so they all tie
    if times is None:
        start, count = jnp.zeros((2, tile.settings), jnp.int32), functools.partial(_counted, largest_K=tolerance.max(0))
    else:
        start, count = jnp.zeros((2, tile.settings, len(times)), jnp.float32), _drawn
        chunks.append(_tiled(times.T, tile.comparisons))

    def one_tile(weight_SxK):
        def add(counts, chunk):
            return counts + count(weight_SxK, *chunk), None

        return jax.lax.scan(add, start, tuple(chunks))[0]

    counts = jax.lax.map(one_tile, _tiled(weight, tile.settings)).swapaxes(0, 1)
    correct, ties = counts.reshape(2, -1, *counts.shape[3:])[:, :settings]
    return Decided(correct, ties - unreal if times is None else ties)


def _product(rows_NxK, weight_SxK):
    return jax.lax.dot_general(rows_NxK, weight_SxK, (((1,), (1,)), ((), ())), precision="highest")


def _counted(weight_SxK, margin_NxK, tolerance_NxK, largest_K):
    """Correct and ties ``[2, S]`` of a tile; see the top of this file."""
    settings, weight_SxK_size = len(weight_SxK), jnp.abs(weight_SxK)
    margin_NxS = _product(margin_NxK, weight_SxK)
    bound_S = _SLACK * jnp.matmul(weight_SxK_size, largest_K, precision="highest")[None]
    # One pass over the tile: all counts are digits of one sum.
    correct, tie, open_ = (jnp.uint32(1 << _DIGIT * digit) for digit in range(3))
    not_won = jnp.where(margin_NxS == 0, tie, jnp.where(margin_NxS >= -bound_S, open_, jnp.uint32(0)))
    packed_S = jnp.where(margin_NxS > bound_S, correct, not_won).sum(0)
    digit = jnp.uint32((1 << _DIGIT) - 1)
    counts = jnp.stack([packed_S & digit, packed_S >> _DIGIT & digit]).astype(jnp.int32)
    is_open_S = packed_S >> 2 * _DIGIT > 0

    def exactly(margin_NxS, weight_SxK_size):
        tolerance_NxS = _product(tolerance_NxK, weight_SxK_size)
        hits = sign(margin_NxS, tolerance_NxS) > 0, is_tie(margin_NxS, tolerance_NxS)
        return jnp.stack([hit.sum(0) for hit in hits]).astype(jnp.int32)

    def for_few(most, counts):
        chosen = jnp.nonzero(is_open_S, size=most, fill_value=settings)[0]
        weight = weight_SxK.at[chosen].get(mode="fill", fill_value=0)  # quicker than gathering margins
        return counts.at[:, chosen].set(exactly(_product(margin_NxK, weight), jnp.abs(weight)), mode="drop")

    def for_all(counts):
        return exactly(margin_NxS, weight_SxK_size)

    sizes, number = [-(-settings // part) for part in _FEW], is_open_S.sum()
    branch = sum((number > size).astype(jnp.int32) for size in (0, *sizes))
    branches = [lambda counts: counts, *(functools.partial(for_few, size) for size in sizes), for_all]
    return jax.lax.switch(branch, branches, counts)


def _drawn(weight_SxK, margin_NxK, tolerance_NxK, times_NxR):
    """Correct and ties ``[2, S, R]`` of a tile, as often as each replicate draws its comparisons."""
    margin, tolerance = _product(margin_NxK, weight_SxK), _product(tolerance_NxK, jnp.abs(weight_SxK))
    hits = jnp.stack([sign(margin, tolerance) > 0, is_tie(margin, tolerance)]).astype(jnp.float32)
    return jnp.einsum("hns,nr->hsr", hits, times_NxR, precision="highest")


def _tiled(rows, size):
    """``[N, ...]`` to ``[tiles, size, ...]``, padded with zeros."""
    padded = jnp.pad(rows, ((0, -len(rows) % size), *((0, 0),) * (rows.ndim - 1)))
    return padded.reshape(-1, size, *rows.shape[1:])


@functools.partial(jax.jit, static_argnames=("count", "mesh", "tile"))
def decide_range(
    margin: Float[Array, "N K"],
    tables: Tables,
    start: Int[Array, " A"],
    times: Float[Array, "R N"] | None = None,
    *,
    count: int,
    mesh: Mesh,
    tile: Tile = CACHED,
    tolerance: Float[Array, "N K"] | None = None,
) -> Decided:
    """Decides the comparisons by `count` consecutive settings, split over the devices of a mesh.

    A tile's weights are made when they are needed, so memory grows with the results only.

    Args:
      margin, times, tile, tolerance: see `decide`.
      tables: what settings choose from; the last changes fastest.
      start: digits of the first setting; past the end of the grid it begins again.
      count: how many settings.
      mesh: has an axis "settings".
    """
    share = -(-count // mesh.shape[SETTINGS])
    tile = Tile(tile.comparisons, min(tile.settings, share))
    share += -share % tile.settings

    def on_device(margin, tables, start, times, tolerance):
        def one_tile(first):
            digits = digits_after(start, first + jnp.arange(tile.settings, dtype=jnp.int32), tables.shape)
            return decide(margin, setting_weights(tables, digits), times, tile, tolerance)

        firsts = jax.lax.axis_index(SETTINGS) * share + jnp.arange(0, share, tile.settings, dtype=jnp.int32)
        decided = jax.lax.map(one_tile, firsts)
        return jax.tree.map(lambda counts: counts.reshape(share, *counts.shape[2:]), decided)

    whole, split = PartitionSpec(), PartitionSpec(SETTINGS)
    program = jax.shard_map(on_device, mesh=mesh, in_specs=(whole,) * 5, out_specs=split, check_vma=False)
    return jax.tree.map(lambda counts: counts[:count], program(margin, tables, start, times, tolerance))


def settings_mesh() -> Mesh:
    """All devices along the axis "settings"."""
    return jax.make_mesh((jax.device_count(),), (SETTINGS,), axis_types=(AxisType.Auto,))
