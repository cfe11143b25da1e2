"""Reading a decoder's fields from Hugging Face's config.json."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from encore_jax.json_shape import check_shape
from encore_jax.model.config_rope import rope_fields
from encore_jax.model.config_shape import Backbone, Multimodal, needed, one_value, unsupported

FAMILIES = ("llama", "mistral", "qwen2", "qwen3", "gemma2", "gemma3_text", "qwen3_moe", "olmoe", "granite", "phi3")
EXPERTS = ("qwen3_moe", "olmoe")
GEMMA = ("gemma2", "gemma3_text")
FUSED = ("phi3",)
"""Whose files store several matrices in one, see `encore_jax.checkpoints.fused`."""
MULTIMODAL = {"gemma3": "gemma3_text"}
"""Models that read pictures too, and the family of the part that reads text, which is what is computed here."""

# What transformers' own configuration classes assume where config.json is silent.
_HF_DEFAULTS = {
    "llama": {"max_position_embeddings": 2048},
    "mistral": {
        "max_position_embeddings": 131_072, "num_key_value_heads": 8, "sliding_window": 4096,
    },
    "qwen2": {"max_position_embeddings": 32_768, "sliding_window": 4096, "max_window_layers": 28},
    "qwen3": {
        "max_position_embeddings": 32_768, "sliding_window": 4096, "max_window_layers": 28,
        "head_dim": 128,
    },
    "gemma2": {
        "max_position_embeddings": 8192, "sliding_window": 4096, "head_dim": 256, "tie_word_embeddings": True,
        "query_pre_attn_scalar": 256, "attn_logit_softcapping": 50.0, "final_logit_softcapping": 30.0,
    },
    "gemma3_text": {
        "vocab_size": 262_208, "hidden_size": 2304, "intermediate_size": 9216, "num_hidden_layers": 26,
        "num_attention_heads": 8, "num_key_value_heads": 4, "head_dim": 256, "max_position_embeddings": 131_072,
        "sliding_window": 4096, "sliding_window_pattern": 6, "tie_word_embeddings": True,
        "query_pre_attn_scalar": 256,
    },
    "qwen3_moe": {
        "max_position_embeddings": 32_768, "sliding_window": 4096, "num_key_value_heads": 4,
        "moe_intermediate_size": 768, "num_experts": 128, "num_experts_per_tok": 8,
    },
    "olmoe": {"max_position_embeddings": 4096, "rms_norm_eps": 1e-5, "num_experts": 64, "num_experts_per_tok": 8},
    "granite": {"max_position_embeddings": 2048},
    "phi3": {"max_position_embeddings": 4096, "rms_norm_eps": 1e-5},
}  # fmt: skip

# Fields that change the computation, with the only values computed here.
_HF_REQUIRED = {
    "attention_bias": (False, None),
    "mlp_bias": (False, None),
    "partial_rotary_factor": (1, 1.0, None),
    "rope_interleaved": (False, None),
    "pretraining_tp": (1, None),
    "quantization_config": (None,),
    "use_bidirectional_attention": (False, None),
    "is_causal": (True, None),
}
# Gemma's `hidden_act` is read by nobody, and neither is Gemma 3's soft cap of attention.
_HF_OF_FAMILY = {family: {"hidden_act": ("silu",)} for family in FAMILIES if family not in GEMMA} | {
    "gemma2": {"hidden_activation": ("gelu_pytorch_tanh", None)},
    "gemma3_text": {"hidden_activation": ("gelu_pytorch_tanh", None), "attn_logit_softcapping": (None,)},
    "qwen3_moe": {"hidden_act": ("silu",), "decoder_sparse_step": (1, None), "mlp_only_layers": ([], None)},
    "olmoe": {"hidden_act": ("silu",), "clip_qkv": (None,)},
    "phi3": {"hidden_act": ("silu",), "lm_head_bias": (False, None)},
}


def fields_from_hf(config: Mapping[str, Any]) -> dict[str, Any]:
    """Keyword arguments of ``DecoderConfig`` from a parsed ``config.json``."""
    config = text_fields(config)
    check_shape(config, Backbone, where="config.json", fix="use the model's own config.json")
    family = config.get("model_type")
    if family not in FAMILIES:
        raise unsupported("config.json, field 'model_type'", family, (*FAMILIES, *MULTIMODAL))
    required = _HF_REQUIRED | _HF_OF_FAMILY[family]
    if family == "phi3":
        del required["partial_rotary_factor"]
    for name, allowed in required.items():
        if config.get(name, allowed[0]) not in allowed:
            raise unsupported(f"config.json, field {name!r}", config[name], allowed)

    known = {**_HF_DEFAULTS[family], **config}  # an explicit null wins over the default
    gemma = family in GEMMA

    def get(name, otherwise=None):
        return otherwise if known.get(name) is None else known[name]

    def need(name, otherwise=None):
        return needed(get(name, otherwise), f"config.json, field {name!r}")

    heads, layers = need("num_attention_heads"), need("num_hidden_layers")
    width, max_positions = need("hidden_size"), need("max_position_embeddings")
    return {
        "vocab_size": need("vocab_size"),
        "width": width,
        "layers": layers,
        "heads": heads,
        "kv_heads": need("num_key_value_heads", heads),
        "head_dim": need("head_dim", width // heads),
        "mlp_width": need("moe_intermediate_size" if family == "qwen3_moe" else "intermediate_size"),
        "norm_eps": float(get("rms_norm_eps", 1e-6)),
        **rope_fields(config, family, max_positions),
        "qkv_bias": family == "qwen2",
        "qk_norm": family in ("qwen3", "gemma3_text", *EXPERTS),
        "qk_norm_whole": family == "olmoe",
        "tie_embeddings": bool(get("tie_word_embeddings", False)),
        "activation": "gelu_tanh" if gemma else "silu",
        "norm_offset": 1.0 if gemma else 0.0,
        "post_norms": gemma,
        "embed_scale": width**0.5 if gemma else 1.0,
        "query_scale": float(need("query_pre_attn_scalar")) if gemma else 0.0,
        "attention_cap": float(get("attn_logit_softcapping", 0)) if gemma else 0.0,
        "logit_cap": float(get("final_logit_softcapping", 0)) if gemma else 0.0,
        **(_experts(config, need, get) if family in EXPERTS else {}),
        **(_multipliers(get) if family == "granite" else {}),
        "windows": _hf_windows(family, get, layers),
        "max_positions": max_positions,
        "init_std": float(get("initializer_range", 0.02)),
        "family": family,
    }


def _experts(config: Mapping[str, Any], need, get) -> dict[str, Any]:
    """A mixture's numbers; transformers has had two names for that of the experts."""
    two = {name: config.get(name) for name in ("num_local_experts", "num_experts")}
    count = one_value("config.json", **two)
    return {
        "experts": need("num_experts") if count is None else count,
        "experts_per_token": need("num_experts_per_tok"),
        "normalize_experts": bool(get("norm_topk_prob", False)),
    }


def _multipliers(get) -> dict[str, float]:
    """Granite's four numbers; it multiplies attention scores, which are divided by a square root here."""
    names = {"embed_scale": "embedding_multiplier", "residual_scale": "residual_multiplier",
             "logit_divisor": "logits_scaling"}  # fmt: skip
    return {
        **{field: float(get(name, 1)) for field, name in names.items()},
        "query_scale": float(get("attention_multiplier", 1)) ** -2,
    }


def text_fields(config: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of the part that reads text: all of them, or a multimodal model's ``text_config`` where it has one.

    >>> text_fields({"model_type": "gemma3", "text_config": {"hidden_size": 8}})
    {'hidden_size': 8, 'model_type': 'gemma3_text'}
    """
    kind = config.get("model_type")
    if not isinstance(kind, str) or kind not in MULTIMODAL:
        return dict(config)
    fix = "use the model's own config.json"
    text = check_shape(dict(config), Multimodal, where="config.json", fix=fix).get("text_config") or {}
    if text.get("model_type", MULTIMODAL[kind]) != MULTIMODAL[kind]:
        raise unsupported("config.json, field 'text_config', 'model_type'", text["model_type"], (MULTIMODAL[kind],))
    outer = {name: config[name] for name in ("tie_word_embeddings", *_HF_REQUIRED) if config.get(name) is not None}
    for name, value in outer.items():
        one_value("config.json", **{name: value, f"text_config__{name}": text.get(name)})
    return outer | text | {"model_type": MULTIMODAL[kind]}


def _hf_windows(family: str, get, layers: int) -> tuple[int, ...]:
    """Each layer's window; the rules are those of transformers' configuration classes."""
    window = get("sliding_window")
    if family in ("llama", "olmoe", "granite") or (not window and family != "gemma3_text"):
        return ()
    if family == "phi3" and window >= get("max_position_embeddings"):
        return ()
    if family in ("mistral", "phi3") or (family == "qwen3_moe" and get("use_sliding_window", False)):
        return (int(window),) * layers
    if family == "gemma2":
        slides = [i % 2 == 0 for i in range(layers)]
    elif family == "gemma3_text":
        period = needed(get("sliding_window_pattern"), "config.json, field 'sliding_window_pattern'")
        slides = [(i + 1) % period != 0 for i in range(layers)]
    elif get("use_sliding_window", False):
        slides = [i >= get("max_window_layers") for i in range(layers)]
    else:
        return ()
    types = get("layer_types") or ["sliding_attention" if slide else "full_attention" for slide in slides]
    known = {"sliding_attention": int(window or 0), "full_attention": 0}
    for kind in types:
        if kind not in known:
            raise unsupported("config.json, field 'layer_types'", kind, tuple(known))
    if "sliding_attention" in types:
        needed(window or None, "config.json, field 'sliding_window'")
    return tuple(known[kind] for kind in types)
