"""What the backward pass keeps, and that CPUs keep bfloat16 as integers."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AbstractDevice, AbstractMesh, AxisType

from encore_jax.model import remat
from encore_jax.model.config import DecoderConfig
from encore_jax.model.decoder import Backbone
from encore_jax.model.params import init

CFG = DecoderConfig(vocab_size=16, width=16, layers=3, heads=2, kv_heads=1, head_dim=8, mlp_width=32)
B, S = 2, 6


def loss(policy, dtype=jnp.bfloat16):
    """A loss of the parameters, whose gradient runs the layers backwards under this policy."""
    position = jnp.tile(jnp.arange(S), (B, 1))
    rows = (position % 5, jnp.ones_like(position), jnp.zeros_like(position), position)
    backbone = Backbone(CFG, dtype=dtype, remat=policy)
    return lambda params: jnp.square(backbone.apply({"params": params}, *rows).astype(jnp.float32)).mean()


def stacked(policy):
    """Types in which arrays of every layer and token occur in the gradient's program."""
    abstract = jax.eval_shape(lambda: init(CFG, jax.random.key(0)))
    with remat.kept_as_integers():
        program = str(jax.make_jaxpr(jax.grad(loss(policy)))(abstract))
    return set(re.findall(rf"(\w+)\[{CFG.layers},{B},{S},", program))


@pytest.mark.parametrize("policy", ["full", "attention", "dots", "dots_and_attention"])
def test_cpus_stack_bfloat16_as_integers_and_other_platforms_as_it_is(policy):
    if jax.default_backend() != "cpu":
        pytest.skip("this machine has an accelerator")
    assert "u16" in stacked(policy) and "bf16" not in stacked(policy)
    device = AbstractDevice(device_kind="TPU v5 lite", num_cores=1, platform="tpu")
    mesh = AbstractMesh((1,), ("fsdp",), axis_types=(AxisType.Auto,), abstract_device=device)
    with jax.sharding.use_abstract_mesh(mesh):
        assert "bf16" in stacked(policy) and "u16" not in stacked(policy)


def test_gradients_of_what_is_stored_as_integers_are_the_same():
    params = init(CFG, jax.random.key(0))
    with remat.kept_as_integers():
        got = jax.jit(jax.grad(loss("dots_and_attention")))(params)
    expected = jax.jit(jax.grad(loss("dots_and_attention")))(params)
    for a, b in zip(jax.tree.leaves(got), jax.tree.leaves(expected), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-6, atol=1e-9)
        assert np.abs(b).max() > 0


def test_reading_bits_gives_every_value_back_and_passes_the_gradient():
    x = jnp.arange(2**16, dtype=jnp.uint16).view(jnp.bfloat16)
    with remat.kept_as_integers():
        read = remat.from_bits(jnp.zeros_like(x), remat.bits(x))
    assert (np.asarray(read).view(np.uint16) == np.arange(2**16)).all(), "NaN and signed zero among them"
    x = jnp.array([1.0, -2.0, 3.0], jnp.bfloat16)
    with remat.kept_as_integers():
        gradient = jax.grad(lambda x: jnp.square(remat.named(x, "projection")).sum().astype(jnp.float32))(x)
    np.testing.assert_array_equal(np.asarray(gradient, np.float32), [2.0, -4.0, 6.0])
    with remat.kept_as_integers():
        assert remat.bits(jnp.ones(2)) is None


def test_second_derivatives_outside_of_training_are_those_of_the_values():
    x = jnp.array([1.0, -2.0, 3.0], jnp.bfloat16)
    first = jax.grad(lambda x: (remat.named(x, "projection") ** 3).sum().astype(jnp.float32))
    second = jax.grad(lambda x: first(x).sum().astype(jnp.float32))(x)
    np.testing.assert_array_equal(np.asarray(second, np.float32), [6.0, -12.0, 18.0])
