"""Lowering a step for a mesh of NVIDIA GPUs on a machine that has none, cuDNN attention included.

jax asks for two things that such a machine lacks, although neither is needed to lower: the version of the installed
cuDNN, which it compares with the least one for newer features, and concrete devices for cuDNN's calls, whose
partitioning may depend on them (ours are inside ``shard_map``, partitioned already). Both questions are answered here
for the time of the export; they are jax's own names, so ``tests/parallel/test_cuda_export.py`` would tell of a change.
"""

import contextlib
from collections.abc import Callable
from unittest import mock

import flax.linen as nn
import jax
from jax._src import dispatch
from jax._src.cudnn import fused_attention_stablehlo as cudnn
from jax.sharding import AbstractDevice, AbstractMesh, AxisType

from encore_jax.parallel.mesh import AXES, LOGICAL_RULES, MeshSettings, mesh_shape

CUDNN_VERSION = 91000
"""cuDNN 9.10, as jax counts."""
CUDNN_CALLS = ("__cudnn$fmhaScaleBiasSoftmax", "__cudnn$fmhaScaleBiasSoftmaxBackward")
"""Calls without jax's promise to run in later versions: what is exported is for the version that exported it."""


def described_gpus(settings: MeshSettings, count: int, kind: str = "NVIDIA H100") -> AbstractMesh:
    """The mesh over so many GPUs that need not be there; attention "auto" is cuDNN's under it.

    Raises:
      InputError: see ``mesh_shape``.

    >>> described_gpus(MeshSettings(tensor=2), 8).axis_sizes
    (1, 4, 1, 2)
    """
    device = AbstractDevice(device_kind=kind, num_cores=None, platform="gpu")
    return AbstractMesh(
        mesh_shape(settings, count), AXES, axis_types=(AxisType.Auto,) * len(AXES), abstract_device=device
    )


def export_for_gpus(step: Callable, mesh: AbstractMesh, *args) -> jax.export.Exported:
    """A jitted step lowered for CUDA and the mesh; ``mlir_module()`` of the result is its StableHLO.

    Args:
      step: result of ``jax.jit``; traced here, under the mesh and the logical axis rules.
      mesh: see ``described_gpus``.
      args: ``jax.ShapeDtypeStruct``s with shardings over the mesh.
    """
    checks = [jax.export.DisabledSafetyCheck.custom_call(name) for name in CUDNN_CALLS]
    with _cudnn_without_gpu(), jax.sharding.use_abstract_mesh(mesh), nn.logical_axis_rules(LOGICAL_RULES):
        return jax.export.export(step, platforms=["cuda"], disabled_checks=checks)(*args)


@contextlib.contextmanager
def _cudnn_without_gpu():
    needy = {p for p in dispatch.prim_requires_devices_during_lowering if "dot_product_attention" not in p.name}
    with (
        mock.patch.object(cudnn, "check_cudnn_version", lambda: CUDNN_VERSION),
        mock.patch.object(dispatch, "prim_requires_devices_during_lowering", needy),
    ):
        yield
