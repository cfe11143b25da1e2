"""Configurations: what is read, and what is refused by name."""

import pytest

from encore_jax.errors import InputError
from encore_jax.model.config import DecoderConfig
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


@pytest.mark.parametrize("family", tiny.FAMILIES)
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


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"model_type": "gemma3"}, "model_type"),
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
    ],
)
def test_a_value_not_computed_here_is_refused_by_name(change, field):
    with pytest.raises(InputError, match=field):
        DecoderConfig.from_hf(tiny.config("llama2") | change)


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
    ],
)
def test_gguf_metadata_not_computed_here_is_refused_by_name(change, key):
    metadata = {k: v for k, v in (GGUF | change).items() if v is not None}
    with pytest.raises(InputError, match=key):
        DecoderConfig.from_gguf(metadata, tie_embeddings=True)
