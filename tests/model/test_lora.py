"""Low-rank updates: nothing at the start, a matrix product when trained, and the same once merged into the matrices."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from encore_jax.errors import InputError
from encore_jax.model import params as declared
from encore_jax.model.config import DecoderConfig
from encore_jax.model.decoder import Backbone
from encore_jax.model.lora import Lora, declare_lora, init_lora, merged

CFG = DecoderConfig(vocab_size=32, width=16, layers=2, heads=4, kv_heads=2, head_dim=8, mlp_width=24)


def hidden(params, updates, lora):
    rows = [jnp.asarray([[1] * 6 + [0] * 2]), jnp.asarray([[0] * 3 + [1] * 3 + [0] * 2]), jnp.arange(8)[None]]
    variables = {"params": params | {"layers": params["layers"] | updates}}
    return Backbone(CFG, lora=lora).apply(variables, jnp.arange(8)[None], *rows)[:, :6]


def trained(lora):
    """Updates as after training: both factors random."""
    rng = np.random.default_rng(0)
    return {n: jnp.asarray(0.3 * rng.standard_normal(p.shape), jnp.float32) for n, p in declare_lora(CFG, lora).items()}


@pytest.mark.parametrize("lora", [Lora(2), Lora(3, 0.5, ("q", "o")), Lora(1, 4.0, ("down",))], ids=str)
def test_merged_updates_compute_the_same_as_separate_ones(lora):
    params = declared.init(CFG, jax.random.key(0))
    before = hidden(params, {}, None)
    np.testing.assert_array_equal(hidden(params, init_lora(CFG, lora, jax.random.key(1)), lora), before)
    updates = trained(lora)
    apart = hidden(params, updates, lora)
    assert float(jnp.abs(apart - before).max()) > 1e-3
    layers = merged(params["layers"], updates, lora.scale)
    np.testing.assert_allclose(hidden(params | {"layers": layers}, {}, None), apart, atol=2e-5)
    same = [name for name in params["layers"] if name not in lora.targets]
    assert all(layers[name] is params["layers"][name] for name in same)


def test_the_scale_is_the_factor_of_the_update():
    lora, params = Lora(2, targets=("up",)), declared.init(CFG, jax.random.key(0))["layers"]
    updates = trained(lora)
    once, thrice = (merged(params, updates, scale)["up"] - params["up"] for scale in (1.0, 3.0))
    np.testing.assert_allclose(thrice, 3 * once, rtol=1e-4, atol=1e-6)
    expected = np.einsum("ldr,lrf->ldf", updates["up_lora_a"], updates["up_lora_b"])
    np.testing.assert_allclose(once, expected, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("bad", [dict(rank=0), dict(rank=2, targets=()), dict(rank=2, targets=("q", "embed"))])
def test_what_cannot_be_adapted_is_refused(bad):
    with pytest.raises(InputError, match="LoRA"):
        Lora(**bad)
