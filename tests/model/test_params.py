"""One declaration: init, shapes, axes and file layouts all follow from it."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from encore_jax.checkpoints.fused import fused_names
from encore_jax.model import params
from encore_jax.model.architectures import architecture
from encore_jax.model.config import DecoderConfig
from encore_jax.model.decoder import Backbone
from tests.goldens import tiny

SIZES = dict(vocab_size=32, width=8, layers=3, heads=4, kv_heads=2, head_dim=6, mlp_width=10)
CONFIGS = [DecoderConfig(**SIZES, qkv_bias=b, qk_norm=n) for b, n in ((0, 0), (1, 0), (0, 1))]
CONFIGS += [DecoderConfig(**SIZES, qk_norm=True, qk_norm_whole=True, experts=5, experts_per_token=2)]


@pytest.mark.parametrize("cfg", CONFIGS)
def test_linen_init_is_the_declaration(cfg):
    row = jnp.zeros((1, 4), jnp.int32)
    boxed = jax.eval_shape(Backbone(cfg).init, jax.random.key(0), row, row, row, row)["params"]
    declared = params.abstract(cfg)
    assert jax.tree.map(lambda x: (x.shape, x.dtype), nn.meta.unbox(boxed)) == jax.tree.map(
        lambda x: (x.shape, x.dtype), declared
    )
    assert nn.get_partition_spec(boxed) == params.logical_axes(cfg)
    drawn = params.init(cfg, jax.random.key(0), jnp.bfloat16)
    assert jax.tree.map(jnp.shape, drawn) == jax.tree.map(jnp.shape, declared)
    assert {x.dtype for x in jax.tree.leaves(drawn)} == {jnp.dtype(jnp.bfloat16)}


def test_drawn_kernels_have_the_declared_spread_and_differ_between_layers():
    cfg = DecoderConfig(**(SIZES | {"width": 128, "mlp_width": 256}), init_std=0.05)
    drawn = params.init(cfg, jax.random.key(0))
    assert np.std(drawn["layers"]["up"]) == pytest.approx(0.05, rel=0.02)
    assert not np.array_equal(drawn["layers"]["up"][0], drawn["layers"]["up"][1])
    assert (drawn["layers"]["attn_norm"] == 1).all()


@pytest.mark.parametrize("cfg", CONFIGS)
def test_file_layout_round_trips(cfg):
    declared = params.declare(cfg)
    rng = np.random.RandomState(0)
    for p in [declared["embed"], *declared["layers"].values()]:
        stored = rng.standard_normal(p.stored_shape(p.gguf))
        ours = p.from_file(stored)
        assert ours.shape == p.of_one_layer.shape
        assert np.shares_memory(ours, stored)
        for name in (p.hf, p.gguf):
            assert len(p.stored(name)) * np.prod(p.stored_shape(name)) == np.prod(p.shape)
        if "experts" in p.axes:  # a folder has each expert alone
            stored, ours = stored[3], p.from_file(stored[3])
        np.testing.assert_array_equal(p.to_file(ours), stored)


@pytest.mark.parametrize("family", tiny.FAMILIES)
def test_names_and_shapes_are_those_of_the_files(family):
    cfg = DecoderConfig.from_hf(tiny.config(family))
    declared = params.declare(cfg)
    leaves = [declared["embed"], declared["final_norm"], *declared["layers"].values()]
    ours = {name: p.stored_shape(p.hf) for p in leaves for _, name in p.stored(p.hf)}
    for fused, parts in fused_names(cfg).items():
        shapes = [ours.pop(part) for part in parts]
        ours[fused] = (sum(rows for rows, _ in shapes), shapes[0][1])
    stored = {n: w.shape for n, w in tiny.weights(family).items() if n != "lm_head.weight"}
    assert ours == stored


def test_known_parameter_counts():
    smollm2 = DecoderConfig(49152, 576, 30, 9, 3, 64, 1536, tie_embeddings=True)
    assert params.count(smollm2) == 134_515_008
    llama = DecoderConfig(128256, 4096, 32, 32, 8, 128, 14336)
    head = np.prod(params.declare_lm_head(llama).shape)
    assert params.count(llama) + head == 8_030_261_248
    assert params.count(architecture("qwen3-30b-a3b")) + 151936 * 2048 == 30_532_122_624
    assert params.count(architecture("olmoe-1b-7b")) + 50304 * 2048 == 6_919_161_856
    assert params.count(architecture("qwen2.5-7b")) + 152064 * 3584 == 7_615_616_512
    qwen3 = DecoderConfig(151936, 1024, 28, 16, 8, 128, 3072, qk_norm=True, tie_embeddings=True)
    assert params.count(qwen3) == 596_049_920
