"""Root-mean-square normalisation, in fp32 whatever the compute type."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float


def rms_norm(
    x: Float[Array, "*b D"], scale: Float[Array, " D"], eps: float, offset: float = 0.0
) -> Float[Array, "*b D"]:
    """``x / sqrt(mean(x^2) + eps) * scale`` over the last axis; arXiv 1910.07467, equation 4.

    Args:
      x: any leading axes.
      scale: one factor per feature.
      eps: added to the mean square.
      offset: added to the scale: models that store it as a difference from 1 (Gemma) have 1 here.

    Returns:
      The dtype of ``x``; the arithmetic is fp32.

    >>> rms_norm(jnp.array([3.0, 4.0]), jnp.ones(2), 0.0)
    Array([0.848..., 1.131...], dtype=float32)
    """
    x32 = x.astype(jnp.float32)
    inverse = jax.lax.rsqrt(jnp.mean(jnp.square(x32), axis=-1, keepdims=True) + eps)
    scale = scale.astype(jnp.float32).reshape((1,) * (x.ndim - 1) + scale.shape) + offset
    return (x32 * inverse * scale).astype(x.dtype)
