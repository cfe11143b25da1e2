"""A tiny training problem shared by the tests of training: 12 prompts with two responses, three rules."""

import functools

import jax
import jax.numpy as jnp
import numpy as np

from encore_jax.data.prefix_tree import make_trees
from encore_jax.model import params as declared
from encore_jax.model.config import DecoderConfig
from encore_jax.model.heads import init_heads
from encore_jax.parallel.mesh import MeshSettings, make_mesh
from encore_jax.train.batches import Targets, training_batches
from encore_jax.train.packing import step_shape
from encore_jax.train.program import make_program
from encore_jax.train.settings import TrainSettings

CFG = DecoderConfig(vocab_size=32, width=16, layers=2, heads=4, kv_heads=2, head_dim=8, mlp_width=32)
RULES, PROMPTS, LENGTH = 3, 12, 48
UNIFORM = np.full(RULES, 1 / RULES, np.float32)


def settings(**changes) -> TrainSettings:
    usual = dict(rows=2, length=LENGTH, tokens_per_end=6, trainable="all", remat="none", lr=1e-2, save_every=4)
    return TrainSettings(**(usual | changes))


def tokens(rng, count):
    return rng.integers(0, CFG.vocab_size, count).tolist()


@functools.cache
def sequences():
    rng = np.random.default_rng(0)
    found = []
    for _ in range(PROMPTS):
        prompt = tokens(rng, rng.integers(3, 8))
        found += [prompt + tokens(rng, rng.integers(1, 6)) for _ in range(2)]
    return found


@functools.cache
def trees():
    pairs = [(2 * i, 2 * i + 1) for i in range(PROMPTS)]
    return [t for a, b in pairs for t in make_trees([sequences()[a], sequences()[b]], [a, b], LENGTH)]


@functools.cache
def targets(spoilt: int = -1):
    rng = np.random.default_rng(1)
    ratings = rng.random((2 * PROMPTS, RULES)).astype(np.float32)
    rated = rng.random((2 * PROMPTS, RULES)) < 0.7
    rated[:, 0] = True
    pairs = [(2 * i + i % 2, 2 * i + 1 - i % 2) for i in range(PROMPTS)]
    if spoilt >= 0:
        ratings[spoilt] = np.nan
    return Targets(ratings, rated, pairs, rng.random(PROMPTS).astype(np.float32))


def batches(config: TrainSettings, epochs=1, seed=0, spoilt=-1):
    return training_batches(trees(), targets(spoilt), step_shape(config), seed, epochs)


def params():
    backbone = declared.init(CFG, jax.random.key(0))
    return {"backbone": backbone, "heads": init_heads(jax.random.key(1), CFG.width, RULES)}


def program(config: TrainSettings, mesh: MeshSettings | None = None, devices: int = 1, steps: int = 30):
    chosen = make_mesh(mesh or MeshSettings(), jax.devices()[:devices])
    return make_program(CFG, RULES, config, chosen, steps=steps, dtype=jnp.float32)


def start(made, seed=0):
    backbone = jax.device_put(declared.init(CFG, jax.random.key(0)), made.param_shardings["backbone"])
    return made.start(backbone, jax.random.key(seed))


def assert_identical(a, b):
    for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True):
        np.testing.assert_array_equal(np.asarray(x), np.asarray(y))


def assert_close(a, b, rtol=1e-5, atol=1e-5):
    for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True):
        np.testing.assert_allclose(np.asarray(x), np.asarray(y), rtol=rtol, atol=atol)
