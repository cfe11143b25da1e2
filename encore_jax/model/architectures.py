"""Architectures by name: what can be compiled and sized without a checkpoint at hand.

Sources: the ``config.json`` of each model's release (meta-llama/Llama-3.1-8B-Instruct and -70B-Instruct,
meta-llama/Llama-3.2-3B-Instruct, HuggingFaceTB/SmolLM2-135M-Instruct).
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
