"""Shardings of everything a training step touches, derived from the logical axes of the parameters."""

from __future__ import annotations

import math
from typing import Any

import jax
import optax
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from encore_jax.data.prefix_tree import TreeBatch
from encore_jax.errors import InputError
from encore_jax.model.config import DecoderConfig
from encore_jax.model.heads import declare_heads
from encore_jax.model.lora import Lora, declare_lora
from encore_jax.model.params import logical_axes
from encore_jax.parallel.mesh import BATCH, replicated, sharding
from encore_jax.train.gradient import TrainBatch
from encore_jax.train.state import TrainState


def param_shardings(cfg: DecoderConfig, mesh: Mesh, lora: Lora | None = None) -> dict[str, Any]:
    """Shardings of {"backbone", "heads", "lora"}, the parameters of a reward model."""
    heads = {name: PartitionSpec(*p.axes) for name, p in declare_heads(cfg.width, 1).items()}
    logical: dict[str, Any] = {"backbone": logical_axes(cfg), "heads": heads}
    if lora:
        logical["lora"] = {name: PartitionSpec(*p.axes) for name, p in declare_lora(cfg, lora).items()}
    return jax.tree.map(lambda axes: sharding(mesh, axes), logical)


def check_divides(abstract: Any, shardings: Any) -> None:
    """Makes sure that the devices divide every parameter.

    Raises:
      InputError: naming the first one that they do not, its axis and the mesh axes.
    """
    for (path, x), where in zip(jax.tree.leaves_with_path(abstract), jax.tree.leaves(shardings), strict=True):
        for axis, names in enumerate(where.spec):
            names = (names,) if isinstance(names, str) else names or ()
            devices = math.prod(where.mesh.shape[name] for name in names)
            if x.shape[axis] % devices:
                raise InputError(
                    f"axis {axis} of parameter {jax.tree_util.keystr(path, simple=True, separator='/')}, of size "
                    f"{x.shape[axis]}, does not divide over {devices} devices of {', '.join(names)}",
                    where="mesh",
                    fix=f"use fewer devices on axis {names[-1]}, and more on another one",
                )


def state_shardings(
    state: TrainState, optimizer: optax.GradientTransformation, of_params: dict[str, Any], mesh: Mesh
) -> TrainState:
    """Shardings of a (possibly abstract) training state: moments lie where their parameters lie.

    Args:
      state: arrays or `jax.ShapeDtypeStruct`s.
      optimizer: that made `state.optimizer`.
      of_params: from `param_shardings`.
      mesh: the devices.
    """
    trainable = {name: of_params[name] for name in state.trainable}
    moments = optax.tree_map_params(
        optimizer,
        lambda _, where: where,
        state.optimizer,
        trainable,
        transform_non_params=lambda _: replicated(mesh),
    )
    frozen = {name: of_params[name] for name in state.frozen}
    return TrainState(replicated(mesh), trainable, moments, frozen)


def batch_shardings(mesh: Mesh, stacked: bool = True) -> TrainBatch:
    """Rows are split over the batch axes; ends, ratings and pairs are small and on every device.

    Args:
      mesh: the devices.
      stacked: whether the batch has a leading axis of micro-batches.
    """
    rows, whole = NamedSharding(mesh, PartitionSpec(*(None,) * stacked, BATCH)), replicated(mesh)
    trees = TreeBatch(rows, rows, rows, rows, whole, whole, whole)
    return TrainBatch(trees, *(whole for _ in TrainBatch._fields[1:]))


def place(batch: TrainBatch, shardings: TrainBatch) -> TrainBatch:
    """A host batch on the devices; every process transfers only what its own devices hold."""
    return jax.tree.map(
        lambda x, where: jax.make_array_from_callback(x.shape, where, lambda at: x[at]), batch, shardings
    )


def with_shardings(abstract: Any, shardings: Any) -> Any:
    """`jax.ShapeDtypeStruct`s that say where their arrays lie."""
    return jax.tree.map(lambda x, where: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=where), abstract, shardings)
