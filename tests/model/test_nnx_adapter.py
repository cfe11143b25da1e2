"""The NNX module beside the Linen module: equal outputs and gradients, and what NNX users do with a module."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx
from jax.sharding import AxisType, NamedSharding, PartitionSpec

from encore_jax.model.config import DecoderConfig
from encore_jax.model.decoder import Backbone
from encore_jax.model.lora import Lora, init_lora
from encore_jax.model.nnx_adapter import NnxBackbone, arrays
from encore_jax.model.params import init

LLAMA = DecoderConfig(vocab_size=50, width=32, layers=2, heads=4, kv_heads=2, head_dim=8, mlp_width=48, init_std=0.2)
WINDOWED = dataclasses.replace(LLAMA, windows=(0, 4), qk_norm=True, tie_embeddings=False)


def rows(seed=0):
    """Two rows, each with a prefix of 5 tokens, branches of 4 and 3, and padding: (tokens, tree, branch, position)."""
    branch = np.array([0] * 5 + [1] * 4 + [2] * 3 + [0] * 4)
    position = np.concatenate([np.arange(5), 5 + np.arange(4), 5 + np.arange(3), np.zeros(4)])
    tree = (np.arange(16) < 12).astype(int)
    tokens = np.random.RandomState(seed).randint(0, LLAMA.vocab_size, (2, 16))
    return [jnp.asarray(np.broadcast_to(x, (2, 16)), jnp.int32) for x in (tokens, tree, branch, position)]


def loss(hidden):
    return (hidden[:, 11] * jnp.linspace(-1.0, 1.0, hidden.shape[-1])[None]).sum(-1).mean()


@pytest.mark.parametrize("cfg", [LLAMA, WINDOWED], ids=["llama", "windows"])
def test_outputs_and_gradients_are_linens_to_the_last_bit(cfg):
    params, linen = init(cfg, jax.random.key(1)), Backbone(cfg)
    module, x = NnxBackbone(cfg, params), rows()
    expected = jax.jit(linen.apply)({"params": params}, *x)
    np.testing.assert_array_equal(nnx.jit(lambda m, *x: m(*x))(module, *x), expected)
    slopes = jax.jit(jax.grad(lambda p: loss(linen.apply({"params": p}, *x))))(params)
    ours = nnx.to_pure_dict(nnx.jit(nnx.grad(lambda m: loss(m(*x))))(module))["params"]
    assert jax.tree.structure(ours) == jax.tree.structure(slopes)
    for a, b in zip(jax.tree.leaves(ours), jax.tree.leaves(slopes), strict=True):
        np.testing.assert_array_equal(a, b)


def test_the_state_has_linens_names_and_the_very_arrays():
    params = init(LLAMA, jax.random.key(1))
    module = NnxBackbone(LLAMA, params)
    state = nnx.to_pure_dict(nnx.state(module, nnx.Param))
    paths = [path for path, _ in jax.tree.leaves_with_path({"params": params})]
    assert [path for path, _ in jax.tree.leaves_with_path(state)] == paths
    assert all(a is b for a, b in zip(jax.tree.leaves(arrays(module.params)), jax.tree.leaves(params), strict=True))


def test_split_and_merge_give_a_module_that_compiles_no_second_time():
    traces, x = [], rows()

    @nnx.jit
    def hidden(module, *x):
        traces.append(1)
        return module(*x)

    module = NnxBackbone(LLAMA, init(LLAMA, jax.random.key(1)))
    first = hidden(module, *x)
    graph, state = nnx.split(module)
    np.testing.assert_array_equal(hidden(nnx.merge(graph, state), *x), first)
    other = hidden(nnx.merge(graph, jax.tree.map(lambda leaf: leaf * 1.5, state)), *x)
    assert len(traces) == 1 and not np.array_equal(other, first)


def test_an_optimiser_trains_the_adapter_and_leaves_the_rest():
    lora, x = Lora(rank=2), rows()
    params = init(LLAMA, jax.random.key(1))
    low_rank = init_lora(LLAMA, lora, jax.random.key(2))
    params["layers"] = params["layers"] | low_rank
    module = NnxBackbone(LLAMA, params, lora=lora)
    trained = nnx.All(nnx.Param, lambda path, _: "lora" in path[-1])
    optimizer = nnx.Optimizer(module, optax.sgd(0.5), wrt=trained)
    linen = Backbone(LLAMA, lora=lora)
    np.testing.assert_array_equal(
        nnx.jit(lambda m, *x: m(*x))(module, *x), jax.jit(linen.apply)({"params": params}, *x)
    )

    @nnx.jit
    def step(module, optimizer):
        value, slopes = nnx.value_and_grad(lambda m: loss(m(*x)), argnums=nnx.DiffState(0, trained))(module)
        optimizer.update(module, slopes)
        return value

    before, after = step(module, optimizer), step(module, optimizer)
    assert after < before
    layers = arrays(module.params)["layers"]
    moved = {name for name, leaf in layers.items() if not np.array_equal(leaf, params["layers"][name])}
    assert {name for name in low_rank if name.endswith("_b")} <= moved <= set(low_rank)
    np.testing.assert_array_equal(arrays(module.params)["embed"], params["embed"])


def test_sharded_parameters_stay_where_they_lie():
    mesh = jax.make_mesh((4,), ("fsdp",), axis_types=(AxisType.Auto,), devices=jax.devices()[:4])
    over, whole = (NamedSharding(mesh, PartitionSpec(*spec)) for spec in ((None, "fsdp"), ()))
    params = init(LLAMA, jax.random.key(1))
    placed = jax.tree.map(lambda leaf: jax.device_put(leaf, over if leaf.ndim > 1 else whole), params)
    graph, state = nnx.split(NnxBackbone(LLAMA, placed))
    assert {leaf.sharding for leaf in jax.tree.leaves(state)} == {over, whole}
    got = nnx.jit(lambda m, *x: m(*x))(nnx.merge(graph, state), *rows())
    expected = jax.jit(Backbone(LLAMA).apply)({"params": params}, *rows())
    np.testing.assert_allclose(got, expected, atol=1e-5)
