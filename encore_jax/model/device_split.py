"""Runs a function of attention on each device's rows and heads: kernels cannot be partitioned by the compiler.

The mesh is the one set with ``jax.set_mesh``; which of its axes split rows and heads is told by the logical axis rules
in force (names "batch" and "act_kv_heads"), as for every other activation.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import flax.linen as nn
import jax
from jax.sharding import PartitionSpec

from encore_jax.errors import InputError

Axes = tuple[str, ...] | str | None


class Split(NamedTuple):
    """Mesh axes over which rows and heads are split."""

    rows: Axes
    heads: Axes


ROWS, HEADS = Split._fields
"""Names of the axes of arrays that are split; other axes are None."""


def split_of(rows: int, kv_heads: int) -> Split | None:
    """How the current mesh splits attention; None without a mesh, or inside ``shard_map``, where it is split already.

    Raises:
      InputError: the devices do not divide the rows or the key-value heads.
    """
    mesh = jax.sharding.get_abstract_mesh()
    if mesh.empty or mesh.are_all_axes_manual:
        return None
    split = Split(*nn.logical_to_mesh_axes(("batch", "act_kv_heads")))
    for size, axes, what, fix in (
        (rows, split.rows, "rows", "make the rows of a batch a multiple of it"),
        (kv_heads, split.heads, "key-value heads", "use fewer devices on that axis, or attention 'xla'"),
    ):
        names = (axes,) if isinstance(axes, str) else axes or ()
        devices = math.prod(mesh.shape[name] for name in names)
        if size % devices:
            raise InputError(f"{size} {what} do not divide over {devices} devices of {names}", where="mesh", fix=fix)
    return split


def on_each_device(function: Callable, split: Split | None, in_axes, out_axes) -> Callable:
    """The function applied by each device to its share of the arguments.

    Args:
      in_axes, out_axes: pytrees of tuples that name the axes of each array ``ROWS``, ``HEADS`` or None.
    """
    if split is None:
        return function

    def specs(axes):
        return jax.tree.map(
            lambda names: PartitionSpec(*(name and getattr(split, name) for name in names)),
            axes,
            is_leaf=lambda x: isinstance(x, tuple) and all(isinstance(name, str | None) for name in x),
        )

    # The kernels' outputs do not say over which axes they vary, so this cannot be checked.
    return jax.shard_map(function, in_specs=specs(in_axes), out_specs=specs(out_axes), check_vma=False)
