"""Mixtures of experts: a loop over tokens is the reference; devices, padding and gradients change nothing."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import PartitionSpec

from encore_jax.errors import InputError
from encore_jax.model.config import DecoderConfig
from encore_jax.model.experts import Load, apply_experts, balance, load, route
from encore_jax.model.lora import Lora, declare_lora
from encore_jax.parallel.flops import matrix_entries
from encore_jax.parallel.mesh import MeshSettings, activate, make_mesh, sharding

CFG = DecoderConfig(vocab_size=32, width=16, layers=2, heads=4, kv_heads=2, head_dim=8, mlp_width=12,
                    experts=8, experts_per_token=3, normalize_experts=True, family="qwen3_moe")  # fmt: skip
AXES = {"router": ("embed", "router"), "gate": ("experts", "embed", "mlp"), "up": ("experts", "embed", "mlp"),
        "down": ("experts", "mlp", "embed")}  # fmt: skip


def drawn(cfg=CFG, seed=0):
    rng = np.random.default_rng(seed)
    sizes = {"embed": cfg.width, "router": cfg.experts, "experts": cfg.experts, "mlp": cfg.mlp_width}
    return {name: jnp.asarray(rng.standard_normal([sizes[axis] for axis in axes]) / 4, jnp.float32)
            for name, axes in AXES.items()}  # fmt: skip


def stream(rows=8, length=10, seed=1):
    return jnp.asarray(np.random.default_rng(seed).standard_normal((rows, length, CFG.width)), jnp.float32)


def mixed(cfg, params, y):
    return apply_experts(cfg, params, y, route(cfg, params["router"], y))


def token_by_token(cfg, params, y):
    """In float64, one token and one expert at a time."""
    p = {name: np.asarray(x, np.float64) for name, x in params.items()}
    flat = np.asarray(y, np.float64).reshape(-1, cfg.width)
    out = np.zeros_like(flat)
    for t, x in enumerate(flat):
        logits = x @ p["router"]
        probability = np.exp(logits - logits.max()) / np.exp(logits - logits.max()).sum()
        best = np.argsort(-probability)[: cfg.experts_per_token]
        total = probability[best].sum() if cfg.normalize_experts else 1
        for e in best:
            gate = x @ p["gate"][e]
            out[t] += probability[e] / total * (gate / (1 + np.exp(-gate)) * (x @ p["up"][e])) @ p["down"][e]
    return out.reshape(y.shape)


@pytest.mark.parametrize("normalize", [True, False])
@pytest.mark.parametrize("k", [1, 3, 8])
def test_every_token_gets_the_sum_of_its_experts(k, normalize):
    cfg = dataclasses.replace(CFG, experts_per_token=k, normalize_experts=normalize)
    params, y = drawn(), stream(2)
    np.testing.assert_allclose(mixed(cfg, params, y), token_by_token(cfg, params, y), atol=1e-5)


def test_no_token_is_dropped_when_all_want_the_same_experts():
    params, y = drawn(), stream(4)
    params["router"] = params["router"].at[:, 3:].set(0).at[0, :3].set([9.0, 8.0, 7.0])
    y = y.at[..., 0].set(5)
    routing = route(CFG, params["router"], y)
    assert set(np.unique(routing.chosen)) == {0, 1, 2}
    np.testing.assert_allclose(mixed(CFG, params, y), token_by_token(CFG, params, y), atol=1e-5)


def test_a_token_gets_the_same_whatever_lies_beside_it():
    params, y = drawn(), stream(3)
    whole = jax.jit(lambda y: mixed(CFG, params, y))
    others = y.at[0, :4].set(7.0).at[2].set(0.0)
    np.testing.assert_allclose(whole(others)[1], whole(y)[1], atol=1e-6)
    np.testing.assert_allclose(whole(others)[0, 4:], whole(y)[0, 4:], atol=1e-6)


MESHES = [MeshSettings(fsdp=1, expert=8), MeshSettings(fsdp=2, expert=2, tensor=2),
          MeshSettings(data=2, fsdp=2, expert=2), MeshSettings(data=2, fsdp=4, expert=1)]  # fmt: skip


@pytest.mark.parametrize("settings", MESHES, ids=lambda s: f"{s.data}x{s.fsdp}x{s.expert}x{s.tensor}")
def test_eight_devices_give_the_values_and_gradients_of_one(settings):
    params, y = drawn(), stream()
    target = stream(seed=2)

    def loss(params, y):
        return jnp.sum(jnp.sin(mixed(CFG, params, y)) * target)

    both = jax.value_and_grad(loss, argnums=(0, 1))
    expected_value, expected = jax.jit(both)(params, y)
    mesh = make_mesh(settings)
    spread = {name: jax.device_put(x, sharding(mesh, PartitionSpec(*AXES[name]))) for name, x in params.items()}
    rows = jax.device_put(y, sharding(mesh, PartitionSpec("batch")))
    with activate(mesh):
        value, gradient = jax.jit(both)(spread, rows)
    np.testing.assert_allclose(value, expected_value, rtol=1e-5)
    for a, b in zip(jax.tree.leaves(gradient), jax.tree.leaves(expected), strict=True):
        np.testing.assert_allclose(a, b, atol=2e-5)


def test_the_balance_of_even_and_of_lopsided_routing():
    """1 per chosen expert where all are chosen alike; more where the router prefers some. Padding counts nowhere."""
    y, tree = stream(4), jnp.ones((4, 10), jnp.int32).at[3].set(0)
    loads = load(route(CFG, drawn()["router"], y), tree)
    assert float(loads.tokens) == 30 and float(loads.chosen.sum()) == pytest.approx(90)
    assert float(loads.probability.sum()) == pytest.approx(30, rel=1e-5)
    changed = load(route(CFG, drawn()["router"], y.at[3].set(9.0)), tree)
    np.testing.assert_allclose(changed.chosen, loads.chosen)
    assert float(balance(loads)) > CFG.experts_per_token
    two = Load(*(jnp.stack([x, x]) for x in loads))
    assert float(balance(two)) == pytest.approx(float(balance(loads)), rel=1e-6)
    assert float(balance(Load(jnp.zeros(8), jnp.zeros(8), jnp.float32(0)))) == 0


def test_only_a_tokens_own_experts_are_counted_as_work():
    dense = dataclasses.replace(CFG, experts=0, experts_per_token=0, mlp_width=3 * 12)
    router = CFG.layers * CFG.width * CFG.experts
    assert matrix_entries(CFG) == matrix_entries(dense) + router


def test_what_is_not_computed_for_experts_is_refused():
    with pytest.raises(InputError, match="experts_per_token.*use 1 to 8"):
        dataclasses.replace(CFG, experts_per_token=9)
    with pytest.raises(InputError, match="gate, up, down are the matrices of 8 experts.*targets q, k, v, o"):
        declare_lora(CFG, Lora(rank=2))
    assert "q_lora_a" in declare_lora(CFG, Lora(rank=2, targets=("q", "v")))
