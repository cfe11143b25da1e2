"""A training step over eight devices is the step of one device, whatever the mesh."""

import functools

import jax
import numpy as np
import pytest

from encore_jax.errors import InputError
from encore_jax.parallel.mesh import MeshSettings
from tests.train.tiny_training import CFG, UNIFORM, assert_close, batches, program, settings, start


def run(loss, trainable, accumulate, mesh=None, devices=1):
    made = program(settings(rows=16, loss=loss, accumulate=accumulate, trainable=trainable, lora_rank=2), mesh, devices)
    state, stream, losses = start(made), iter(batches(made.settings, epochs=3)), []
    for _ in range(3):
        state, metrics = made.step(state, made.place(next(stream)), UNIFORM)
        losses.append(metrics)
    return jax.device_get((state.trainable, losses))


one_device = functools.cache(run)


ASKED = [("regression", "all", 1), ("bradley_terry", "all", 2), ("regression", "lora", 1), ("binary", "heads", 1)]
MESHES = {
    "fsdp": MeshSettings(),
    "all axes": MeshSettings(data=2, fsdp=2, tensor=2),
    "data and tensor": MeshSettings(data=4, fsdp=1, tensor=2),
}
QUICK = {("all axes", *ASKED[1]), ("fsdp", *ASKED[2]), ("data and tensor", *ASKED[0]), ("all axes", *ASKED[3])}
"""Every mesh, loss and kind of training once; all of their combinations are slow."""


@pytest.mark.parametrize(
    ("mesh", "loss", "trainable", "accumulate"),
    [
        pytest.param(*case, marks=() if case in QUICK else pytest.mark.slow)
        for case in ((mesh, *asked) for mesh in MESHES for asked in ASKED)
    ],
)
def test_sharded_steps_equal_those_of_one_device(mesh, loss, trainable, accumulate):
    mesh = MESHES[mesh]
    trained, metrics = run(loss, trainable, accumulate, mesh, 8)
    expected, expected_metrics = one_device(loss, trainable, accumulate)
    assert_close(metrics, expected_metrics, rtol=1e-4)
    assert_close(trained, expected, rtol=1e-4, atol=2e-5)


def test_optimizer_moments_lie_where_their_parameters_lie():
    made = program(settings(rows=8), MeshSettings(fsdp=4, tensor=2), 8)
    state = start(made)
    kernels = [x for x in jax.tree.leaves(state) if x.shape == (CFG.layers, CFG.width, CFG.mlp_width)]
    assert len(kernels) == 6  # gate and up: parameter and two moments each
    assert {x.sharding.shard_shape(x.shape) for x in kernels} == {(CFG.layers, CFG.width // 4, CFG.mlp_width // 2)}
    assert state.step.sharding.is_fully_replicated
    abstract = jax.tree.map(lambda x: (x.shape, x.dtype), made.abstract_state)
    assert abstract == jax.tree.map(lambda x: (x.shape, x.dtype), state)
    same = jax.tree.map(lambda x, y: x.sharding.is_equivalent_to(y.sharding, x.ndim), state, made.abstract_state)
    assert all(jax.tree.leaves(same))


def test_rows_lie_on_their_own_devices():
    made = program(settings(rows=16, accumulate=2), MeshSettings(fsdp=4, tensor=2), 8)
    placed = made.place(next(iter(batches(made.settings))))
    assert {s.data.shape for s in placed.trees.tokens.addressable_shards} == {(2, 2, 48)}
    assert placed.trees.end_row.sharding.is_fully_replicated
    np.testing.assert_array_equal(placed.trees.tokens, next(iter(batches(made.settings))).trees.tokens)


def test_parameters_that_do_not_divide_over_the_devices_are_refused_by_name():
    with pytest.raises(InputError, match=r"layers/k, of size 2, does not divide over 4 devices of tensor"):
        program(settings(rows=8), MeshSettings(tensor=4), 8)


def test_rows_that_do_not_divide_over_the_devices_are_refused():
    with pytest.raises(InputError, match="multiple of 8"):
        program(settings(rows=12), MeshSettings(), 8)
