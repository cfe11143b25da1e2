"""Training a mixture of experts: the load-balancing loss, and steps on devices that share the experts."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from encore_jax.errors import InputError
from encore_jax.model import params as declared
from encore_jax.model.decoder import Backbone
from encore_jax.model.experts import balance
from encore_jax.model.heads import init_heads
from encore_jax.parallel.mesh import MeshSettings, make_mesh
from encore_jax.train.gradient import batch_totals, scores_and_loads
from encore_jax.train.program import make_program
from encore_jax.train.settings import LossSettings
from tests.train import tiny_training
from tests.train.tiny_training import RULES, UNIFORM, batches, settings

CFG = dataclasses.replace(
    tiny_training.CFG, experts=4, experts_per_token=2, mlp_width=8, normalize_experts=True, family="qwen3_moe"
)
SHARE = 0.5


@pytest.fixture(scope="module")
def params():
    """On the host, since a step gives its own up."""
    drawn = {"backbone": declared.init(CFG, jax.random.key(0)), "heads": init_heads(jax.random.key(1), 16, RULES)}
    return jax.tree.map(np.array, drawn)


def test_the_loss_of_every_counted_value_has_the_balance_of_its_batch(params):
    batch = jax.tree.map(lambda x: x[0], next(iter(batches(settings(rows=2)))))

    @jax.jit
    def both(params):
        plain, more = (batch_totals(Backbone(CFG), params, batch, UNIFORM, LossSettings(router_balance=share))
                       for share in (0.0, SHARE))  # fmt: skip
        return plain, more, balance(scores_and_loads(Backbone(CFG), params, batch.trees)[1])

    plain, more, extra = both(params)
    assert float(extra) > 1 and float(plain.loss.count) == float(more.loss.count)
    np.testing.assert_allclose(more.loss.mean, plain.loss.mean + SHARE * extra, rtol=1e-6)
    np.testing.assert_array_equal(more.right.total, plain.right.total)


def test_the_router_follows_it_downhill(params):
    """From a lopsided router, a step on the balance alone makes it smaller."""
    batch = jax.tree.map(lambda x: x[0], next(iter(batches(settings(rows=2)))))
    layers = params["backbone"]["layers"]
    lopsided = params["backbone"] | {
        "layers": layers | {"router": layers["router"] + 0.3 * np.eye(1, 4, dtype=np.float32)}
    }

    def extra(router):
        backbone = lopsided | {"layers": lopsided["layers"] | {"router": router}}
        return balance(scores_and_loads(Backbone(CFG), params | {"backbone": backbone}, batch.trees)[1])

    router = lopsided["layers"]["router"]
    value, slope = jax.jit(jax.value_and_grad(extra))(router)
    assert float(jax.jit(extra)(router - 0.05 * slope / jnp.linalg.norm(slope))) < float(value)


def test_a_model_without_experts_has_nothing_to_balance():
    batch = jax.tree.map(lambda x: x[0], next(iter(batches(settings(rows=2)))))
    with pytest.raises(InputError, match=r"train\.router_balance: is 0\.5, and this model has no experts"):
        batch_totals(
            Backbone(tiny_training.CFG), tiny_training.params(), batch, UNIFORM, LossSettings(router_balance=SHARE)
        )


@pytest.mark.parametrize("trainable", ["all", pytest.param("lora", marks=pytest.mark.slow)])
def test_a_step_on_eight_devices_is_that_of_one(trainable, params):
    config = settings(rows=4, trainable=trainable, lora_targets=("q", "v"), router_balance=SHARE, remat="dots")
    states = []
    for mesh, devices in ((MeshSettings(), 1), (MeshSettings(fsdp=2, expert=2, tensor=2), 8)):
        made = make_program(CFG, RULES, config, make_mesh(mesh, jax.devices()[:devices]), steps=3, dtype=jnp.float32)
        state = made.start(jax.device_put(params["backbone"], made.param_shardings["backbone"]), jax.random.key(3))
        state, metrics = made.step(state, made.place(next(iter(batches(config)))), UNIFORM)
        states.append((jax.tree.map(np.array, state.trainable), metrics))
    (one, metrics), (eight, metrics_of_eight) = states
    assert float(metrics["loss"]) == pytest.approx(float(metrics_of_eight["loss"]), rel=1e-5)
    assert float(metrics["gradient_norm"]) == pytest.approx(float(metrics_of_eight["gradient_norm"]), rel=1e-4)
    far = [float(np.abs(a - b).max()) for a, b in zip(jax.tree.leaves(one), jax.tree.leaves(eight), strict=True)]
    assert max(far) < 1e-3, far  # AdamW's first step is lr wherever a gradient is not 0


def test_devices_must_divide_the_experts():
    with pytest.raises(InputError, match=r"layers/(gate|down|up), of size 4, does not divide over 8 devices of expert"):
        make_program(
            CFG, RULES, settings(rows=8), make_mesh(MeshSettings(fsdp=1, expert=8)), steps=3, dtype=jnp.float32
        )
