"""From entropies to rule weights: ENCORE, step 4."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from encore_jax.composition.checks import is_traced, namespace, numbers, single
from encore_jax.errors import InputError

SMALLEST_EXPONENT = 87.0
"""exp(-87) is about the smallest normal number of fp32; what is smaller is 0 on some devices."""


def entropy_weights(entropy: Float[Array, "*batch K"], tau: float | Float[Array, ""] = 2.0) -> Float[Array, "*batch K"]:
    """Rule weights ``w_k = exp(-H_k / τ) / Σ_j exp(-H_j / τ)``; they are positive and sum to 1.

    Args:
      entropy: ``[..., K]``, in any unit; the unit scales `tau`.
      tau: temperature > 0. Large: uniform weights. Small: the rule of lowest entropy alone, or those of lowest entropy
        in equal parts; every positive number will do. The paper's default is 2.

    Raises:
      InputError: there is no rule; or (not under `jax.jit`) `tau` is not positive, or an entropy is not finite.

    >>> entropy_weights(jnp.array([0.0, 2.0 * jnp.log(3.0)])).round(4).tolist()
    [0.75, 0.25]
    >>> entropy_weights(jnp.array([1.0, 2.0, 1.0]), 1e-300).tolist()
    [0.5, 0.0, 0.5]
    """
    entropy, tau = numbers(entropy, "entropy", finite=False, dtype=None), numbers(tau, "tau", finite=False, dtype=None)
    if not jnp.shape(entropy) or not jnp.shape(entropy)[-1]:
        raise InputError(f"entropies have shape {jnp.shape(entropy)}", where="entropy_weights", fix="pass [..., K]")
    if not is_traced(tau) and not np.all(np.asarray(tau) > 0):
        raise InputError(f"got {tau}", where="tau", fix="use a positive temperature; the paper's is 2")
    if not is_traced(entropy) and not np.isfinite(entropy).all():
        *_, k = np.argwhere(~np.isfinite(entropy))[0]
        raise InputError(
            f"entropy {np.asarray(entropy)[..., k]} is not finite",
            where=f"rule {k}",
            fix="drop the rule; a constant rule has no density, so no 'kde' entropy",
        )
    return _softmax_over(-jnp.asarray(entropy, jnp.float32), _float32(tau))


def softmax_over(
    logits: Float[Array, "*batch K"], temperature: float | Float[Array, "..."]
) -> Float[Array, "*batch K"]:
    """``softmax(logits / temperature)`` without a NaN at any temperature, in value or gradient; fp32.

    Differences from the largest logit are divided, not the logits themselves, whose quotients may be infinite.

    Args:
      logits: ``[..., K]``; -inf gets weight 0.
      temperature: > 0, infinity included: a number, or of a shape that broadcasts against `logits`. One below fp32's
        smallest normal number (under `jax.jit` also 0) leaves the largest logits alone, in equal parts.

    >>> softmax_over(jnp.array([1e30, 2e30, 2e30]), 1e-30).tolist()
    [0.0, 0.5, 0.5]
    """
    logits = numbers(logits, "logits", rank=1, finite=False)
    return _softmax_over(logits, _float32(numbers(temperature, "temperature", finite=False, dtype=None)))


def _float32(temperature) -> Array:
    """As fp32, of which the smallest and the largest number stand for whatever lies beyond them."""
    if is_traced(temperature):
        return jnp.asarray(temperature, jnp.float32)
    values = np.asarray(temperature, np.float64)
    inside = np.clip(values, float(jnp.finfo(jnp.float32).tiny), float(jnp.finfo(jnp.float32).max))
    return jnp.asarray(np.where(np.isinf(values), values, inside), jnp.float32)


@jax.jit
def _softmax_over(logits, temperature):
    temperature = jnp.maximum(temperature, jnp.finfo(jnp.float32).tiny)
    # Powers of two keep the differences of huge logits from overflowing, and 1/T² of a tiny T in the gradient.
    shrink = jnp.where(temperature > 2.0**90, 2.0**-10, 1.0)
    logits, temperature = logits * shrink, temperature * shrink
    largest = jax.lax.stop_gradient(logits.max(-1, keepdims=True))
    below = jnp.where(jnp.isfinite(largest), largest - logits, jnp.where(logits == largest, 0.0, jnp.inf))
    scale = jnp.where(temperature < 2.0**-60, 2.0**100, 1.0)
    below, temperature = below * scale, jnp.broadcast_to(temperature * scale, below.shape)
    counts = below < SMALLEST_EXPONENT * temperature
    shares = jnp.where(counts, jnp.exp(-jnp.where(counts, below, 0.0) / temperature), 0.0)
    return shares / shares.sum(-1, keepdims=True)


def lowest_entropy_weights(entropy: Float[Array, " K"], keep: int) -> Float[Array, " K"]:
    """Equal weights on the `keep` rules of lowest entropy, 0 elsewhere; ties go to the earlier rule.

    ENCORE's hard-selection ablation keeps 5 of 10.

    >>> lowest_entropy_weights(jnp.array([1.0, 0.5, 2.0]), 2).tolist()
    [0.5, 0.5, 0.0]
    """
    entropy = single(entropy, "entropy", rank=1, finite=False)
    if entropy.ndim != 1 or isinstance(keep, bool) or not isinstance(keep, int | np.integer):
        problem = f"entropies have shape {entropy.shape}, and keep is {str(keep)[:60]}"
        raise InputError(problem, where="lowest_entropy_weights", fix="pass [K], and a whole number of rules")
    if not 1 <= keep <= entropy.size:
        raise InputError(f"keep must be between 1 and {entropy.size}, got {keep}", where="lowest_entropy_weights")
    if not is_traced(entropy) and np.isnan(entropy).any():
        raise InputError("entropy is not a number", where=f"rule {np.flatnonzero(np.isnan(entropy))[0]}", fix="drop it")
    xp = namespace(entropy)
    rank = xp.argsort(xp.argsort(entropy, stable=True), stable=True)
    return xp.where(rank < keep, xp.float32(1.0 / keep), xp.float32(0.0))


def effective_rules(weights: Float[Array, "*batch K"]) -> Float[Array, "*batch"]:
    """How many equally weighted rules would be as spread out: ``exp`` of the weights' entropy, 1 to K.

    >>> effective_rules(jnp.array([0.5, 0.5, 0.0])).round(3).item()
    2.0
    """
    weights = single(weights, "weights", rank=1)
    xp = namespace(weights)
    return xp.exp(-(weights * xp.log(xp.where(weights > 0, weights, 1.0))).sum(-1))
