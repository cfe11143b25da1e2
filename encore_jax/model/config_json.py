"""Writing a decoder's fields as Hugging Face's config.json: the inverse of ``config_files.fields_from_hf``."""

from __future__ import annotations

from typing import Any

from encore_jax.errors import InputError
from encore_jax.model.config import DecoderConfig
from encore_jax.model.config_files import EXPERTS, GEMMA
from encore_jax.model.rope_scaling import RopeScaling, longrope_attention

CLASSES = {
    "llama": "Llama",
    "mistral": "Mistral",
    "qwen2": "Qwen2",
    "qwen3": "Qwen3",
    "gemma2": "Gemma2",
    "gemma3_text": "Gemma3Text",
    "qwen3_moe": "Qwen3Moe",
    "olmoe": "Olmoe",
    "granite": "Granite",
    "phi3": "Phi3",
}
"""What transformers calls the families."""
SPELT_DIGITS = 12
"""Decimals of a number that is written as it was read, though it is held as its inverse square."""
_OTHERWISE = {"Gemma3TextForCausalLM": "Gemma3ForCausalLM"}


def class_name(family: str, kind: str) -> str:
    """The class of transformers: `kind` is "Model", "ForCausalLM" or "ForSequenceClassification".

    >>> class_name("gemma3_text", "ForCausalLM"), class_name("gemma3_text", "Model")
    ('Gemma3ForCausalLM', 'Gemma3TextModel')
    """
    name = CLASSES[family] + kind
    return _OTHERWISE.get(name, name)


def hf_config(cfg: DecoderConfig) -> dict[str, Any]:
    """The fields of ``config.json`` that describe the backbone, in the spelling that transformers 4 and 5 both read.

    ``DecoderConfig.from_hf`` of the result gives the same backbone.

    Raises:
      InputError: something that the family's configuration class cannot say.

    >>> cfg = DecoderConfig(vocab_size=32, width=8, layers=2, heads=2, kv_heads=1, head_dim=4, mlp_width=16)
    >>> DecoderConfig.from_hf(hf_config(cfg)) == cfg
    True
    """
    gemma = cfg.family in GEMMA
    fields = {
        "model_type": cfg.family,
        "vocab_size": cfg.vocab_size,
        "hidden_size": cfg.width,
        "intermediate_size": cfg.mlp_width,
        "num_hidden_layers": cfg.layers,
        "num_attention_heads": cfg.heads,
        "num_key_value_heads": cfg.kv_heads,
        "head_dim": cfg.head_dim,
        "rms_norm_eps": cfg.norm_eps,
        "rope_theta": cfg.rope_theta,
        "rope_scaling": _longrope(cfg) if cfg.rope.kind == "longrope" else _rope(cfg.rope),
        "max_position_embeddings": cfg.max_positions,
        "initializer_range": cfg.init_std,
        "tie_word_embeddings": cfg.tie_embeddings,
        "hidden_activation" if gemma else "hidden_act": "gelu_pytorch_tanh" if gemma else "silu",
        **_windows(cfg),
    }
    if cfg.family in ("llama", "qwen3", "granite", "phi3", *GEMMA, *EXPERTS):
        fields["attention_bias"] = False
    if cfg.family in ("llama", "granite"):
        fields["mlp_bias"] = False
    if cfg.family == "granite":
        fields |= {
            "embedding_multiplier": cfg.embed_scale,
            "attention_multiplier": round((cfg.query_scale or cfg.head_dim) ** -0.5, SPELT_DIGITS),
            "residual_multiplier": cfg.residual_scale,
            "logits_scaling": cfg.logit_divisor,
        }
    if cfg.family == "phi3":
        fields["partial_rotary_factor"] = cfg.rotary / cfg.head_dim
        if cfg.rope.kind == "longrope":
            fields["original_max_position_embeddings"] = cfg.rope.original_max_positions
    if gemma:
        fields["query_pre_attn_scalar"] = int(cfg.query_scale) if cfg.query_scale.is_integer() else cfg.query_scale
        fields["attn_logit_softcapping"] = cfg.attention_cap or None
        fields["final_logit_softcapping"] = cfg.logit_cap or None
    if cfg.local_rope_theta:
        fields["rope_local_base_freq"] = cfg.local_rope_theta
    if cfg.experts:
        fields |= {
            "num_experts": cfg.experts,
            "num_experts_per_tok": cfg.experts_per_token,
            "norm_topk_prob": cfg.normalize_experts,
        }
    if cfg.family == "qwen3_moe":  # the width of the other kind of layers, of which it has none
        fields |= {"moe_intermediate_size": cfg.mlp_width, "decoder_sparse_step": 1, "mlp_only_layers": []}
    found = DecoderConfig.from_hf(fields)
    if found != cfg:
        differ = [name for name in vars(cfg) if getattr(cfg, name) != getattr(found, name)]
        raise InputError(
            f"{CLASSES[cfg.family]} of transformers cannot have this {', '.join(differ)}",
            where="config.json",
            fix="export a model of a plain family",
        )
    return fields


def _rope(rope: RopeScaling) -> dict[str, Any] | None:
    if rope.kind == "none":
        return None
    if rope.kind == "factors":
        raise InputError(
            "rotary frequencies stretched one by one, as GGUF files store them, have no name in config.json",
            where="rope",
            fix="start from the model's Hugging Face folder",
        )
    kind = {"rope_type": rope.kind, "factor": rope.factor}
    original = {"original_max_position_embeddings": rope.original_max_positions}
    if rope.kind == "linear":
        return kind
    if rope.kind == "llama3":
        return kind | original | {"low_freq_factor": rope.low_freq_factor, "high_freq_factor": rope.high_freq_factor}
    return kind | original | {
        "beta_fast": rope.beta_fast,
        "beta_slow": rope.beta_slow,
        "truncate": rope.truncate,
        "attention_factor": rope.attention_factor,
    }  # fmt: skip


def _longrope(cfg: DecoderConfig) -> dict[str, Any]:
    """Three fields and no others where they say all, as transformers 4 wants it; a fourth is read by version 5."""
    rope = cfg.rope
    fields = {"type": rope.kind, "short_factor": list(rope.factors), "long_factor": list(rope.long_factors)}
    usual = longrope_attention(cfg.max_positions / rope.original_max_positions, rope.original_max_positions)
    return fields if rope.attention_factor == usual else fields | {"attention_factor": rope.attention_factor}


def _windows(cfg: DecoderConfig) -> dict[str, Any]:
    """Each family says in its own way which layers look how far back."""
    if cfg.family in ("llama", "olmoe", "granite"):
        return {}
    window = max(cfg.windows, default=0)
    if cfg.family in ("mistral", "phi3"):
        return {"sliding_window": window or None}
    if cfg.family == "qwen3_moe":
        return {"sliding_window": window or None, "use_sliding_window": bool(window)}
    types = ["sliding_attention" if found else "full_attention" for found in cfg.windows]
    fields = {"sliding_window": window or None}
    if cfg.windows:
        fields["layer_types"] = types
    if cfg.family in GEMMA:
        return fields
    first = next((i for i, found in enumerate(cfg.windows) if found), cfg.layers)
    return fields | {"use_sliding_window": bool(window), "max_window_layers": first}
