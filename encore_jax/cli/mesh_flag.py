"""--mesh of a run, which says in one word how devices share its model."""

from __future__ import annotations

from encore_jax.cli.command import Given, check_once
from encore_jax.errors import InputError
from encore_jax.parallel.mesh import parse_mesh
from encore_jax.parallel.mesh_text import axis_sizes
from encore_jax.recipes.run_config import RunConfig


def take_mesh(config: RunConfig, given: Given, text: str) -> None:
    """Fills in the configuration's mesh; the axes are then as stated as by ``--config.mesh.AXIS``.

    Args:
      config: not locked yet.
      given: the command line.
      text: what ``--mesh`` says.

    Raises:
      InputError: a run without a mesh, a malformed text, or an axis that is given twice.
    """
    if not hasattr(config, "mesh"):
        fix = "leave it out: this run puts no model on devices"
        raise InputError("has no effect here", where="--mesh", fix=fix)
    for axis, size in axis_sizes(text).items():
        check_once(given, "--mesh", f"mesh.{axis}")
        given.overrides[f"mesh.{axis}"] = str(size)
    config.mesh = parse_mesh(text, config.mesh)
