"""Mesh sizes are checked, and logical names land on the mesh axes they should."""

import jax
import numpy as np
import pytest
from jax.sharding import AxisType, PartitionSpec

from encore_jax.errors import InputError
from encore_jax.model.config import DecoderConfig
from encore_jax.model.params import logical_axes
from encore_jax.parallel import mesh as module
from encore_jax.parallel.mesh import AXES, LOGICAL_RULES, MeshSettings, make_mesh, mesh_shape, sharding


@pytest.mark.parametrize(
    ("settings", "shape"),
    [
        (MeshSettings(), (1, 8, 1, 1)),
        (MeshSettings(data=2, fsdp=2, tensor=2), (2, 2, 1, 2)),
        (MeshSettings(data=-1, fsdp=1), (8, 1, 1, 1)),
        (MeshSettings(fsdp=4, tensor=-1), (1, 4, 1, 2)),
        (MeshSettings(fsdp=2, expert=-1), (1, 2, 4, 1)),
    ],
)
def test_mesh_covers_all_devices(settings, shape):
    mesh = make_mesh(settings)
    assert mesh_shape(settings, 8) == tuple(mesh.shape.values()) == shape
    assert mesh.axis_names == AXES and set(mesh.axis_types) == {AxisType.Auto}
    assert set(mesh.devices.flat) == set(jax.devices())


@pytest.mark.parametrize(
    "settings",
    [MeshSettings(data=-1), MeshSettings(fsdp=3), MeshSettings(fsdp=16), MeshSettings(tensor=0), MeshSettings(data=-2)],
)
def test_impossible_meshes_are_refused(settings):
    with pytest.raises(InputError, match="mesh"):
        mesh_shape(settings, 8)


@pytest.mark.parametrize("settings", [MeshSettings(data=2), MeshSettings(data=4, tensor=2), MeshSettings(-1, 1, 2)])
def test_over_two_slices_only_the_data_axis_crosses(settings, monkeypatch):
    monkeypatch.setattr(module, "slice_of", lambda device: device.id % 2)
    mesh = make_mesh(settings)
    assert tuple(mesh.shape.values()) == mesh_shape(settings, 8) and set(mesh.devices.flat) == set(jax.devices())
    slices = np.vectorize(lambda device: device.id % 2)(mesh.devices)
    assert (slices == slices[:, :1, :1]).all(), "fsdp and tensor stay within a slice"
    first = len(slices) // 2
    assert (slices[:first] == 0).all() and (slices[first:] == 1).all()


@pytest.mark.parametrize(
    ("settings", "slice_of"),
    [(MeshSettings(), lambda d: d.id % 2), (MeshSettings(data=3), int), (MeshSettings(data=2), lambda d: d.id > 2)],
)
def test_what_does_not_fit_the_slices_is_refused(settings, slice_of, monkeypatch):
    monkeypatch.setattr(module, "slice_of", slice_of)
    with pytest.raises(InputError, match="make data a multiple of 2|multiply to the number of devices"):
        make_mesh(settings)


def test_every_logical_axis_of_every_parameter_has_a_rule():
    cfg = DecoderConfig(
        vocab_size=32,
        width=16,
        layers=2,
        heads=4,
        kv_heads=2,
        head_dim=8,
        mlp_width=32,
        qkv_bias=True,
        qk_norm=True,
        experts=4,
        experts_per_token=2,
    )
    specs = jax.tree.leaves(logical_axes(cfg), is_leaf=lambda x: isinstance(x, PartitionSpec))
    assert {axis for spec in specs for axis in spec} <= {name for name, _ in LOGICAL_RULES}


def test_matrices_are_split_over_both_axes_and_norms_over_none():
    mesh = make_mesh(MeshSettings(data=2, fsdp=2, tensor=2))
    query = sharding(mesh, PartitionSpec("layers", "embed", "heads", "head_dim"))
    assert query.spec == PartitionSpec(None, "fsdp", "tensor", None)
    assert sharding(mesh, PartitionSpec("layers", "norm")).is_fully_replicated
    assert sharding(mesh, PartitionSpec("batch", "seq")).spec[0] == ("data", "fsdp", "expert")
    assert sharding(mesh, PartitionSpec("layers", "experts", "mlp", "embed")).spec == (
        PartitionSpec(None, "expert", "tensor", "fsdp")
    )
