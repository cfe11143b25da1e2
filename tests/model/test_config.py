"""Configurations: what is read, and what is refused by name."""

import numpy as np
import pytest

from encore_jax.errors import InputError
from encore_jax.model.architectures import ARCHITECTURES, architecture
from encore_jax.model.config import DecoderConfig
from encore_jax.model.config_json import hf_config
from encore_jax.model.params import count
from encore_jax.model.rope_scaling import RopeScaling
from tests.goldens import tiny

LLAMA3 = {
    "rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
    "original_max_position_embeddings": 8192,
}  # fmt: skip
GGUF = {
    "general.architecture": "llama", "llama.block_count": 2, "llama.context_length": 64,
    "llama.embedding_length": 32, "llama.feed_forward_length": 48, "llama.vocab_size": 100,
    "llama.attention.head_count": 4, "llama.attention.head_count_kv": 2,
    "llama.attention.layer_norm_rms_epsilon": 1e-5, "llama.rope.dimension_count": 8,
}  # fmt: skip


def test_llama_31_8b_as_published():
    cfg = DecoderConfig.from_hf({
        "model_type": "llama", "vocab_size": 128256, "hidden_size": 4096,
        "intermediate_size": 14336, "num_hidden_layers": 32, "num_attention_heads": 32,
        "num_key_value_heads": 8, "rms_norm_eps": 1e-5, "rope_theta": 500000.0,
        "rope_scaling": LLAMA3, "max_position_embeddings": 131072, "hidden_act": "silu",
        "attention_bias": False, "mlp_bias": False, "pretraining_tp": 1,
        "tie_word_embeddings": False, "torch_dtype": "bfloat16",
    })  # fmt: skip
    assert (cfg.width, cfg.heads, cfg.kv_heads, cfg.head_dim, cfg.layers) == (4096, 32, 8, 128, 32)
    assert (cfg.rope_theta, cfg.max_positions, cfg.heads_per_kv) == (500000.0, 131072, 4)
    assert cfg.rope == RopeScaling("llama3", 8.0, 1.0, 4.0, 8192)


@pytest.mark.parametrize("family", [family for family in tiny.FAMILIES if family != "gemma3"])
def test_both_spellings_of_rope_read_the_same(family):
    config = tiny.config(family)
    old = dict(config.pop("rope_parameters", None) or config.pop("rope_scaling", None) or {})
    theta = old.pop("rope_theta", None) or config.pop("rope_theta")
    kind = old.pop("type", None) or old.pop("rope_type", "default")
    config.pop("rope_scaling", None)
    new = {**config, "rope_parameters": {**old, "rope_type": kind, "rope_theta": theta}}
    older = {**config, "rope_theta": theta, "rope_scaling": {**old, "type": kind} if old else None}
    assert DecoderConfig.from_hf(new) == DecoderConfig.from_hf(older)


def test_windows_follow_each_familys_rule():
    mistral, qwen2, llama = (tiny.config(f) for f in ("mistral", "qwen2", "llama2"))
    assert DecoderConfig.from_hf(mistral).window == 7
    assert DecoderConfig.from_hf(mistral | {"sliding_window": None}).window is None
    del mistral["sliding_window"]
    assert DecoderConfig.from_hf(mistral).window == 4096  # the family's default
    cfg = DecoderConfig.from_hf(qwen2)
    assert cfg.windows == (0, 6, 6)
    with pytest.raises(InputError, match="windows"):
        _ = cfg.window
    assert DecoderConfig.from_hf(qwen2 | {"use_sliding_window": False}).windows == ()
    types = ["sliding_attention", "full_attention", "full_attention"]
    assert DecoderConfig.from_hf(qwen2 | {"layer_types": types}).windows == (6, 0, 0)
    assert DecoderConfig.from_hf(llama | {"sliding_window": 5}).windows == ()


def test_gemma_2_9b_as_published():
    cfg = DecoderConfig.from_hf({
        "model_type": "gemma2", "vocab_size": 256000, "hidden_size": 3584, "intermediate_size": 14336,
        "num_hidden_layers": 42, "num_attention_heads": 16, "num_key_value_heads": 8, "head_dim": 256,
        "rms_norm_eps": 1e-6, "rope_theta": 10000.0, "max_position_embeddings": 8192, "sliding_window": 4096,
        "sliding_window_size": 4096, "hidden_act": "gelu_pytorch_tanh", "hidden_activation": "gelu_pytorch_tanh",
        "query_pre_attn_scalar": 256, "attn_logit_softcapping": 50.0, "final_logit_softcapping": 30.0,
        "attention_bias": False, "cache_implementation": "hybrid", "torch_dtype": "bfloat16",
    })  # fmt: skip
    assert cfg.windows == (4096, 0) * 21 and cfg.tie_embeddings
    assert (cfg.attention_cap, cfg.logit_cap, cfg.query_scale, cfg.embed_scale) == (50.0, 30.0, 256.0, 3584**0.5)
    assert (cfg.activation, cfg.norm_offset, cfg.post_norms, cfg.family) == ("gelu_tanh", 1.0, True, "gemma2")


GEMMA3_4B = {
    "architectures": ["Gemma3ForConditionalGeneration"], "model_type": "gemma3", "initializer_range": 0.02,
    "boi_token_index": 255999, "image_token_index": 262144, "mm_tokens_per_image": 256, "torch_dtype": "bfloat16",
    "text_config": {
        "hidden_size": 2560, "intermediate_size": 10240, "model_type": "gemma3_text", "num_hidden_layers": 34,
        "rope_scaling": {"factor": 8.0, "rope_type": "linear"}, "sliding_window": 1024,
    },
    "vision_config": {"hidden_size": 1152, "model_type": "siglip_vision_model", "num_hidden_layers": 27},
}  # fmt: skip
"""The published file, which leaves out what is as in transformers' own class."""


def test_gemma_3_4b_as_published():
    cfg = DecoderConfig.from_hf(GEMMA3_4B)
    assert (cfg.width, cfg.layers, cfg.heads, cfg.kv_heads, cfg.head_dim) == (2560, 34, 8, 4, 256)
    assert cfg.windows == ((1024,) * 5 + (0,)) * 5 + (1024,) * 4 and cfg.vocab_size == 262208 and cfg.tie_embeddings
    assert (cfg.rope_theta, cfg.local_rope_theta, cfg.rope) == (1e6, 1e4, RopeScaling("linear", 8.0))
    assert (cfg.qk_norm, cfg.norm_offset, cfg.post_norms, cfg.query_scale) == (True, 1.0, True, 256.0)
    assert (cfg.embed_scale, cfg.attention_cap, cfg.logit_cap) == (2560**0.5, 0.0, 0.0)
    assert DecoderConfig.from_hf(hf_config(cfg)) == cfg and hf_config(cfg)["model_type"] == "gemma3_text"
    assert cfg == architecture("gemma-3-4b")


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_named_architectures_can_be_said_in_config_json(name):
    assert DecoderConfig.from_hf(hf_config(architecture(name))) == architecture(name)


@pytest.mark.parametrize(
    ("name", "millions"),
    [("gemma-3-1b", 999.9), ("gemma-3-4b", 3880.3), ("gemma-3-12b", 11766.0), ("gemma-3-27b", 27009.3)],
)
def test_named_architectures_have_as_many_parameters_as_published(name, millions):
    """The published counts of the text parts: 1.00, 3.88, 11.77 and 27.01 billion."""
    assert count(architecture(name)) / 1e6 == pytest.approx(millions, abs=0.1)


def test_gemma_3s_rope_reads_the_same_in_both_spellings():
    config = tiny.config("gemma3")
    rope = {"full_attention": {**config["rope_scaling"], "rope_theta": 1e6},
            "sliding_attention": {"rope_type": "default", "rope_theta": 1e4}}  # fmt: skip
    older = {name: value for name, value in config.items() if not name.startswith("rope_")}
    assert DecoderConfig.from_hf(older | {"rope_parameters": rope}) == DecoderConfig.from_hf(config)
    assert DecoderConfig.from_hf(older | {"rope_scaling": config["rope_scaling"]}) == DecoderConfig.from_hf(config)


def test_gemma_3s_layers_are_told_by_pattern_or_by_name():
    config = tiny.config("gemma3")
    types = ["full_attention", "sliding_attention", "sliding_attention"]
    assert DecoderConfig.from_hf(config).windows == (9, 0, 9)
    assert DecoderConfig.from_hf(config | {"layer_types": types}).windows == (0, 9, 9)
    everywhere = config | {"layer_types": ["full_attention"] * 3, "sliding_window": None}
    assert DecoderConfig.from_hf(everywhere).windows == (0, 0, 0)
    assert DecoderConfig.from_hf(hf_config(DecoderConfig.from_hf(everywhere))).windows == (0, 0, 0)


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"model_type": "gemma3n"}, "model_type"),
        ({"model_type": "gemma3", "text_config": 3}, "text_config"),
        ({"model_type": "gemma3", "text_config": {"model_type": "llama"}}, "text_config"),
        ({"model_type": "gemma3", "text_config": {"hidden_size": "64"}}, "hidden_size"),
        ({"model_type": "gemma3", "quantization_config": {"bits": 4}}, "quantization_config"),
        ({"hidden_act": "gelu"}, "hidden_act"),
        ({"attention_bias": True}, "attention_bias"),
        ({"mlp_bias": True}, "mlp_bias"),
        ({"partial_rotary_factor": 0.5}, "partial_rotary_factor"),
        ({"quantization_config": {"bits": 4}}, "quantization_config"),
        ({"rope_scaling": {"rope_type": "longrope", "factor": 2.0}}, "rope_scaling"),
        ({"rope_scaling": {"rope_type": "linear"}}, "rope_scaling"),
        ({"rope_parameters": {"full_attention": {"rope_type": "default"}}}, "rope_parameters"),
        ({"hidden_size": "64"}, "hidden_size"),
        ({"num_hidden_layers": None}, "num_hidden_layers"),
        ({"num_attention_heads": 0}, "num_attention_heads"),
        ({"num_key_value_heads": 3}, "kv_heads"),
        ({"head_dim": 7}, "head_dim"),
        ({"model_type": None}, "model_type"),
        ({"model_type": ["llama"]}, "model_type"),
        ({"model_type": "x" * 5000}, "model_type"),
        ({"hidden_size": 64.0}, "hidden_size"),
        ({"hidden_size": True}, "hidden_size"),
        ({"hidden_size": -64}, "hidden_size"),
        ({"hidden_size": 10**12}, "hidden_size"),
        ({"num_hidden_layers": 10**9}, "num_hidden_layers"),
        ({"num_hidden_layers": [3]}, "num_hidden_layers"),
        ({"vocab_size": 0}, "vocab_size"),
        ({"max_position_embeddings": 2**31}, "max_position_embeddings"),
        ({"rms_norm_eps": float("nan")}, "rms_norm_eps"),
        ({"rms_norm_eps": "1e-5"}, "rms_norm_eps"),
        ({"rms_norm_eps": -1.0}, "rms_norm_eps"),
        ({"initializer_range": float("inf")}, "initializer_range"),
        ({"rope_theta": "x"}, "rope_theta"),
        ({"rope_theta": 0}, "rope_theta"),
        ({"rope_theta": 1}, "rope_theta"),
        ({"rope_theta": float("nan")}, "rope_theta"),
        ({"rope_scaling": [1]}, "rope_scaling"),
        ({"rope_scaling": "linear"}, "rope_scaling"),
        ({"rope_scaling": {"rope_type": 3}}, "rope_scaling"),
        ({"rope_scaling": {"type": "dynamic", "factor": 2.0}}, "rope_scaling"),
        ({"rope_scaling": {"type": "linear", "factor": "2"}}, "rope_scaling"),
        ({"rope_scaling": {"type": "linear", "factor": 0}}, "rope_scaling"),
        ({"rope_scaling": {"type": "linear", "factor": float("nan")}}, "rope_scaling"),
        ({"rope_scaling": {"type": "linear", "factor": 2, "mrope_section": [8]}}, "rope_scaling"),
        ({"rope_scaling": {"type": "yarn", "factor": 2, "original_max_position_embeddings": 0}}, "rope_scaling"),
        ({"rope_scaling": {"type": "yarn", "factor": 2, "beta_fast": -1}}, "rope_scaling"),
        (
            {"rope_scaling": {"type": "llama3", "factor": 8, "low_freq_factor": 4, "high_freq_factor": 4}},
            "rope_scaling",
        ),
        ({"rope_parameters": {"rope_type": "default", "rope_theta": -1}}, "rope_parameters"),
        ({"tie_word_embeddings": "false"}, "tie_word_embeddings"),
        ({"is_causal": False}, "is_causal"),
    ],
)
def test_a_value_not_computed_here_is_refused_by_name(change, field):
    with pytest.raises(InputError, match=field) as caught:
        DecoderConfig.from_hf(tiny.config("llama2") | change)
    assert len(str(caught.value)) < 400


@pytest.mark.parametrize(
    ("family", "change", "field"),
    [
        ("mistral", {"sliding_window": -1}, "sliding_window"),
        ("mistral", {"sliding_window": "7"}, "sliding_window"),
        ("mistral", {"sliding_window": 2**40}, "sliding_window"),
        ("qwen2", {"layer_types": "sliding_attention"}, "layer_types"),
        ("qwen2", {"layer_types": ["full_attention"]}, "windows"),
        ("qwen2", {"layer_types": [3, 3, 3]}, "layer_types"),
        ("qwen2", {"layer_types": None, "max_window_layers": "2"}, "max_window_layers"),
        ("qwen2", {"use_sliding_window": 1}, "use_sliding_window"),
        ("gemma2", {"query_pre_attn_scalar": None}, "query_pre_attn_scalar"),
        ("gemma2", {"query_pre_attn_scalar": 0}, "query_pre_attn_scalar"),
        ("gemma2", {"attn_logit_softcapping": "50"}, "attn_logit_softcapping"),
        ("gemma2", {"final_logit_softcapping": -1}, "final_logit_softcapping"),
        ("gemma3", {"attn_logit_softcapping": 50.0}, "attn_logit_softcapping"),
        ("gemma3", {"use_bidirectional_attention": True}, "use_bidirectional_attention"),
        ("gemma3", {"sliding_window": None}, "sliding_window"),
        ("gemma3", {"sliding_window_pattern": 0}, "sliding_window_pattern"),
        ("gemma3", {"sliding_window_pattern": None}, "sliding_window_pattern"),
        ("gemma3", {"rope_local_base_freq": 1}, "rope_local_base_freq"),
        ("gemma3", {"rope_parameters": {"rope_theta": 1e6}}, "rope_parameters"),
        ("gemma3", {"rope_parameters": {"full_attention": 3}}, "rope_parameters"),
        ("gemma3", {"rope_parameters": {"sliding_attention": {"rope_type": "linear", "factor": 8}}}, "sliding_att"),
        ("gemma3", {"rope_scaling": {"rope_type": "longrope", "factor": 8}}, "rope_scaling"),
    ],
)
def test_a_familys_own_field_of_another_type_is_refused_by_name(family, change, field):
    with pytest.raises(InputError, match=field):
        DecoderConfig.from_hf(tiny.config(family) | change)


def test_an_unknown_layer_type_is_refused():
    with pytest.raises(InputError, match="layer_types"):
        DecoderConfig.from_hf(tiny.config("qwen2") | {"layer_types": ["chunked_attention"] * 3})


def test_wrong_counts_are_refused():
    sizes = dict(vocab_size=8, width=8, layers=2, heads=2, kv_heads=1, head_dim=4, mlp_width=8)
    with pytest.raises(InputError, match="one window per layer"):
        DecoderConfig(**sizes, windows=(4,))
    with pytest.raises(InputError, match="rope factors"):
        DecoderConfig(**sizes, rope=RopeScaling("factors", factors=(1.0,)))


def test_gguf_metadata():
    cfg = DecoderConfig.from_gguf(GGUF, tie_embeddings=True)
    assert (cfg.vocab_size, cfg.width, cfg.heads, cfg.kv_heads, cfg.head_dim) == (100, 32, 4, 2, 8)
    assert cfg.tie_embeddings and cfg.rope == RopeScaling() and cfg.windows == ()
    vocab_from_tokens = {k: v for k, v in GGUF.items() if k != "llama.vocab_size"}
    vocab_from_tokens["tokenizer.ggml.tokens"] = ["a", "b"]
    assert DecoderConfig.from_gguf(vocab_from_tokens, tie_embeddings=False).vocab_size == 2
    stretched = GGUF | {"llama.rope.scaling.type": "linear", "llama.rope.scaling.factor": 4.0}
    assert DecoderConfig.from_gguf(stretched, tie_embeddings=True).rope.factor == 4.0
    factors = (1.0, 1.0, 2.0, 8.0)
    cfg = DecoderConfig.from_gguf(GGUF, tie_embeddings=True, rope_factors=factors)
    assert cfg.rope == RopeScaling("factors", factors=factors)


@pytest.mark.parametrize(
    ("change", "key"),
    [
        ({"general.architecture": "gemma"}, "general.architecture"),
        ({"llama.embedding_length": None}, "llama.embedding_length"),
        ({"llama.attention.layer_norm_rms_epsilon": None}, "layer_norm_rms_epsilon"),
        ({"llama.expert_count": 8}, "llama.expert_count"),
        ({"llama.rope.dimension_count": 4, "llama.attention.key_length": 8}, "dimension_count"),
        ({"llama.rope.scaling.type": "longrope"}, "llama.rope.scaling.type"),
        ({"llama.attention.head_count_kv": [2, 2]}, "head_count_kv"),
        ({"general.architecture": ["llama"]}, "general.architecture"),
        ({"general.architecture": np.arange(3)}, "general.architecture"),
        ({"llama.embedding_length": "32"}, "llama.embedding_length"),
        ({"llama.embedding_length": 32.0}, "llama.embedding_length"),
        ({"llama.embedding_length": 0}, "llama.embedding_length"),
        ({"llama.embedding_length": np.arange(2)}, "llama.embedding_length"),
        ({"llama.block_count": 2**32 - 1}, "llama.block_count"),
        ({"llama.context_length": 2**40}, "llama.context_length"),
        ({"llama.attention.head_count": -4}, "llama.attention.head_count"),
        ({"llama.attention.head_count_kv": True}, "head_count_kv"),
        ({"llama.attention.value_length": 4}, "llama.attention.value_length"),
        ({"llama.attention.layer_norm_rms_epsilon": "a"}, "layer_norm_rms_epsilon"),
        ({"llama.attention.layer_norm_rms_epsilon": float("nan")}, "layer_norm_rms_epsilon"),
        ({"llama.rope.freq_base": "x"}, "llama.rope.freq_base"),
        ({"llama.rope.freq_base": 0.0}, "llama.rope.freq_base"),
        ({"llama.rope.scaling.type": 3}, "llama.rope.scaling.type"),
        ({"llama.rope.scaling.type": "linear", "llama.rope.scaling.factor": "4"}, "llama.rope.scaling.factor"),
        ({"llama.rope.scaling.type": "linear", "llama.rope.scaling.factor": -4.0}, "llama.rope.scaling.factor"),
        ({"llama.rope.scaling.type": "yarn", "llama.rope.scaling.factor": 4.0,
          "llama.rope.scaling.original_context_length": "8"}, "original_context_length"),
        ({"llama.attention.sliding_window": "5"}, "sliding_window"),
        ({"llama.attention.sliding_window": -5}, "sliding_window"),
        ({"llama.expert_count": np.arange(3)}, "llama.expert_count"),
        ({"llama.attention.causal": False}, "llama.attention.causal"),
        ({"llama.attention.scale": 0.5}, "llama.attention.scale"),
        ({"llama.vocab_size": None, "tokenizer.ggml.tokens": 5}, "llama.vocab_size"),
        ({"llama.vocab_size": None, "tokenizer.ggml.tokens": []}, "llama.vocab_size"),
    ],
)  # fmt: skip
def test_gguf_metadata_not_computed_here_is_refused_by_name(change, key):
    metadata = {k: v for k, v in (GGUF | change).items() if v is not None}
    with pytest.raises(InputError, match=key):
        DecoderConfig.from_gguf(metadata, tie_embeddings=True)
