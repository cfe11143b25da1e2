"""What every family's layers must keep to in rows of packed trees, over devices, and with low-rank updates."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from encore_jax.checkpoints.huggingface import load_backbone
from encore_jax.model import params as declared
from encore_jax.model.decoder import Backbone
from encore_jax.model.lora import Lora, declare_lora, merged
from encore_jax.parallel.mesh import MeshSettings, activate, make_mesh, sharding
from tests.goldens import tiny
from tests.model.tree_rows import row

FAMILIES = ("gemma3", "qwen3_moe", "olmoe", "granite", "phi3")
LENGTH, TREES = 64, ((14, 9, 12), (3, 17, 4))
"""Two trees of two branches in one row; windows of 9 end within prefixes and branches."""


@pytest.fixture(scope="module", params=FAMILIES)
def model(request, tmp_path_factory):
    """Configuration, parameters, token ids [1, S], and the row's ids [3, 1, S]."""
    cfg, drawn, _ = load_backbone(tiny.save(tmp_path_factory.mktemp("model"), request.param))
    tokens = np.random.RandomState(0).randint(1, cfg.vocab_size, (1, LENGTH)).astype(np.int32)
    return cfg, drawn, tokens, row(*TREES, length=LENGTH)[:, None]


def run(cfg, drawn, tokens, ids, **kwargs):
    arrays = (jnp.asarray(x) for x in (tokens, *ids))
    return jax.jit(Backbone(cfg, **kwargs).apply)({"params": drawn}, *arrays)


@pytest.fixture(scope="module")
def hidden(model):
    """States of the packed row."""
    return np.asarray(run(*model))


def test_every_path_of_a_packed_row_is_as_alone(model, hidden):
    cfg, drawn, tokens, (tree, branch, _) = model
    paths = [np.flatnonzero((tree[0] == t) & ((branch[0] == 0) | (branch[0] == b))) for t in (1, 2) for b in (1, 2)]
    longest = max(map(len, paths))
    alone, real = np.zeros((2, len(paths), longest), np.int32)
    for i, path in enumerate(paths):
        alone[i, : len(path)], real[i, : len(path)] = tokens[0, path], 1
    position = np.broadcast_to(np.arange(longest, dtype=np.int32), alone.shape)
    states = run(cfg, drawn, alone, (real, 0 * real, position))
    for i, path in enumerate(paths):
        np.testing.assert_allclose(hidden[0, path], states[i, : len(path)], atol=2e-5)


def test_eight_devices_compute_what_one_does(model, hidden):
    cfg, drawn, tokens, ids = model
    mesh = make_mesh(MeshSettings(data=2, fsdp=2, tensor=2))
    specs = declared.logical_axes(cfg)
    spread = jax.device_put(drawn, jax.tree.map(lambda spec: sharding(mesh, spec), specs))
    with activate(mesh):
        states = run(cfg, spread, np.repeat(tokens, 4, 0), np.repeat(ids, 4, 1))
    real = ids[0, 0] > 0
    for i in range(4):
        np.testing.assert_allclose(np.asarray(states)[i, real], hidden[0, real], atol=1e-5)


def test_merged_updates_compute_the_same_as_separate_ones(model, hidden):
    cfg, drawn, tokens, ids = model
    lora, rng = Lora(2, 0.5, ("q", "k", "o")), np.random.default_rng(0)
    updates = {name: jnp.asarray(0.3 * rng.standard_normal(p.shape), jnp.float32)
               for name, p in declare_lora(cfg, lora).items()}  # fmt: skip
    apart = np.asarray(run(cfg, drawn | {"layers": drawn["layers"] | updates}, tokens, ids, lora=lora))
    whole = run(cfg, drawn | {"layers": merged(drawn["layers"], updates, lora.scale)}, tokens, ids)
    real = ids[0, 0] > 0
    assert np.abs(apart - hidden)[0, real].max() > 1e-2
    np.testing.assert_allclose(whole[0, real], apart[0, real], atol=5e-5)
