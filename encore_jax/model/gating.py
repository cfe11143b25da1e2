"""A gate over rule heads: weights that depend on the prompt, as in ArmoRM (arXiv 2406.12845, section 3.2).

Shape letters: D width, K rules, U units of a hidden layer.
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from encore_jax.composition.weights import softmax_over


class Gate(NamedTuple):
    """A small network from the prompt's feature to one weight per rule.

    Attributes:
      kernels, biases: of its layers, ``[D, U], ..., [U, K]``; ReLU between them.
      temperature: divides what the last layer puts out.
      scale: multiplies the weights, which sum to 1 before.
      transform: ``[K, K]``, applied to the scores first: it takes out what they share with, say, length.
    """

    kernels: tuple[Float[Array, "in out"], ...]
    biases: tuple[Float[Array, " out"], ...]
    temperature: float
    scale: Float[Array, ""]
    transform: Float[Array, "K K"]


def gate_weights(features: Float[Array, "*b D"], gate: Gate) -> Float[Array, "*b K"]:
    """``w = T s softmax(f(x) / t)``, fp32: the reward is ``Σ_k w_k ψ_k`` of the plain scores ψ.

    Args:
      features: of prompts, see `encore_jax.reward.gate_position`.
      gate: f, its temperature t, scale s and transform T.

    >>> gate = Gate((jnp.zeros((3, 2)),), (jnp.array([0.0, jnp.log(3.0)]),), 1.0, jnp.array(1.0), jnp.eye(2))
    >>> gate_weights(jnp.ones((1, 3)), gate).round(4).tolist()
    [[0.25, 0.75]]
    """
    x, exact = features.astype(jnp.float32), jax.lax.Precision.HIGHEST
    for i, (kernel, bias) in enumerate(zip(gate.kernels, gate.biases, strict=True)):
        x = jax.nn.relu(x) if i else x
        x = jnp.matmul(x, kernel, precision=exact) + bias.reshape((1,) * (x.ndim - 1) + bias.shape)
    weights = softmax_over(x, gate.temperature) * gate.scale
    return jnp.matmul(weights, gate.transform.T, precision=exact)
