"""A reward model as a compiled program: token ids in, values of every token out, on devices that hold or share it.

Shape letters: B rows, S tokens in a row, D width, K rules, C values (K, or 2 K with a gate).
"""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from encore_jax.model.config import DecoderConfig
from encore_jax.model.decoder import Backbone
from encore_jax.model.gating import gate_weights
from encore_jax.model.heads import rule_scores
from encore_jax.parallel.mesh import BATCH, activate, batch_shards, replicated
from encore_jax.parallel.placement import backbone_shardings, placed

if TYPE_CHECKING:
    from encore_jax.reward.reward_model import RewardModel

WHOLE, SPLIT = PartitionSpec(), PartitionSpec("rows")
"""Parameters lie whole on every device; rows are split over them."""


class Program(NamedTuple):
    """The compiled model with its parameters where they lie.

    Attributes:
      values: parameters, kernel, bias, gate and a batch's tokens, trees, branches and positions ``[B, S]`` to values
        ``[B, S, C]``.
      held: the first four of these.
      rows: the sharding of a batch.
      shards: over how many devices rows are split.
      within: what is active while it runs.
    """

    values: Callable[..., jax.Array]
    held: tuple
    rows: NamedSharding
    shards: int
    within: Callable[[], contextlib.AbstractContextManager] = contextlib.nullcontext

    def __call__(self, *arrays_BS: np.ndarray) -> jax.Array:
        if self.rows.is_fully_addressable:
            placed_BS = jax.device_put(arrays_BS, self.rows)
        else:
            placed_BS = tuple(placed(x, self.rows) for x in arrays_BS)
        with self.within():
            return self.values(*self.held, *placed_BS)


def program_of(model: RewardModel, devices: Sequence | None = None) -> Program:
    """The program of a model: on its mesh, or whole on each of these devices, by default all of this process.

    Raises:
      InputError: the mesh's devices do not divide the model.
    """
    return _whole(model, devices or jax.local_devices()) if model.mesh is None else _shared(model)


def _whole(model: RewardModel, devices: Sequence) -> Program:
    """Every device holds the whole model."""
    mesh = Mesh(np.array(devices), ("rows",), axis_types=(AxisType.Auto,))
    held = jax.device_put((model.params, model.kernel, model.bias, model.gate), NamedSharding(mesh, WHOLE))
    values = _token_values(model.cfg, jnp.dtype(model.passport.dtype), mesh)
    return Program(values, held, NamedSharding(mesh, SPLIT), len(devices))


def _shared(model: RewardModel) -> Program:
    """The devices of the model's mesh share it."""
    mesh, whole = model.mesh, replicated(model.mesh)
    params = jax.device_put(model.params, backbone_shardings(model.cfg, mesh))
    heads = jax.tree.map(lambda x: placed(np.asarray(x, np.float32), whole), (model.kernel, model.bias, model.gate))
    values = shared_token_values(model.cfg, jnp.dtype(model.passport.dtype), mesh)
    return Program(values, (params, *heads), NamedSharding(mesh, PartitionSpec(BATCH)), batch_shards(mesh),
                    functools.partial(activate, mesh))  # fmt: skip


def _values_of(cfg: DecoderConfig, dtype: Any) -> Callable[..., jax.Array]:
    """A model's parts and a batch to values ``[B, S, C]``."""
    backbone = Backbone(cfg, dtype=dtype)

    def values(params, kernel_DK, bias_K, gate, tokens_BS, tree_BS, branch_BS, position_BS):
        hidden_BSD = backbone.apply({"params": params}, tokens_BS, tree_BS, branch_BS, position_BS)
        scores_BSK = rule_scores(hidden_BSD, kernel_DK, bias_K)
        if gate is None:
            return scores_BSK
        return jnp.concatenate([scores_BSK, gate_weights(hidden_BSD, gate)], -1)

    return values


@functools.lru_cache(maxsize=4)
def _token_values(cfg: DecoderConfig, dtype: Any, mesh: Mesh) -> Callable[..., jax.Array]:
    """The jitted map of a model that every device holds whole; the same one for models of one shape."""
    # By hand, not by the compiler: attention kernels cannot be partitioned, and need not know of the other devices.
    specs = dict(in_specs=(WHOLE,) * 4 + (SPLIT,) * 4, out_specs=SPLIT)
    return jax.jit(jax.shard_map(_values_of(cfg, dtype), mesh=mesh, check_vma=False, **specs))


@functools.lru_cache(maxsize=4)
def shared_token_values(cfg: DecoderConfig, dtype: Any, mesh: Mesh) -> Callable[..., jax.Array]:
    """The jitted map of a model that the devices of a mesh share; every one of them has all values in the end.

    It is traced where the mesh is active (`encore_jax.parallel.mesh.activate`), for devices that are only described as
    well.
    """
    return jax.jit(_values_of(cfg, dtype), out_shardings=replicated(mesh))
