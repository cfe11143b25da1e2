"""Where a backbone's parameters and a batch's rows lie on a mesh: the same for training and for scoring."""

from __future__ import annotations

import math
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh, PartitionSpec, Sharding

from encore_jax.errors import InputError
from encore_jax.model import params
from encore_jax.model.config import DecoderConfig
from encore_jax.parallel.mesh import sharding

_SPLIT = {"heads": "heads", "kv_heads": "key-value heads"}
"""Sizes of a model that axis tensor must divide, and their names in words."""


def backbone_shardings(cfg: DecoderConfig, mesh: Mesh) -> dict[str, Any]:
    """Shardings of a backbone's parameters, which the mesh divides.

    A vocabulary that axis tensor does not divide (a padding token was added to it, say) stays whole along that axis.

    Raises:
      InputError: the devices of an axis do not divide the heads or another size of the model.
    """
    for field, words in _SPLIT.items():
        size, tensor = getattr(cfg, field), mesh.shape["tensor"]
        if size % tensor:
            most = max(n for n in range(1, tensor + 1) if not cfg.heads % n and not cfg.kv_heads % n)
            raise InputError(
                f"the model's {size} {words} do not divide over {tensor} devices of axis tensor",
                where="mesh",
                fix=f"use tensor={most} at most, and fsdp for the other devices",
            )
    shardings = jax.tree.map(lambda axes: sharding(mesh, axes), params.logical_axes(cfg))
    if cfg.vocab_size % mesh.shape["tensor"]:
        axes = (None if axis == "vocab" else axis for axis in params.declare(cfg)["embed"].axes)
        shardings["embed"] = sharding(mesh, PartitionSpec(*axes))
    check_divides(params.abstract(cfg), shardings)
    return shardings


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


def placed(x: Any, where: Sharding) -> jax.Array:
    """A host array on the devices; every process transfers only what its own devices hold."""
    return jax.make_array_from_callback(np.shape(x), where, lambda at: x[at])


def with_shardings(abstract: Any, shardings: Any) -> Any:
    """`jax.ShapeDtypeStruct`s that say where their arrays lie."""
    return jax.tree.map(lambda x, where: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=where), abstract, shardings)
