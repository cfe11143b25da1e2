"""Weights of K rules learned from preferences, by the margins Δ of N comparisons. Both problems are convex:

    Bradley-Terry, ENCORE's theorem:        - mean_n log σ(w·Δ_n)        + λ/2 |w - w⁰|²
    hinge, rule-based rewards:              mean_n max(0, 1 - w·Δ_n)     + λ/2 |w|²

Neither has an intercept: swapping the responses of a pair must flip the prediction. Both are minimised by Newton's
method with step halving; the hinge, which has no curvature, as the limit of ``μ softplus((1 - w·Δ)/μ)``, whose minimum
is at most μ log 2 above the hinge's. With features in the place of rules, Bradley-Terry weights are a reward head on a
frozen backbone, and w⁰ the head that training starts from.
"""

from __future__ import annotations

from typing import NamedTuple

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


class _Problem(NamedTuple):
    """Comparisons' margins ``[N, K]`` and their shares ``[N]`` of the mean; the penalty and its centre w⁰ ``[K]``; the
    margin from which on a comparison is won, and μ."""

    margins: jax.Array
    share: jax.Array
    l2: jax.Array | float
    centre: jax.Array
    threshold: float
    smoothing: float

    def value(self, w_K):
        loss_N = self.smoothing * jax.nn.softplus((self.threshold - self.margins @ w_K) / self.smoothing)
        away_K = w_K - self.centre
        return (self.share * loss_N).sum() + 0.5 * self.l2 * (away_K @ away_K)


def bradley_terry_weights(
    margins: Float[Array, "N K"],
    l2: float | Float[Array, ""] = 1e-4,
    *,
    counts: Float[Array, " N"] | None = None,
    start: Float[Array, " K"] | None = None,
) -> Float[Array, " K"]:
    """Weights ``[K]`` that maximise the likelihood of the preferences; not normalised, may be negative.

    Args:
      margins: fp32 ``[N, K]``, per-rule margins, preferred minus other.
      l2: λ > 0 keeps the solution finite when some weighting explains every preference.
      counts: how often each comparison counts, 0 leaves it out (e.g. a draw with replacement); once if left out.
      start: w⁰, ``[K]``; 0 if left out.

    The same optimum as scikit-learn's `LogisticRegression(fit_intercept=False, C=1/(λN))` on ±Δ.

    Raises:
      InputError: no comparison, other shapes, or (not under `jax.jit`) a margin that is not finite or λ <= 0.
    """
    margins = _checked(margins, l2, "bradley_terry_weights")
    n, k = margins.shape
    for name, given, wanted in (("counts", counts, (n,)), ("start", start, (k,))):
        if given is not None and jnp.shape(given) != wanted:
            raise InputError(f"shape {jnp.shape(given)}, not {wanted}", where=name)
    counts = jnp.ones(n) if counts is None else jnp.asarray(counts, jnp.float32)
    centre = jnp.zeros(k) if start is None else jnp.asarray(start, jnp.float32)
    share = counts / jnp.maximum(counts.sum(), 1e-9)
    return _minimise(_Problem(margins, share, l2, centre, 0.0, 1.0), centre)


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
    n, k = margins.shape
    weights = centre = jnp.zeros(k, jnp.float32)
    for smoothing in SMOOTHINGS:
        weights = _minimise(_Problem(margins, jnp.full(n, 1 / n), l2, centre, 1.0, smoothing), weights)
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
def _minimise(problem: _Problem, start: jax.Array) -> jax.Array:
    """Newton's method with step halving."""
    margins, share, l2, centre, threshold, smoothing = problem
    identity = jnp.eye(margins.shape[1], dtype=jnp.float32)

    def newton(state):
        w, value, _, step = state
        p = jax.nn.sigmoid((threshold - margins @ w) / smoothing)
        gradient = -((share * p) @ margins) + l2 * (w - centre)
        curvature = (margins * (share * p * (1 - p) / smoothing)[:, None]).T @ margins + l2 * identity
        direction = jnp.linalg.solve(curvature, gradient)
        rates = 0.5 ** jnp.arange(16, dtype=jnp.float32)
        values = jax.vmap(lambda rate: problem.value(w - rate * direction))(rates)
        best = values.argmin()
        moved = w - rates[best] * direction
        improved = values[best] < value
        w = jnp.where(improved, moved, w)
        done = ~improved | (jnp.abs(gradient).max() < TOLERANCE)
        return w, jnp.minimum(values[best], value), done, step + 1

    state = (start, problem.value(start), jnp.array(False), 0)
    return jax.lax.while_loop(lambda s: ~s[2] & (s[3] < MAX_STEPS), newton, state)[0]
