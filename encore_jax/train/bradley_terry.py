"""Weights of K rules learned from preferences, by the margins Δ of N comparisons. Both problems are convex:

    Bradley-Terry, ENCORE's theorem:        - mean_n log σ(w·Δ_n)        + λ/2 |w|²
    hinge, rule-based rewards:              mean_n max(0, 1 - w·Δ_n)     + λ/2 |w|²

Neither has an intercept: swapping the responses of a pair must flip the prediction. Both are minimised by Newton's
method with step halving; the hinge, which has no curvature, as the limit of ``μ softplus((1 - w·Δ)/μ)``, whose minimum
is at most μ log 2 above the hinge's.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from encore_jax.composition.checks import is_traced
from encore_jax.errors import InputError

MAX_STEPS = 50
TOLERANCE = 1e-6


SMOOTHINGS = (1.0, 0.3, 0.1, 0.03, 0.01, 0.003, 0.001)
"""Values of μ, each one's minimum the start of the next."""


def _objective(w_K, margin_NxK, l2, threshold, smoothing):
    loss_N = smoothing * jax.nn.softplus((threshold - margin_NxK @ w_K) / smoothing)
    return loss_N.mean() + 0.5 * l2 * (w_K @ w_K)


def bradley_terry_weights(margins: Float[Array, "N K"], l2: float | Float[Array, ""] = 1e-4) -> Float[Array, " K"]:
    """Weights ``[K]`` that maximise the likelihood of the preferences; not normalised, may be negative.

    Args:
      margins: fp32 ``[N, K]``, per-rule margins, preferred minus other.
      l2: λ > 0 keeps the solution finite when some weighting explains every preference.

    The same optimum as scikit-learn's `LogisticRegression(fit_intercept=False, C=1/(λN))` on ±Δ.

    Raises:
      InputError: no comparison, other shapes, or (not under `jax.jit`) a margin that is not finite or λ <= 0.
    """
    margins = _checked(margins, l2, "bradley_terry_weights")
    start = jnp.zeros(margins.shape[1], jnp.float32)
    return _minimise(margins, l2, 0.0, 1.0, start)


def hinge_weights(margins: Float[Array, "N K"], l2: float | Float[Array, ""] = 1e-4) -> Float[Array, " K"]:
    """Weights ``[K]`` by the hinge loss that OpenAI fits rule-based rewards with (Mu et al. 2024, section 4).

    The same optimum as scikit-learn's `LinearSVC(loss="hinge", fit_intercept=False, C=1/(λN))` on ±Δ.

    Args:
      margins: fp32 ``[N, K]``, per-rule margins, preferred minus other.
      l2: λ > 0.

    Raises:
      InputError: as `bradley_terry_weights`.
    """
    margins = _checked(margins, l2, "hinge_weights")
    weights = jnp.zeros(margins.shape[1], jnp.float32)
    for smoothing in SMOOTHINGS:
        weights = _minimise(margins, l2, 1.0, smoothing, weights)
    return weights


def _checked(margins, l2, where: str) -> jax.Array:
    if len(jnp.shape(margins)) != 2 or not all(jnp.shape(margins)):
        raise InputError(f"margins have shape {jnp.shape(margins)}", where=where, fix="pass [N, K]")
    if not is_traced(margins) and not np.isfinite(margins).all():
        row, k = np.argwhere(~np.isfinite(margins))[0]
        raise InputError("the margin is not finite", where=f"comparison {row}, rule {k}", fix="score it again")
    if not is_traced(l2) and not np.all(np.asarray(l2) > 0):
        raise InputError(f"got {l2}", where="l2", fix="use a positive penalty; without one the weights may diverge")
    return jnp.asarray(margins, jnp.float32)


@jax.jit
def _minimise(margins, l2, threshold, smoothing, start):
    """Newton's method with step halving."""
    identity = jnp.eye(margins.shape[1], dtype=jnp.float32)

    def newton(state):
        w, value, _, step = state
        p = jax.nn.sigmoid((threshold - margins @ w) / smoothing)
        gradient = -(p @ margins) / margins.shape[0] + l2 * w
        bend = p * (1 - p) / smoothing
        curvature = (margins * bend[:, None]).T @ margins / margins.shape[0] + l2 * identity
        direction = jnp.linalg.solve(curvature, gradient)
        rates = 0.5 ** jnp.arange(16, dtype=jnp.float32)
        values = jax.vmap(lambda rate: _objective(w - rate * direction, margins, l2, threshold, smoothing))(rates)
        best = values.argmin()
        moved = w - rates[best] * direction
        improved = values[best] < value
        w = jnp.where(improved, moved, w)
        done = ~improved | (jnp.abs(gradient).max() < TOLERANCE)
        return w, jnp.minimum(values[best], value), done, step + 1

    state = (start, _objective(start, margins, l2, threshold, smoothing), jnp.array(False), 0)
    return jax.lax.while_loop(lambda s: ~s[2] & (s[3] < MAX_STEPS), newton, state)[0]
