"""Phi-3's and Phi-4-mini's own ways: fused matrices, a share of every head rotated, LongRoPE's two sets of factors."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from encore_jax.checkpoints.huggingface import load_backbone
from encore_jax.errors import InputError
from encore_jax.model import params
from encore_jax.model.config import DecoderConfig
from encore_jax.model.config_json import hf_config
from encore_jax.model.decoder import Backbone
from encore_jax.model.lora import Lora, init_lora, merged
from encore_jax.model.rope import inverse_frequencies
from encore_jax.reward.export import export_adapter
from encore_jax.reward.reward_model import RewardModel
from tests.goldens import tiny
from tests.reward import tiny_reward
from tests.reward.test_import import classifier

PHI_4_MINI = {
    "model_type": "phi3", "vocab_size": 200064, "hidden_size": 3072, "intermediate_size": 8192, "num_hidden_layers": 32,
    "num_attention_heads": 24, "num_key_value_heads": 8, "rms_norm_eps": 1e-5, "rope_theta": 10000.0,
    "hidden_act": "silu",
    "max_position_embeddings": 131072, "original_max_position_embeddings": 4096, "partial_rotary_factor": 0.75,
    "rope_scaling": {"type": "longrope", "short_factor": [1.0] * 48, "long_factor": [2.0] * 48},
    "tie_word_embeddings": True, "sliding_window": 262144, "attention_bias": False, "lm_head_bias": False,
}  # fmt: skip
"""The fields of microsoft/Phi-4-mini-instruct; of its long factors only the number."""


def run(cfg, drawn, tokens):
    one = jnp.ones(tokens.shape, jnp.int32)
    position = jnp.broadcast_to(jnp.arange(tokens.shape[1], dtype=jnp.int32)[None], tokens.shape)
    return jax.jit(Backbone(cfg).apply)({"params": drawn}, jnp.asarray(tokens), one, one - 1, position)


def test_phi_4_mini_as_published():
    cfg = DecoderConfig.from_hf(PHI_4_MINI)
    assert (cfg.head_dim, cfg.rotary, cfg.windows, cfg.longest_path) == (128, 96, (), 4096)
    assert cfg.rope.attention_factor == pytest.approx(math.sqrt(1 + math.log(32) / math.log(4096)))
    np.testing.assert_allclose(inverse_frequencies(cfg), 10000.0 ** (-np.arange(48) / 48))
    assert params.count(cfg) == 3_836_021_760


def test_the_plain_model_of_4k_has_its_window_and_no_stretching():
    plain = PHI_4_MINI | {"rope_scaling": None, "partial_rotary_factor": None, "max_position_embeddings": 4096}
    cfg = DecoderConfig.from_hf(plain | {"sliding_window": 2047})
    assert cfg.window == 2047 and cfg.rotary == cfg.head_dim and cfg.longest_path == 4096


def test_within_the_first_window_only_short_factors_count_and_longer_rows_are_refused(tmp_path):
    cfg, drawn, _ = load_backbone(tiny.save(tmp_path / "a", "phi3"))
    states = run(cfg, drawn, tiny.tokens("phi3"))
    rope = tiny.config("phi3")["rope_scaling"]
    other = DecoderConfig.from_hf(tiny.config("phi3") | {"rope_scaling": rope | {"long_factor": [9.0] * 6}})
    np.testing.assert_array_equal(run(other, drawn, tiny.tokens("phi3")), states)
    with pytest.raises(InputError, match=r"rows of 161 tokens.*hold up to 160.*--config\.train\.length"):
        run(cfg, drawn, np.ones((1, 161), np.int32))


def test_a_loaded_classifier_makes_no_rows_that_are_too_long(tmp_path):
    assert RewardModel.from_pretrained(classifier(tmp_path, "phi3", labels=2)).buckets == (160,)


@pytest.mark.parametrize(
    ("rope", "words"),
    [
        ({"short_factor": None}, "needs 'short_factor'"),
        ({"long_factor": []}, "needs 'long_factor'"),
        ({"short_factor": [1.0] * 8}, "8 rope factors for 6 rotary pairs"),
        ({"long_factor": [1.0] * 5}, "5 rope factors for 6 rotary pairs"),
        ({"short_factor": [1.0, "x"]}, "short_factor"),
        ({"type": "yarn"}, "'yarn' is not supported"),
        ({"short_mscale": 1.2}, "'short_mscale': 1.2 is not supported"),
        ({"beta_fast": 32.0}, "'beta_fast': 32.0 is not supported"),
    ],
)
def test_factors_that_are_none_are_refused(rope, words):
    config = tiny.config("phi3")
    with pytest.raises(InputError, match=words):
        DecoderConfig.from_hf(config | {"rope_scaling": config["rope_scaling"] | rope})


@pytest.mark.parametrize(
    "more", [{}, {"factor": 3.0}, {"attention_factor": 1.37}, {"factor": 0.5}, {"factor": 8.0, "attention_factor": 0.9}]
)
def test_a_factor_of_its_own_is_exported_as_transformers_reads_it(more):
    from transformers import Phi3Config

    config = tiny.config("phi3")
    cfg = DecoderConfig.from_hf(config | {"rope_scaling": config["rope_scaling"] | more})
    written = hf_config(cfg)
    assert DecoderConfig.from_hf(written) == cfg
    usual = more in ({}, {"factor": 256 / 160})
    assert len(written["rope_scaling"]) == 3 + (not usual)  # transformers 4 refuses a fourth
    theirs = Phi3Config.from_dict(written | {"eos_token_id": 2, "pad_token_id": 0}).rope_parameters
    assert theirs["original_max_position_embeddings"] == 160 and theirs["partial_rotary_factor"] == 0.75
    assert theirs.get("attention_factor") == (None if usual else cfg.rope.attention_factor)


@pytest.mark.parity
@pytest.mark.parametrize("more", [{}, {"factor": 3.0}, {"attention_factor": 1.37}])
def test_exported_rotary_numbers_are_those_of_transformers(more):
    pytest.importorskip("torch")
    from transformers import Phi3Config
    from transformers.modeling_rope_utils import ROPE_INIT_FUNCTIONS

    config = tiny.config("phi3")
    cfg = DecoderConfig.from_hf(config | {"rope_scaling": config["rope_scaling"] | more})
    theirs = Phi3Config.from_dict(hf_config(cfg) | {"eos_token_id": 2, "pad_token_id": 0})
    frequencies, attention = ROPE_INIT_FUNCTIONS["longrope"](theirs)
    np.testing.assert_allclose(frequencies.numpy(), inverse_frequencies(cfg), rtol=1e-6)
    assert attention == pytest.approx(cfg.rope.attention_factor, abs=1e-12)


NO_NUMBERS = (0, -1, float("nan"), float("inf"), "1", True, [1.0], {}, 10**400)


@pytest.mark.parametrize("value", NO_NUMBERS, ids=lambda value: repr(value)[:8])
@pytest.mark.parametrize("field", ["factor", "attention_factor", "short_factor", "long_factor", "rope_theta"])
def test_numbers_of_longrope_that_are_none_are_refused(field, value):
    config = tiny.config("phi3")
    given = [value] * 6 if field.endswith(("short_factor", "long_factor")) else value
    with pytest.raises(InputError, match=field):
        DecoderConfig.from_hf(config | {"rope_scaling": config["rope_scaling"] | {field: given}})


NO_LENGTHS = [*NO_NUMBERS, 1, 1.5, 257]
"""Of 257 tokens before, 256 after the stretching."""
NO_SHARES = [*NO_NUMBERS, 1.5, -0.5, 0.7, 0.1]
"""Of a head's dimensions: they leave no pairs."""


@pytest.mark.parametrize("inside", [True, False])
@pytest.mark.parametrize(
    ("field", "value"),
    [("original_max_position_embeddings", value) for value in NO_LENGTHS]
    + [("partial_rotary_factor", value) for value in NO_SHARES],
    ids=lambda value: repr(value)[:12],
)
def test_first_lengths_and_shares_that_are_none_are_refused(field, value, inside):
    config = tiny.config("phi3")
    del config[field]
    changes = {"rope_scaling": config["rope_scaling"] | {field: value}} if inside else {field: value}
    with pytest.raises(InputError, match=field):
        DecoderConfig.from_hf(config | changes)


@pytest.mark.parametrize("field", ["hidden_size", "num_attention_heads"])
def test_missing_sizes_are_named(field):
    config = tiny.config("phi3")
    del config[field]
    with pytest.raises(InputError, match=field):
        DecoderConfig.from_hf(config)


def test_a_fused_tensor_of_other_rows_is_named(tmp_path):
    file = tiny.save(tmp_path, "phi3") / "model.safetensors"
    tensors = load_file(file)
    name = "model.layers.1.self_attn.qkv_proj.weight"
    save_file(tensors | {name: tensors[name][:-1].copy()}, file)
    with pytest.raises(
        InputError, match=r"layers\.1\.self_attn\.qkv_proj\.weight is \(127, 64\), expected \(128, 64\)"
    ):
        load_backbone(tmp_path)


@pytest.mark.parametrize("targets", [("q", "v", "o", "up"), ("k", "gate", "up", "down")])
def test_an_adapter_of_fused_modules_adds_what_was_trained(targets, tmp_path):
    """Written as one update of higher rank, as PEFT would have it, and read again."""
    model = tiny_reward.reward_model(tmp_path / "backbone", "phi3")
    lora, rng = Lora(rank=3, scale=1.5, targets=targets), np.random.default_rng(2)
    drawn = {name: 0.3 * rng.standard_normal(x.shape).astype(np.float32)
             for name, x in init_lora(model.cfg, lora, jax.random.key(0)).items()}  # fmt: skip
    back = RewardModel.from_pretrained(export_adapter(model, lora, drawn, None, tmp_path / "adapter"))
    expected = merged(model.params["layers"], drawn, 1.5)
    for name, array in back.params["layers"].items():
        np.testing.assert_allclose(array, expected[name], atol=1e-5, err_msg=name)
