"""Rotary position embedding (arXiv 2104.09864), in Hugging Face's half-split layout.

Shape letters: B batch, S sequence, N heads, H head dimension, R of these that are rotated (all, but in Phi-3).
"""

from __future__ import annotations

import math

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from encore_jax.errors import InputError
from encore_jax.model.config import DecoderConfig
from encore_jax.model.rope_scaling import RopeScaling


def inverse_frequencies(cfg: DecoderConfig, *, local: bool = False) -> np.ndarray:
    """Radians per token for each of the R/2 rotary pairs, float64.

    Pair i turns by ``theta^(-2i/R)``, changed as ``cfg.rope`` says; in layers with a base of their own (`local`) by
    ``local_theta^(-2i/R)``, unchanged.
    """
    pairs = np.arange(0, cfg.rotary, 2, dtype=np.float64)
    plain = (cfg.local_rope_theta if local else cfg.rope_theta) ** (-pairs / cfg.rotary)
    rope = cfg.rope
    if rope.kind == "none" or local:
        return plain
    if rope.kind == "linear":
        return plain / rope.factor
    if rope.kind in ("factors", "longrope"):
        return plain / np.asarray(rope.factors, np.float64)
    if rope.kind == "llama3":
        return _llama3(plain, rope)
    if rope.kind == "yarn":
        return _yarn(plain, rope, cfg.rope_theta)
    raise AssertionError(rope.kind)


def _llama3(plain: np.ndarray, rope: RopeScaling) -> np.ndarray:
    """Llama 3.1: stretch low frequencies, keep high ones, blend between."""
    turns = rope.original_max_positions * plain / (2 * math.pi)
    span = rope.high_freq_factor - rope.low_freq_factor
    keep = np.clip((turns - rope.low_freq_factor) / span, 0.0, 1.0)
    return keep * plain + (1 - keep) * plain / rope.factor


def _yarn(plain: np.ndarray, rope: RopeScaling, theta: float) -> np.ndarray:
    """arXiv 2309.00071, "NTK-by-parts": a linear ramp over the pair index."""
    dim = 2 * len(plain)

    def pair_with(turns: float) -> float:
        length = rope.original_max_positions / (turns * 2 * math.pi)
        return dim * math.log(length) / (2 * math.log(theta))

    low, high = pair_with(rope.beta_fast), pair_with(rope.beta_slow)
    if rope.truncate:
        low, high = math.floor(low), math.ceil(high)
    low, high = max(low, 0), min(high, dim - 1)
    if low == high:
        high += 0.001
    stretch = np.clip((np.arange(len(plain)) - low) / (high - low), 0.0, 1.0)
    return stretch * plain / rope.factor + (1 - stretch) * plain


def rotation(
    position: Int[Array, "B S"], cfg: DecoderConfig, *, local: bool = False
) -> tuple[Float[Array, "B S R/2"], Float[Array, "B S R/2"]]:
    """Cosine and sine of every position's angle for every rotary pair, fp32; `local` as in `inverse_frequencies`.

    Raises:
      InputError: rows in which a path could be longer than LongRoPE's first window.
    """
    if cfg.rope.kind == "longrope" and position.shape[1] > cfg.longest_path:
        raise InputError(
            f"rows of {position.shape[1]} tokens: this model's rotary factors hold up to {cfg.longest_path}, and "
            "longer texts have others, which are not computed here",
            where="rope",
            fix=f"use rows of {cfg.longest_path} tokens or fewer (--config.train.length)",
        )
    per_token = jnp.asarray(inverse_frequencies(cfg, local=local), jnp.float32)
    angle = position.astype(jnp.float32)[..., None] * per_token[None, None, :]
    grow = 1.0 if local else cfg.rope.attention_factor
    return jnp.cos(angle) * grow, jnp.sin(angle) * grow


def rotations(position: Int[Array, "B S"], cfg: DecoderConfig) -> tuple[Float[Array, "B S R/2"], ...]:
    """What all layers need: cosine and sine, and once more for layers with a window if those have a base of their own.

    `of_layer` picks a layer's pair.
    """
    everywhere = rotation(position, cfg)
    return (*everywhere, *rotation(position, cfg, local=True)) if cfg.local_rope_theta else everywhere


def of_layer(turns: tuple[Float[Array, "B S R/2"], ...], window: Int[Array, ""] | int | None):
    """Cosine and sine of a layer, from `rotations` and the layer's window (0 or None: full attention).

    >>> of_layer((1, 2), 7), [int(x) for x in of_layer((1, 2, 3, 4), 7)], [int(x) for x in of_layer((1, 2, 3, 4), 0)]
    ((1, 2), [3, 4], [1, 2])
    """
    everywhere, local = turns[:2], turns[2:]
    if not local or window is None:
        return everywhere
    return tuple(jnp.where(jnp.asarray(window) > 0, a, b) for a, b in zip(local, everywhere, strict=True))


def rotate(
    x_BSNH: Float[Array, "B S N H"], cos: Float[Array, "B S R/2"], sin: Float[Array, "B S R/2"]
) -> Float[Array, "B S N H"]:
    """Turns each pair ``(x[i], x[i + R/2])`` of the first R dimensions by its angle; fp32 inside, x's dtype outside."""
    pairs = cos.shape[-1]
    if 2 * pairs < x_BSNH.shape[-1]:
        turned = rotate(x_BSNH[..., : 2 * pairs], cos, sin)
        return jnp.concatenate([turned, x_BSNH[..., 2 * pairs :]], axis=-1)
    first, second = jnp.split(x_BSNH.astype(jnp.float32), 2, axis=-1)
    cos, sin = cos[:, :, None, :], sin[:, :, None, :]
    turned = [first * cos - second * sin, second * cos + first * sin]
    return jnp.concatenate(turned, axis=-1).astype(x_BSNH.dtype)
