"""The analytic count equals the FLOPs of compiled backbones, product by product."""

import dataclasses
import functools
import math

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from encore_jax.errors import InputError
from encore_jax.model.config import DecoderConfig
from encore_jax.model.decoder import Backbone
from encore_jax.model.lora import Lora, declare_lora
from encore_jax.model.params import count
from encore_jax.parallel.flops import matrix_entries, step_flops, visible_pairs
from tests.parallel.hlo.cost import program_cost

CFG = DecoderConfig(vocab_size=64, width=64, layers=3, heads=4, kv_heads=2, head_dim=16, mlp_width=96)
ROWS, RULES = 2, 5
LLAMA_8B = DecoderConfig(
    vocab_size=128256, width=4096, layers=32, heads=32, kv_heads=8, head_dim=128, mlp_width=14336
)  # fmt: skip


@functools.cache
def compiled_flops(trainable, length, remat="none", rank=4):
    """Of one training step of a tiny model, by its compiled program: forward, backward, one end per row."""
    lora = Lora(rank=rank) if trainable == "lora" else None
    backbone = Backbone(CFG, remat=remat, lora=lora)
    tokens = jax.ShapeDtypeStruct((ROWS, length), jnp.int32)
    params = jax.eval_shape(backbone.init, jax.random.key(0), *(tokens,) * 4)["params"]
    params = {"backbone": nn.meta.unbox(params), "heads": jax.ShapeDtypeStruct((CFG.width, RULES), jnp.float32)}
    names = {"heads": ("heads",), "all": ("heads", "backbone")}.get(trainable)
    layers = params["backbone"]["layers"]
    if trainable == "lora":
        params["lora"] = {name: layers.pop(name) for name in [*layers] if "lora" in name}
        names = ("heads", "lora")

    def loss(chosen, rest, tokens):
        everything = chosen | rest
        layers = everything["backbone"]["layers"] | everything.get("lora", {})
        hidden = backbone.apply({"params": everything["backbone"] | {"layers": layers}}, *(tokens,) * 4)
        return jnp.sum(jnp.square(hidden[:, -1] @ everything["heads"]))

    chosen = {name: params[name] for name in names}
    rest = {name: value for name, value in params.items() if name not in names}
    return program_cost(jax.jit(jax.grad(loss)).lower(chosen, rest, tokens).compile().as_text()).flops


def unseen(length):
    """Forward FLOPs of scores that the compiled attention computes and then masks; it has one block up to length 64."""
    return 4 * CFG.heads * CFG.head_dim * ROWS * CFG.layers * (length**2 - visible_pairs(length))


def scores_again(length):
    """FLOPs of the scores that attention's backward pass makes anew from queries and keys."""
    return 2 * CFG.heads * CFG.head_dim * ROWS * CFG.layers * length**2


def analytic(trainable, length, **options):
    return step_flops(CFG, rows=ROWS, length=length, ends=ROWS, rules=RULES, trainable=trainable, **options)


@pytest.mark.parametrize(("trainable", "passes"), [("all", 3), ("heads", 1)])
def test_without_rematerialisation_every_product_is_counted(trainable, passes):
    again = scores_again(64) if passes == 3 else 0
    assert compiled_flops(trainable, 64) == analytic(trainable, 64) + passes * unseen(64) + again


def test_low_rank_updates_pay_no_gradient_of_frozen_weights():
    adapters = sum(math.prod(p.shape) for p in declare_lora(CFG, Lora(rank=4)).values())
    assert compiled_flops("lora", 64) == analytic("lora", 64, adapters=adapters) + 3 * unseen(64) + scores_again(64)


def test_full_rematerialisation_pays_the_forward_pass_again_but_for_its_last_product():
    again = 2 * (matrix_entries(CFG) - CFG.layers * CFG.mlp_width * CFG.width) * ROWS * 64
    again += unseen(64) * 64**2 // (64**2 - visible_pairs(64))
    again -= scores_again(64)  # made once for the second forward pass and for the backward pass
    assert compiled_flops("all", 64, remat="full") == compiled_flops("all", 64) + again
    assert 1.15 < compiled_flops("all", 64, remat="full") / compiled_flops("all", 64) < 4 / 3


def test_long_rows_are_close_to_the_half_square():
    ratio = compiled_flops("all", 256) / analytic("all", 256)
    assert 1.0 < ratio < 1.2  # four blocks of queries compute 5/8 of the square, and the scores twice


def test_matrices_are_all_parameters_but_embedding_and_norms():
    vectors = (2 * LLAMA_8B.layers + 1) * LLAMA_8B.width
    assert matrix_entries(LLAMA_8B) == count(LLAMA_8B) - LLAMA_8B.vocab_size * LLAMA_8B.width - vectors
    qwen = dataclasses.replace(CFG, qkv_bias=True, qk_norm=True)
    assert matrix_entries(qwen) == matrix_entries(CFG)


def test_six_flops_per_matrix_entry_and_token():
    tokens, length = 2**17, 2048
    flops = step_flops(LLAMA_8B, rows=tokens // length, length=length, ends=0, rules=10)
    attention = 6 * LLAMA_8B.layers * LLAMA_8B.heads * LLAMA_8B.head_dim * tokens * (length + 1)
    assert flops == 6 * matrix_entries(LLAMA_8B) * tokens + attention


@pytest.mark.parametrize(("length", "window"), [(1, 0), (9, 0), (9, 1), (9, 4), (9, 9), (9, 30)])
def test_visible_pairs_are_those_of_the_mask(length, window):
    back = np.subtract.outer(np.arange(length), np.arange(length))
    assert visible_pairs(length, window) == int(((back >= 0) & (back < (window or length))).sum())


def test_windows_are_counted_layer_by_layer():
    windowed = dataclasses.replace(CFG, windows=(0, 8, 0))
    saved = visible_pairs(64) - visible_pairs(64, 8)
    steps = [step_flops(cfg, rows=1, length=64, ends=1, rules=1) for cfg in (CFG, windowed)]
    assert steps[0] - steps[1] == 3 * 4 * CFG.heads * CFG.head_dim * saved


def test_unknown_part_is_refused():
    with pytest.raises(InputError, match="'some' is unknown"):
        analytic("some", 64)
