"""Shardings of everything a training step touches, derived from the logical axes of the parameters."""

from __future__ import annotations

from typing import Any

import jax
import optax
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from encore_jax.data.prefix_tree import TreeBatch
from encore_jax.model.config import DecoderConfig
from encore_jax.model.heads import declare_heads
from encore_jax.model.lora import Lora, declare_lora
from encore_jax.model.params import logical_axes
from encore_jax.parallel.mesh import BATCH, replicated, sharding
from encore_jax.parallel.placement import check_divides, placed, with_shardings
from encore_jax.train.gradient import TrainBatch
from encore_jax.train.state import TrainState

__all__ = [
    "batch_shardings",
    "check_divides",
    "param_shardings",
    "place",
    "state_shardings",
    "with_shardings",
]


def param_shardings(cfg: DecoderConfig, mesh: Mesh, lora: Lora | None = None) -> dict[str, Any]:
    """Shardings of {"backbone", "heads", "lora"}, the parameters of a reward model."""
    heads = {name: PartitionSpec(*p.axes) for name, p in declare_heads(cfg.width, 1).items()}
    logical: dict[str, Any] = {"backbone": logical_axes(cfg), "heads": heads}
    if lora:
        logical["lora"] = {name: PartitionSpec(*p.axes) for name, p in declare_lora(cfg, lora).items()}
    return jax.tree.map(lambda axes: sharding(mesh, axes), logical)


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
    return jax.tree.map(placed, batch, shardings)
