"""The device mesh and the one table that maps logical axis names to it.

Mesh axes: "data" repeats the model, "fsdp" splits parameters and batch alike, "expert" splits the experts of a mixture,
and the batch too, "tensor" splits heads and MLP. Every parameter and activation names its axes logically
(`encore_jax.model.params`); nothing else knows about the mesh.
"""

import contextlib
import dataclasses
import math
from collections.abc import Iterator, Sequence

import flax.linen as nn
import jax
import numpy as np
from jax.experimental import mesh_utils
from jax.sharding import AbstractMesh, AxisType, Mesh, NamedSharding, PartitionSpec

from encore_jax.errors import InputError
from encore_jax.settings import Settings

AXES = ("data", "fsdp", "expert", "tensor")
BATCH = ("data", "fsdp", "expert")
"""Mesh axes over which rows are split."""

LOGICAL_RULES = (
    # parameters
    ("vocab", "tensor"),
    ("embed", "fsdp"),
    ("heads", "tensor"),
    ("kv_heads", "tensor"),
    ("mlp", "tensor"),
    ("experts", "expert"),
    ("router", None),
    ("head_dim", None),
    ("layers", None),
    ("norm", None),
    ("rules", None),
    ("lora", None),
    # activations
    ("batch", BATCH),
    ("lookup_batch", ("data", "expert")),
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
    (2, 4, 1, 1)

    Attributes:
      data: replicas of the model.
      fsdp: shards of parameters, gradients, optimizer state and batch.
      expert: shards of the experts of a mixture, and of the batch; 1 for other models.
      tensor: shards of heads and MLP within a layer.
    """

    data: int = 1
    fsdp: int = -1
    expert: int = 1
    tensor: int = 1


def replicas() -> MeshSettings:
    """What scoring takes where nothing else is said: the whole model on each device, and rows split over all of them.

    >>> mesh_shape(replicas(), 8)
    (8, 1, 1, 1)
    """
    return MeshSettings(data=-1, fsdp=1)


def parse_mesh(text: str, usual: MeshSettings | None = None) -> MeshSettings:
    """The mesh that ``--mesh`` says; axes that it does not name are as usual (`replicas`).

    Raises:
      InputError: see `encore_jax.parallel.mesh_text.axis_sizes`.

    >>> mesh_shape(parse_mesh("tensor=4"), 8), mesh_shape(parse_mesh("fsdp=-1"), 8)
    ((2, 1, 1, 4), (1, 8, 1, 1))
    """
    from encore_jax.parallel.mesh_text import axis_sizes, with_sizes

    return MeshSettings(**with_sizes(dataclasses.asdict(usual or replicas()), axis_sizes(text)))


def mesh_shape(settings: MeshSettings, devices: int) -> tuple[int, int, int, int]:
    """Sizes of (data, fsdp, expert, tensor) for so many devices.

    Raises:
      InputError: more than one -1, or sizes that do not multiply to the number of devices.

    >>> mesh_shape(MeshSettings(tensor=2), 8)
    (1, 4, 1, 2)
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
            fix=f"sizes must multiply to the number of devices, {devices}; one of them may be -1, all the rest",
        )
    return shape


def slice_of(device: jax.Device) -> int:
    """Which slice a device belongs to; a slice's chips are joined by fast links, slices by the data-centre network."""
    return getattr(device, "slice_index", 0) if device.platform == "tpu" else 0


def make_mesh(settings: MeshSettings, devices: Sequence | None = None) -> Mesh:
    """The mesh over all devices, or over the given ones (of a topology that is only described, for instance).

    Over several slices axis "data" is the only one that crosses from one to another: what goes over the data-centre
    network is one sum of gradients a step, while the other axes stay within a slice.

    Raises:
      InputError: sizes that do not multiply to the number of devices, or replicas that cannot be shared out to slices.
    """
    devices = jax.devices() if devices is None else devices
    data, *others = shape = mesh_shape(settings, len(devices))
    groups: dict[int, list] = {}
    for device in devices:
        groups.setdefault(slice_of(device), []).append(device)
    slices = len(groups)
    if data % slices or len({len(group) for group in groups.values()}) > 1:
        raise InputError(
            f"{dict(zip(AXES, shape, strict=True))} does not fit {slices} slices: only data may cross between them",
            where="mesh",
            fix=f"make data a multiple of {slices}, e.g. --config.mesh.data={slices}",
        )
    # Neighbours of the torus next to each other, in whatever way the axes split it; the same for described devices.
    within = (data // slices, *others)
    grids = [
        mesh_utils.create_device_mesh(within, groups[number], allow_split_physical_axes=True)
        for number in sorted(groups)
    ]
    grid = np.concatenate(grids)
    return Mesh(grid, AXES, axis_types=(AxisType.Auto,) * len(AXES))  # jax would default to Explicit


def scoring_mesh(settings: MeshSettings) -> Mesh:
    """The mesh on which this process scores.

    Every process has one of its own, over its own devices, where these hold whole copies of the model (fsdp × expert ×
    tensor devices each): processes then share out texts, and wait for each other only to put their results together. A
    model that is split over more devices than one process has gets one mesh over all devices, on which they compute
    together.

    Raises:
      InputError: sizes that do not multiply to the number of devices, of all processes together.
    """
    data, *others = mesh_shape(settings, jax.device_count())
    own, copy = jax.local_device_count(), math.prod(others)
    if jax.process_count() == 1 or own % copy:
        return make_mesh(MeshSettings(data, *others))
    return make_mesh(MeshSettings(own // copy, *others), jax.local_devices())


def spans_processes(mesh: Mesh) -> bool:
    """Whether a mesh has devices of other processes, so that all of them have to start each of its programs."""
    return len({device.process_index for device in mesh.devices.flat}) > 1


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
