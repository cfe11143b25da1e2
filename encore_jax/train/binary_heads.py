"""K yes/no heads on frozen features: penalised logistic regression of all rules at once (a Rule Adapter's head).

    L(W, b) = Σ_k mean_n [-c y_nk log σ(z_nk) - (1 - y_nk) log σ(-z_nk)] + λ/2 |W|²,    z = h W + b

which is one independent convex problem per rule. Nesterov's accelerated gradient with restarts; every iteration is two
matrix products, so K rules and several penalties cost little more than one.

Letters: M texts, D features, K rules.
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

from encore_jax.errors import InputError
from encore_jax.train.losses import binary_cross_entropy

MAX_STEPS = 5000
TOLERANCE = 1e-5
"""Largest entry of the gradient, on features of unit variance, at which the fit is done."""


class BinaryHeads(NamedTuple):
    """Fitted heads: logits are ``features @ kernel + bias``.

    Attributes:
      kernel, bias: ``[D, K]``, ``[K]``.
      steps: iterations taken.
      gradient: largest entry of the gradient at the end.
    """

    kernel: np.ndarray
    bias: np.ndarray
    steps: int
    gradient: float


def fit_binary_heads(
    features: Float[Array, "M D"],
    answers: Bool[Array, "M K"],
    l2: float,
    positive_weight: float = 1.0,
) -> BinaryHeads:
    """Fits one logistic head per rule.

    Features are scaled by their standard deviation before the fit, and scale and mean are folded back into kernel and
    bias.

    Args:
      features: fp32 ``[M, D]``.
      answers: bool ``[M, K]``.
      l2: λ > 0, on scaled features; biases are not penalised.
      positive_weight: c, factor of the "yes" part, against class imbalance.

    Raises:
      InputError: shapes do not fit, no text, a feature that is not finite, or λ that is not positive.
    """
    features, answers = np.asarray(features, np.float32), np.asarray(answers, bool)
    if features.ndim != 2 or answers.ndim != 2 or len(features) != len(answers) or not len(features):
        raise InputError(f"features {features.shape} and answers {answers.shape} do not fit", where="fit_binary_heads",
                         fix="pass [M, D] and [M, K], with at least one row")  # fmt: skip
    if not np.isfinite(features).all():
        row = int(np.flatnonzero(~np.isfinite(features).all(1))[0])
        raise InputError("features are not finite", where=f"features, row {row}", fix="leave out texts too long")
    if not l2 > 0:
        raise InputError(f"got {l2}", where="l2", fix="use a positive penalty")
    mean, scale = features.mean(0), features.std(0)
    scale = np.where(scale > 0, scale, 1).astype(np.float32)
    kernel, bias, steps, gradient = _minimise((features - mean) / scale, answers, l2, positive_weight)
    kernel = np.asarray(kernel) / scale[:, None]
    return BinaryHeads(kernel, np.asarray(bias) - mean @ kernel, int(steps), float(gradient))


@jax.jit
def _minimise(x_MxD, answers_MxK, l2, positive_weight):
    rows, rules = answers_MxK.shape
    targets, weight = answers_MxK.astype(jnp.float32), jnp.full(rules, positive_weight, jnp.float32)
    everything = jnp.ones(answers_MxK.shape, bool)

    def objective(params):
        logits = jnp.matmul(x_MxD, params[0], precision="highest") + params[1][None]
        loss = binary_cross_entropy(logits, targets, everything, weight)
        return loss.total / rows + 0.5 * l2 * (params[0] ** 2).sum()

    # The curvature is at most max(c, 1)/4 times the largest eigenvalue of the second moment of [x, 1].
    largest = jnp.maximum(positive_weight, 1.0) / 4 * jnp.maximum(_largest_eigenvalue(x_MxD), 1.0)
    rate = 1 / (largest + l2)
    gradient_of = jax.grad(objective)

    def step(state):
        point, ahead, t, _, n = state
        gradient = gradient_of(ahead)
        new = jax.tree.map(lambda p, g: p - rate * g, ahead, gradient)
        moved = jax.tree.map(jnp.subtract, new, point)
        uphill = sum(jnp.vdot(g, m) for g, m in zip(gradient, moved, strict=True)) > 0
        t = jnp.where(uphill, 1.0, t)
        t_next = (1 + jnp.sqrt(1 + 4 * t**2)) / 2
        momentum = jnp.where(uphill, 0.0, (t - 1) / t_next)
        ahead = jax.tree.map(lambda p, m: p + momentum * m, new, moved)
        return new, ahead, t_next, jnp.maximum(*(jnp.abs(g).max() for g in gradient)), n + 1

    start = (jnp.zeros((x_MxD.shape[1], rules)), jnp.zeros(rules))
    state = (start, start, jnp.float32(1), jnp.float32(jnp.inf), 0)
    (kernel, bias), _, _, gradient, steps = jax.lax.while_loop(
        lambda s: (s[3] > TOLERANCE) & (s[4] < MAX_STEPS), step, state
    )
    return kernel, bias, steps, gradient


def _largest_eigenvalue(x_MxD):
    """Of the second moment, by power iteration, and a little more."""

    def once(v, _):
        v = x_MxD.T @ (x_MxD @ v) / x_MxD.shape[0]
        norm = jnp.linalg.norm(v)
        return v / jnp.maximum(norm, 1e-9), norm

    start = jnp.ones(x_MxD.shape[1]) / jnp.sqrt(jnp.float32(x_MxD.shape[1]))
    return 1.05 * jax.lax.scan(once, start, None, length=50)[1][-1]
