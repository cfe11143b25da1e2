"""How rotary frequencies are stretched, and reading that from a model's configuration."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from encore_jax.errors import InputError

KINDS = ("default", "linear", "llama3", "yarn")
"""The ``rope_type`` values of Hugging Face configurations that are computed here."""
LONGROPE = ("longrope", "su")
"""What Phi-3's configurations call arXiv 2402.13753."""


@dataclass(frozen=True)
class RopeScaling:
    """How rotary frequencies are stretched beyond the length a model was first trained on.

    Attributes:
      kind: ``none``, ``linear`` (all frequencies divided by ``factor``), ``llama3`` (Llama 3.1:
        only the low frequencies are), ``yarn`` (arXiv 2309.00071, equations 22-25), ``factors``
        (every frequency has its own divisor, as GGUF files store Llama 3.1's) or ``longrope`` (the same, within the
        length of the first training: longer texts have other divisors, and are not computed here).
      factor: the stretch.
      low_freq_factor, high_freq_factor: llama3: wavelengths above ``original / low`` are stretched
        and those below ``original / high`` left alone; between, the two are blended.
      original_max_positions: length of the first training, in tokens (llama3, yarn, longrope).
      beta_fast, beta_slow: yarn: turns over the original length where blending starts and ends.
      truncate: yarn: whether the blending range is rounded outwards to whole dimensions.
      attention_factor: multiplies cosine and sine.
      factors: the divisors, one for every pair of dimensions.
      long_factors: longrope: those of longer texts, kept for exports.
    """

    kind: str = "none"
    factor: float = 1.0
    low_freq_factor: float = 1.0
    high_freq_factor: float = 4.0
    original_max_positions: int = 0
    beta_fast: float = 32.0
    beta_slow: float = 1.0
    truncate: bool = True
    attention_factor: float = 1.0
    factors: tuple[float, ...] = ()
    long_factors: tuple[float, ...] = ()


def rope_scaling(kind: str, given: Mapping[str, Any], max_positions: int, where: str) -> RopeScaling:
    """Reads a ``rope_parameters`` (or ``rope_scaling``) mapping.

    Args:
      kind: one of ``KINDS``.
      given: the mapping, in Hugging Face's names.
      max_positions: the original length where the mapping does not give one.
      where: for errors.

    Raises:
      InputError: a number this kind needs is missing, or two do not fit together.
    """

    def need(name: str) -> float:
        if given.get(name) is None:
            raise InputError(f"rope type {kind!r} needs {name!r}", where=where)
        return float(given[name])

    if kind == "default":
        return RopeScaling()
    if kind == "linear":
        return RopeScaling("linear", factor=need("factor"))
    original = int(given.get("original_max_position_embeddings") or max_positions)
    if kind == "llama3":
        if not need("low_freq_factor") < need("high_freq_factor"):
            raise InputError("'high_freq_factor' must be above 'low_freq_factor'", where=where)
        return RopeScaling(
            "llama3",
            factor=need("factor"),
            low_freq_factor=need("low_freq_factor"),
            high_freq_factor=need("high_freq_factor"),
            original_max_positions=original,
        )
    return RopeScaling(
        "yarn",
        factor=need("factor"),
        original_max_positions=original,
        beta_fast=float(given.get("beta_fast") or 32.0),
        beta_slow=float(given.get("beta_slow") or 1.0),
        truncate=bool(given.get("truncate", True)),
        attention_factor=_yarn_attention(need("factor"), given),
    )


def longrope_scaling(given: Mapping[str, Any], max_positions: int, original: int, where: str) -> RopeScaling:
    """Reads Phi-3's kind of stretching.

    Args:
      given: the mapping, in Hugging Face's names.
      max_positions, original: the longest path after and before it was stretched.
      where: for errors.

    Raises:
      InputError: factors are missing.
    """
    for name in ("short_factor", "long_factor"):
        if not given.get(name):
            raise InputError(f"rope type 'longrope' needs {name!r}", where=where)
    factor, attention = given.get("factor") or max_positions / original, given.get("attention_factor")
    attention = longrope_attention(factor, original) if attention is None else attention
    return RopeScaling(
        "longrope",
        original_max_positions=original,
        attention_factor=float(attention),
        factors=tuple(map(float, given["short_factor"])),
        long_factors=tuple(map(float, given["long_factor"])),
    )


def longrope_attention(factor: float, original: int) -> float:
    """LongRoPE's factor on cosine and sine, where the configuration names none (arXiv 2402.13753).

    Args:
      factor: the stretch, usually the quotient of the lengths after and before it.
      original: the length before it, 2 or more.
    """
    return math.sqrt(1 + math.log(factor) / math.log(original)) if factor > 1 else 1.0


def _yarn_attention(factor: float, given: Mapping[str, Any]) -> float:
    """Yarn's temperature, as a factor on cosine and sine (arXiv 2309.00071, equation 22)."""

    def grow(weight: float = 1.0) -> float:
        return 1.0 if factor <= 1 else 0.1 * weight * math.log(factor) + 1.0

    if given.get("attention_factor") is not None:
        return float(given["attention_factor"])
    if given.get("mscale") and given.get("mscale_all_dim"):
        return grow(given["mscale"]) / grow(given["mscale_all_dim"])
    return grow()
