"""The device mesh and the one table that maps logical axis names to it.

Mesh axes: "data" repeats the model, "fsdp" splits parameters and batch alike, "tensor" splits heads and MLP. Every
parameter and activation names its axes logically (`encore_jax.model.params`); nothing else knows about the mesh.
"""

import contextlib
import dataclasses
import math
from collections.abc import Iterator, Sequence

import flax.linen as nn
import jax
from jax.experimental import mesh_utils
from jax.sharding import AbstractMesh, AxisType, Mesh, NamedSharding, PartitionSpec

from encore_jax.errors import InputError
from encore_jax.settings import Settings

AXES = ("data", "fsdp", "tensor")
BATCH = ("data", "fsdp")
"""Mesh axes over which rows are split."""

LOGICAL_RULES = (
    # parameters
    ("vocab", "tensor"),
    ("embed", "fsdp"),
    ("heads", "tensor"),
    ("kv_heads", "tensor"),
    ("mlp", "tensor"),
    ("head_dim", None),
    ("layers", None),
    ("norm", None),
    ("rules", None),
    ("lora", None),
    # activations
    ("batch", BATCH),
    ("lookup_batch", "data"),
    ("seq", None),
    ("act_embed", None),
    ("act_heads", "tensor"),
    ("act_kv_heads", "tensor"),
    ("act_mlp", "tensor"),
)


@dataclasses.dataclass
class MeshSettings(Settings):
    """How many devices along each mesh axis; one of them may be -1, "all the rest".

    >>> mesh_shape(MeshSettings(data=2), 8)  # two replicas of the model, each split over four devices
    (2, 4, 1)

    Attributes:
      data: replicas of the model.
      fsdp: shards of parameters, gradients, optimizer state and batch.
      tensor: shards of heads and MLP within a layer.
    """

    data: int = 1
    fsdp: int = -1
    tensor: int = 1


def mesh_shape(settings: MeshSettings, devices: int) -> tuple[int, int, int]:
    """Sizes of (data, fsdp, tensor) for so many devices.

    Raises:
      InputError: more than one -1, or sizes that do not multiply to the number of devices.

    >>> mesh_shape(MeshSettings(tensor=2), 8)
    (1, 4, 2)
    """
    sizes = [getattr(settings, axis) for axis in AXES]
    known = math.prod(size for size in sizes if size != -1)
    if sizes.count(-1) > 1 or any(size == 0 or size < -1 for size in sizes):
        raise InputError(f"sizes {dict(zip(AXES, sizes, strict=True))}", where="mesh", fix="positive, at most one -1")
    shape = tuple(devices // known if size == -1 else size for size in sizes)
    if math.prod(shape) != devices:
        raise InputError(
            f"{dict(zip(AXES, sizes, strict=True))} does not fit {devices} devices",
            where="mesh",
            fix="sizes must multiply to the number of devices",
        )
    return shape


def make_mesh(settings: MeshSettings, devices: Sequence | None = None) -> Mesh:
    """The mesh over all devices, or over the given ones (of a topology that is only described, for instance)."""
    devices = jax.devices() if devices is None else devices
    # Neighbours of the torus next to each other, in whatever way the axes split it; the same for described devices.
    grid = mesh_utils.create_device_mesh(mesh_shape(settings, len(devices)), devices, allow_split_physical_axes=True)
    return Mesh(grid, AXES, axis_types=(AxisType.Auto,) * len(AXES))  # jax would default to Explicit


def batch_shards(mesh: Mesh | AbstractMesh) -> int:
    """Over how many devices the rows of a batch are split."""
    return math.prod(mesh.shape[axis] for axis in BATCH)


def platform_of(mesh: Mesh | AbstractMesh) -> str:
    """What kind of devices a mesh consists of, described ones included: "cpu", "tpu", "gpu"."""
    return mesh.abstract_device.platform if isinstance(mesh, AbstractMesh) else mesh.devices.flat[0].platform


def sharding(mesh: Mesh, logical: PartitionSpec) -> NamedSharding:
    """The sharding of an array whose axes are named logically.

    >>> tuple(sharding(make_mesh(MeshSettings()), PartitionSpec("layers", "embed", "mlp")).spec)
    (None, 'fsdp', 'tensor')
    """
    return nn.logical_to_mesh_sharding(logical, mesh, LOGICAL_RULES)


def replicated(mesh: Mesh) -> NamedSharding:
    """The sharding of what every device holds whole."""
    return NamedSharding(mesh, PartitionSpec())


@contextlib.contextmanager
def activate(mesh: Mesh) -> Iterator[None]:
    """Within it, logical constraints and kernels know the mesh; tracing must happen inside."""
    with jax.set_mesh(mesh), nn.logical_axis_rules(LOGICAL_RULES):
        yield
