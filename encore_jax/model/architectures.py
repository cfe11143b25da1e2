"""Architectures by name: what can be compiled and sized without a checkpoint at hand.

Sources: the ``config.json`` of each model's release (meta-llama/Llama-3.1-8B-Instruct and -70B-Instruct,
meta-llama/Llama-3.2-3B-Instruct, HuggingFaceTB/SmolLM2-135M-Instruct, google/gemma-3-1b-it to -27b-it,
Qwen/Qwen2.5-7B-Instruct, Qwen/Qwen3-30B-A3B, allenai/OLMoE-1B-7B-0924,
ibm-granite/granite-3.3-8b-instruct).
"""

from __future__ import annotations

from encore_jax.errors import InputError
from encore_jax.model.config import DecoderConfig
from encore_jax.model.rope_scaling import RopeScaling


def _llama3(factor: float, **sizes) -> DecoderConfig:
    return DecoderConfig(
        vocab_size=128256,
        head_dim=128,
        kv_heads=8,
        rope_theta=500_000.0,
        rope=RopeScaling("llama3", factor, 1.0, 4.0, 8192),
        max_positions=131072,
        **sizes,
    )


def _gemma3(width: int, layers: int, heads: int, kv_heads: int, mlp_width: int, **changes) -> DecoderConfig:
    """A text part: every sixth layer sees everything, the others 1,024 tokens back (the smallest model 512)."""
    fields = {
        "vocab_size": 262208,
        "head_dim": 256,
        "norm_eps": 1e-6,
        "rope_theta": 1_000_000.0,
        "rope": RopeScaling("linear", 8.0),
        "local_rope_theta": 10_000.0,
        "qk_norm": True,
        "tie_embeddings": True,
        "activation": "gelu_tanh",
        "norm_offset": 1.0,
        "post_norms": True,
        "embed_scale": width**0.5,
        "query_scale": 256.0,
        "max_positions": 131072,
        "family": "gemma3_text",
    } | changes
    window = fields.pop("window", 1024)
    fields["windows"] = tuple(window * ((i + 1) % 6 != 0) for i in range(layers))
    sizes = {"width": width, "layers": layers, "heads": heads, "kv_heads": kv_heads, "mlp_width": mlp_width}
    return DecoderConfig(**sizes, **fields)


ARCHITECTURES = {
    "smollm2-135m": DecoderConfig(
        vocab_size=49152,
        width=576,
        layers=30,
        heads=9,
        kv_heads=3,
        head_dim=64,
        mlp_width=1536,
        rope_theta=100_000.0,
        tie_embeddings=True,
        max_positions=8192,
    ),
    "llama-3.2-3b": _llama3(32.0, width=3072, layers=28, heads=24, mlp_width=8192, tie_embeddings=True),
    "llama-3.1-8b": _llama3(8.0, width=4096, layers=32, heads=32, mlp_width=14336),
    "llama-3.1-70b": _llama3(8.0, width=8192, layers=80, heads=64, mlp_width=28672),
    "gemma-3-1b": _gemma3(1152, 26, 4, 1, 6912, vocab_size=262144, window=512, rope=RopeScaling(), max_positions=32768),
    "gemma-3-4b": _gemma3(2560, 34, 8, 4, 10240),
    "gemma-3-12b": _gemma3(3840, 48, 16, 8, 15360),
    "gemma-3-27b": _gemma3(5376, 62, 32, 16, 21504, head_dim=128, query_scale=168.0),
    "qwen2.5-7b": DecoderConfig(
        vocab_size=152064,
        width=3584,
        layers=28,
        heads=28,
        kv_heads=4,
        head_dim=128,
        mlp_width=18944,
        norm_eps=1e-6,
        rope_theta=1_000_000.0,
        qkv_bias=True,
        max_positions=32768,
        family="qwen2",
    ),
    "granite-3.3-8b": DecoderConfig(
        vocab_size=49159,
        width=4096,
        layers=40,
        heads=32,
        kv_heads=8,
        head_dim=128,
        mlp_width=12800,
        rope_theta=10_000_000.0,
        tie_embeddings=True,
        embed_scale=12.0,
        residual_scale=0.22,
        query_scale=128.0**2,
        logit_divisor=16.0,
        max_positions=131072,
        family="granite",
    ),
    "qwen3-30b-a3b": DecoderConfig(
        vocab_size=151936,
        width=2048,
        layers=48,
        heads=32,
        kv_heads=4,
        head_dim=128,
        mlp_width=768,
        norm_eps=1e-6,
        rope_theta=1_000_000.0,
        qk_norm=True,
        experts=128,
        experts_per_token=8,
        normalize_experts=True,
        max_positions=40960,
        family="qwen3_moe",
    ),
    "olmoe-1b-7b": DecoderConfig(
        vocab_size=50304,
        width=2048,
        layers=16,
        heads=16,
        kv_heads=16,
        head_dim=128,
        mlp_width=1024,
        qk_norm=True,
        qk_norm_whole=True,
        experts=64,
        experts_per_token=8,
        max_positions=4096,
        family="olmoe",
    ),
}


def architecture(name: str) -> DecoderConfig:
    """The named architecture.

    Raises:
      InputError: there is none of that name.

    >>> architecture("llama-3.1-8b").heads_per_kv
    4
    """
    if name not in ARCHITECTURES:
        raise InputError(f"{name!r} is unknown", where="architecture", fix=f"use one of {', '.join(ARCHITECTURES)}")
    return ARCHITECTURES[name]
