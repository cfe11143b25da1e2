"""Reading a decoder's fields from Hugging Face's config.json and from GGUF metadata."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from encore_jax.errors import InputError
from encore_jax.model.rope_scaling import KINDS, RopeScaling, rope_scaling

FAMILIES = ("llama", "mistral", "qwen2", "qwen3", "gemma2")
GGUF_FAMILIES = FAMILIES[:4]

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
}
_HF_ACTIVATION = {family: {"hidden_act": ("silu",)} for family in FAMILIES[:4]} | {
    "gemma2": {"hidden_activation": ("gelu_pytorch_tanh", None)}
}  # its `hidden_act` is read by nobody


def fields_from_hf(config: Mapping[str, Any]) -> dict[str, Any]:
    """Keyword arguments of ``DecoderConfig`` from a parsed ``config.json``."""
    family = config.get("model_type")
    if family not in FAMILIES:
        raise _unsupported("config.json, field 'model_type'", family, FAMILIES)
    for name, allowed in (_HF_REQUIRED | _HF_ACTIVATION[family]).items():
        if config.get(name, allowed[0]) not in allowed:
            raise _unsupported(f"config.json, field {name!r}", config[name], allowed)

    known = {**_HF_DEFAULTS[family], **config}  # an explicit null wins over the default
    gemma = family == "gemma2"

    def get(name, otherwise=None):
        return otherwise if known.get(name) is None else known[name]

    def whole(name, otherwise=None) -> int:
        return _whole(get(name, otherwise), f"config.json, field {name!r}")

    heads, layers = whole("num_attention_heads"), whole("num_hidden_layers")
    width, max_positions = whole("hidden_size"), whole("max_position_embeddings")
    theta, rope = _hf_rope(config, max_positions)
    return {
        "vocab_size": whole("vocab_size"),
        "width": width,
        "layers": layers,
        "heads": heads,
        "kv_heads": whole("num_key_value_heads", heads),
        "head_dim": whole("head_dim", width // heads),
        "mlp_width": whole("intermediate_size"),
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
        "query_scale": float(get("query_pre_attn_scalar")) if gemma else 0.0,
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
            raise _unsupported("config.json, field 'layer_types'", kind, tuple(known))
    return tuple(known[kind] for kind in types)


def _hf_rope(config: Mapping[str, Any], max_positions: int) -> tuple[float, RopeScaling]:
    """``(theta, scaling)`` from ``rope_parameters`` or the older pair of fields."""
    given = config.get("rope_parameters") or config.get("rope_scaling") or {}
    field = "rope_parameters" if config.get("rope_parameters") else "rope_scaling"
    where = f"config.json, field {field!r}"
    theta = float(given.get("rope_theta", config.get("rope_theta") or 10_000.0))
    kind = given.get("rope_type", given.get("type", "default"))
    for name, value in given.items():
        if isinstance(value, Mapping):
            raise _unsupported(where, f"separate rope for {name}", ("one rope for all layers",))
    if given.get("partial_rotary_factor", 1.0) != 1.0:
        raise _unsupported(where, given["partial_rotary_factor"], (1.0,))
    if kind not in KINDS:
        raise _unsupported(where, kind, KINDS)
    return theta, rope_scaling(kind, given, max_positions, where)


def fields_from_gguf(
    metadata: Mapping[str, Any], tie_embeddings: bool, rope_factors: tuple[float, ...]
) -> dict[str, Any]:
    """Keyword arguments of ``DecoderConfig`` from GGUF metadata."""
    arch = metadata.get("general.architecture")
    if arch not in GGUF_FAMILIES:
        raise _unsupported("GGUF key 'general.architecture'", arch, GGUF_FAMILIES)

    def get(name, default=None):
        return metadata.get(f"{arch}.{name}", default)

    def whole(name, otherwise=None) -> int:
        return _whole(get(name, otherwise), f"GGUF key '{arch}.{name}'")

    if get("expert_count", 0):
        raise _unsupported(f"GGUF key '{arch}.expert_count'", get("expert_count"), (0,))
    eps = get("attention.layer_norm_rms_epsilon")
    if eps is None:
        raise InputError("missing", where=f"GGUF key '{arch}.attention.layer_norm_rms_epsilon'")
    width, heads = whole("embedding_length"), whole("attention.head_count")
    layers, max_positions = whole("block_count"), whole("context_length")
    head_dim = whole("attention.key_length", get("rope.dimension_count", width // heads))
    if whole("rope.dimension_count", head_dim) != head_dim:
        where = f"GGUF key '{arch}.rope.dimension_count'"
        raise _unsupported(where, get("rope.dimension_count"), (head_dim,))
    window = int(get("attention.sliding_window", 0))
    return {
        "vocab_size": whole("vocab_size", len(metadata.get("tokenizer.ggml.tokens", ())) or None),
        "width": width,
        "layers": layers,
        "heads": heads,
        "kv_heads": whole("attention.head_count_kv", heads),
        "head_dim": head_dim,
        "mlp_width": whole("feed_forward_length"),
        "norm_eps": float(eps),
        "rope_theta": float(get("rope.freq_base", 10_000.0)),
        "rope": _gguf_rope(arch, get, rope_factors, max_positions),
        "qkv_bias": arch == "qwen2",
        "qk_norm": arch == "qwen3",
        "tie_embeddings": tie_embeddings,
        "windows": (window,) * layers if window else (),
        "max_positions": max_positions,
        "family": arch,
    }


def _gguf_rope(arch: str, get, factors: tuple[float, ...], max_positions: int) -> RopeScaling:
    if factors:
        return RopeScaling("factors", factors=factors)
    where, kind = f"GGUF key '{arch}.rope.scaling.type'", get("rope.scaling.type", "none")
    if kind not in ("none", "linear", "yarn"):
        raise _unsupported(where, kind, ("none", "linear", "yarn"))
    given = {
        "factor": get("rope.scaling.factor"),
        "original_max_position_embeddings": get("rope.scaling.original_context_length"),
        "attention_factor": get("rope.scaling.attn_factor"),
    }
    return rope_scaling("default" if kind == "none" else kind, given, max_positions, where)


def _whole(value: Any, where: str) -> int:
    if value is None:
        raise InputError("missing", where=where)
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise InputError(f"{value!r} is not a positive whole number", where=where)
    return value


def _unsupported(where: str, value: Any, allowed: tuple) -> InputError:
    known = ", ".join(repr(a) for a in allowed if a is not None)
    fix = f"use a model where it is one of: {known}" if known else "use a model without it"
    return InputError(f"{value!r} is not supported", where=where, fix=fix)
