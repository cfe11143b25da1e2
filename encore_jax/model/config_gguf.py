"""Reading a decoder's fields from the metadata of a GGUF file."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from encore_jax.json_shape import check_shape
from encore_jax.model.config_shape import Experts, Layers, Length, Positive, Size, needed, unsupported
from encore_jax.model.rope_scaling import RopeScaling, rope_scaling

FAMILIES = ("llama", "mistral", "qwen2", "qwen3", "gemma3", "qwen3moe", "olmoe")
_EXPERTS = {"qwen3moe": "qwen3_moe", "olmoe": "olmoe"}
"""Mixtures of experts, and their families."""
_GEMMA3_PERIOD, _GEMMA3_LARGEST, _LOCAL_BASE = 6, 62, 10_000.0
"""What llama.cpp knows of Gemma 3 and files need not say: every sixth layer has no window; the model of 62 layers
divides its scores by another number; the base of layers with a window."""

# Keys, behind the architecture's name, that change the computation, with the only values computed here.
_REQUIRED = {
    "expert_shared_count": (0,),
    "leading_dense_block_count": (0,),
    "attention.clamp_kqv": (0.0,),
    "attention.causal": (True,),
    "attention.scale": (0.0,),
    "attn_logit_softcapping": (0.0,),
    "final_logit_softcapping": (0.0,),
    "embedding_scale": (0.0, 1.0),
    "residual_scale": (0.0, 1.0),
    "logit_scale": (0.0, 1.0),
}
_TYPES = {
    "vocab_size": Size,
    "embedding_length": Size,
    "feed_forward_length": Size,
    "expert_feed_forward_length": Size,
    "expert_count": Experts,
    "expert_used_count": Experts,
    "expert_weights_norm": bool,
    "block_count": Layers,
    "context_length": Length,
    "attention.head_count": Size,
    "attention.head_count_kv": Size,
    "attention.key_length": Size,
    "attention.value_length": Size,
    "attention.layer_norm_rms_epsilon": Positive,
    "rope.dimension_count": Size,
    "rope.freq_base": Positive,
    "rope.freq_base_swa": Positive,
    "rope.scaling.type": str,
    "rope.scaling.factor": float,
    "rope.scaling.original_context_length": Length,
    "rope.scaling.attn_factor": Positive,
}


def fields_from_gguf(
    metadata: Mapping[str, Any], tie_embeddings: bool, rope_factors: tuple[float, ...]
) -> dict[str, Any]:
    """Keyword arguments of ``DecoderConfig`` from GGUF metadata."""
    arch = metadata.get("general.architecture")
    if not isinstance(arch, str) or arch not in FAMILIES:
        raise unsupported("GGUF key 'general.architecture'", arch, FAMILIES)
    for name, allowed in (_REQUIRED | ({} if arch in _EXPERTS else {"expert_count": (0,)})).items():
        found = metadata.get(f"{arch}.{name}", allowed[0])
        if not isinstance(found, bool | int | float) or found not in allowed:
            raise unsupported(f"GGUF key '{arch}.{name}'", found, allowed)

    def get(name, otherwise=None, kind=None):
        found = metadata.get(f"{arch}.{name}")
        if found is None:
            return otherwise
        return check_shape(found, kind or _TYPES[name], where=f"GGUF key '{arch}.{name}'")

    def need(name, otherwise=None):
        return needed(get(name, otherwise), f"GGUF key '{arch}.{name}'")

    width, heads = need("embedding_length"), need("attention.head_count")
    layers, max_positions = need("block_count"), need("context_length")
    head_dim = get("attention.key_length", get("rope.dimension_count", width // heads))
    for name in ("rope.dimension_count", "attention.value_length"):
        if get(name, head_dim) != head_dim:
            raise unsupported(f"GGUF key '{arch}.{name}'", get(name), (head_dim,))
    window = get("attention.sliding_window", 0, int) and get("attention.sliding_window", 0, Length)
    tokens = metadata.get("tokenizer.ggml.tokens")
    return (
        {
            "vocab_size": need("vocab_size", len(tokens) if isinstance(tokens, list) and tokens else None),
            "width": width,
            "layers": layers,
            "heads": heads,
            "kv_heads": get("attention.head_count_kv", heads),
            "head_dim": head_dim,
            "mlp_width": get("expert_feed_forward_length") or need("feed_forward_length"),
            "norm_eps": float(need("attention.layer_norm_rms_epsilon")),
            "rope_theta": float(get("rope.freq_base", 10_000.0)),
            "rope": _rope(arch, get, rope_factors, max_positions),
            "qkv_bias": arch == "qwen2",
            "qk_norm": arch == "qwen3" or arch in _EXPERTS,
            "tie_embeddings": tie_embeddings,
            "windows": (window,) * layers if window else (),
            "max_positions": max_positions,
            "family": arch,
        }
        | _experts(arch, get, need)
        | (_gemma3(metadata, get, width, layers, heads, head_dim, window) if arch == "gemma3" else {})
    )


def _experts(arch: str, get, need) -> dict[str, Any]:
    """What is a mixture's own; whether a token's weights are made to add up to 1 is llama.cpp's knowledge."""
    if arch not in _EXPERTS:
        return {}
    return {
        "experts": need("expert_count"),
        "experts_per_token": need("expert_used_count"),
        "normalize_experts": get("expert_weights_norm", arch == "qwen3moe"),
        "qk_norm_whole": arch == "olmoe",
        "family": _EXPERTS[arch],
    }


def _gemma3(metadata, get, width: int, layers: int, heads: int, head_dim: int, window: int) -> dict[str, Any]:
    """What is Gemma 3's own."""
    where = "GGUF key 'gemma3.attention.sliding_window_pattern'"
    pattern = metadata.get("gemma3.attention.sliding_window_pattern", _GEMMA3_PERIOD)
    if isinstance(pattern, int) and not isinstance(pattern, bool):
        slides = [(i + 1) % check_shape(pattern, Layers, where=where) != 0 for i in range(layers)]
    else:  # whether each layer has a window
        slides = [bool(slide) for slide in pattern] if isinstance(pattern, list | np.ndarray) else []
        if len(slides) != layers:
            raise unsupported(where, pattern, (_GEMMA3_PERIOD, f"{layers} truth values"))
    if any(slides):
        needed(window or None, "GGUF key 'gemma3.attention.sliding_window'")
    return {
        "qk_norm": True,
        "activation": "gelu_tanh",
        "norm_offset": 1.0,
        "post_norms": True,
        "embed_scale": width**0.5,
        "query_scale": float(width // heads if layers == _GEMMA3_LARGEST else head_dim),
        "windows": tuple(window * slide for slide in slides),
        "rope_theta": float(get("rope.freq_base", 1_000_000.0)),
        "local_rope_theta": float(get("rope.freq_base_swa", _LOCAL_BASE)),
        "family": "gemma3_text",
    }


def _rope(arch: str, get, factors: tuple[float, ...], max_positions: int) -> RopeScaling:
    if factors:
        return RopeScaling("factors", factors=factors)
    where, kind = f"GGUF key '{arch}.rope.scaling.type'", get("rope.scaling.type", "none")
    if kind not in ("none", "linear", "yarn"):
        raise unsupported(where, kind, ("none", "linear", "yarn"))
    given = {
        "factor": get("rope.scaling.factor") and get("rope.scaling.factor", kind=Positive),
        "original_max_position_embeddings": get("rope.scaling.original_context_length"),
        "attention_factor": get("rope.scaling.attn_factor"),
    }
    return rope_scaling("default" if kind == "none" else kind, given, max_positions, where)
