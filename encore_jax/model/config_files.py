"""Reading a decoder's fields from Hugging Face's config.json."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from encore_jax.json_shape import check_shape
from encore_jax.model.config_shape import Backbone, Rope, needed, unsupported
from encore_jax.model.rope_scaling import KINDS, RopeScaling, rope_scaling

FAMILIES = ("llama", "mistral", "qwen2", "qwen3", "gemma2")

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
_HF_ACTIVATION = {family: {"hidden_act": ("silu",)} for family in FAMILIES[:4]} | {
    "gemma2": {"hidden_activation": ("gelu_pytorch_tanh", None)}
}  # its `hidden_act` is read by nobody


def fields_from_hf(config: Mapping[str, Any]) -> dict[str, Any]:
    """Keyword arguments of ``DecoderConfig`` from a parsed ``config.json``."""
    check_shape(dict(config), Backbone, where="config.json", fix="use the model's own config.json")
    family = config.get("model_type")
    if family not in FAMILIES:
        raise unsupported("config.json, field 'model_type'", family, FAMILIES)
    for name, allowed in (_HF_REQUIRED | _HF_ACTIVATION[family]).items():
        if config.get(name, allowed[0]) not in allowed:
            raise unsupported(f"config.json, field {name!r}", config[name], allowed)

    known = {**_HF_DEFAULTS[family], **config}  # an explicit null wins over the default
    gemma = family == "gemma2"

    def get(name, otherwise=None):
        return otherwise if known.get(name) is None else known[name]

    def need(name, otherwise=None):
        return needed(get(name, otherwise), f"config.json, field {name!r}")

    heads, layers = need("num_attention_heads"), need("num_hidden_layers")
    width, max_positions = need("hidden_size"), need("max_position_embeddings")
    theta, rope = _hf_rope(config, max_positions)
    return {
        "vocab_size": need("vocab_size"),
        "width": width,
        "layers": layers,
        "heads": heads,
        "kv_heads": need("num_key_value_heads", heads),
        "head_dim": need("head_dim", width // heads),
        "mlp_width": need("intermediate_size"),
        "norm_eps": float(get("rms_norm_eps", 1e-6)),
        "rope_theta": theta,
        "rope": rope,
        "qkv_bias": family == "qwen2",
        "qk_norm": family == "qwen3",
        "tie_embeddings": bool(get("tie_word_embeddings", False)),
        "activation": "gelu_tanh" if gemma else "silu",
        "norm_offset": 1.0 if gemma else 0.0,
        "post_norms": gemma,
        "embed_scale": width**0.5 if gemma else 1.0,
        "query_scale": float(need("query_pre_attn_scalar")) if gemma else 0.0,
        "attention_cap": float(get("attn_logit_softcapping", 0)) if gemma else 0.0,
        "logit_cap": float(get("final_logit_softcapping", 0)) if gemma else 0.0,
        "windows": _hf_windows(family, get, layers),
        "max_positions": max_positions,
        "init_std": float(get("initializer_range", 0.02)),
        "family": family,
    }


def _hf_windows(family: str, get, layers: int) -> tuple[int, ...]:
    """Each layer's window; the rules are those of transformers' configuration classes."""
    window = get("sliding_window")
    if family == "llama" or not window:
        return ()
    if family == "mistral":
        return (int(window),) * layers
    if family == "gemma2":
        slides = [i % 2 == 0 for i in range(layers)]
    elif get("use_sliding_window", False):
        slides = [i >= get("max_window_layers") for i in range(layers)]
    else:
        return ()
    types = get("layer_types") or ["sliding_attention" if slide else "full_attention" for slide in slides]
    known = {"sliding_attention": int(window), "full_attention": 0}
    for kind in types:
        if kind not in known:
            raise unsupported("config.json, field 'layer_types'", kind, tuple(known))
    return tuple(known[kind] for kind in types)


def _hf_rope(config: Mapping[str, Any], max_positions: int) -> tuple[float, RopeScaling]:
    """``(theta, scaling)`` from ``rope_parameters`` or the older pair of fields."""
    given = config.get("rope_parameters") or config.get("rope_scaling") or {}
    field = "rope_parameters" if config.get("rope_parameters") else "rope_scaling"
    where = f"config.json, field {field!r}"
    for name, value in given.items():
        if isinstance(value, Mapping):
            raise unsupported(where, f"separate rope for {name[:40]}", ("one rope for all layers",))
    check_shape(dict(given), Rope, where=where)
    theta = float(given.get("rope_theta") or config.get("rope_theta") or 10_000.0)
    kind = given.get("rope_type") or given.get("type") or "default"
    if given.get("partial_rotary_factor") not in (1.0, None):
        raise unsupported(where, given["partial_rotary_factor"], (1.0,))
    if kind not in KINDS:
        raise unsupported(where, kind, KINDS)
    for name in given.keys() - Rope.__annotations__.keys():
        if given[name]:
            raise unsupported(f"{where}, {name[:40]!r}", given[name], (None,))
    return theta, rope_scaling(kind, given, max_positions, where)
