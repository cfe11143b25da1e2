"""What runs and the batch scorer say of devices: --mesh and --multihost."""

from __future__ import annotations

from absl import flags

from encore_jax.parallel.mesh_text import HELP, MULTIHOST


def define_devices() -> None:
    """Defines ``--mesh`` and ``--multihost``, once in a process."""
    if "mesh" not in flags.FLAGS:
        flags.DEFINE_string("mesh", "", HELP)
        flags.DEFINE_string("multihost", "", MULTIHOST)
