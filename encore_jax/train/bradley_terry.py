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
from encore_jax.train.positive_definite import solve_positive

MAX_STEPS = 50
TOLERANCE = 1e-6
"""Largest entry of the gradient at which the fit is done, as a share of the largest rule's mean absolute margin."""

LARGEST_MARGIN = 1e15
"""Larger margins' squares, summed, do not fit into fp32."""

SMALLEST_PENALTY = 1e-30
"""Smaller ones are denormal in fp32 or squares of such."""

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

    def change(self, w_K, step_K, rates):
        """By how much the objective changes from w to w + rate · step, for every rate.

        Not as a difference of two objectives: near the optimum their rounding is larger than it, and how far the fit
        came would depend on the machine.
        """
        at_N, moved_N = (self.threshold - self.margins @ w_K) / self.smoothing, self.margins @ step_K / self.smoothing

        def one(rate):
            by_N = -rate * moved_N
            near = jnp.abs(by_N) < 1
            grown = jax.nn.sigmoid(at_N) * jnp.expm1(jnp.where(near, by_N, 0.0))
            far = jax.nn.softplus(at_N + by_N) - jax.nn.softplus(at_N)
            loss = self.smoothing * (self.share * jnp.where(near, jnp.log1p(grown), far)).sum()
            return loss + self.l2 * rate * (step_K @ (w_K - self.centre) + 0.5 * rate * (step_K @ step_K))

        return jax.vmap(one)(rates)


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
    share = jnp.full(n, 1 / n, jnp.float32)  # of the type that Bradley-Terry has: one program for both
    for smoothing in SMOOTHINGS:
        weights = _minimise(_Problem(margins, share, l2, centre, 1.0, smoothing), weights)
    return weights


def _checked(margins, l2, where: str) -> jax.Array:
    if len(jnp.shape(margins)) != 2 or not all(jnp.shape(margins)):
        raise InputError(f"margins have shape {jnp.shape(margins)}", where=where, fix="pass [N, K]")
    if not is_traced(margins) and not np.isfinite(margins).all():
        row, k = np.argwhere(~np.isfinite(margins))[0]
        raise InputError("the margin is not finite", where=f"comparison {row}, rule {k}", fix="score it again")
    if not is_traced(margins) and np.abs(margins).max() > LARGEST_MARGIN:
        row, k = np.argwhere(np.abs(margins) > LARGEST_MARGIN)[0]
        raise InputError("the margin is too large", where=f"comparison {row}, rule {k}", fix="rescale the scores")
    if not is_traced(l2) and not (np.all(np.asarray(l2) >= SMALLEST_PENALTY) and np.all(np.asarray(l2) <= 1e30)):
        raise InputError(
            f"got {l2}",
            where="l2",
            fix=f"use a positive penalty, {SMALLEST_PENALTY:g} to 1e30; without one the weights may diverge",
        )
    return jnp.asarray(margins, jnp.float32)


@jax.jit
def _minimise(problem: _Problem, start: jax.Array) -> jax.Array:
    """Newton's method with step halving; where curvature is all rounding, also a step along the gradient.

    The minimum is unique, so equal columns are equally far from their centres there. How rounding splits their sum
    depends on the processor, so it is shared out in the end.
    """
    margins, share, l2, centre, threshold, smoothing = problem
    identity = jnp.eye(margins.shape[1], dtype=jnp.float32)
    rates = 0.5 ** jnp.arange(16, dtype=jnp.float32)
    tolerance = TOLERANCE * (share @ jnp.abs(margins)).max()

    def newton(state):
        w, _, count = state
        p = jax.nn.sigmoid((threshold - margins @ w) / smoothing)
        gradient = -((share * p) @ margins) + l2 * (w - centre)
        curvature = (margins * (share * p * (1 - p) / smoothing)[:, None]).T @ margins + l2 * identity
        steps = (-solve_positive(curvature, gradient), -gradient / jnp.abs(curvature).sum(1).max())
        changes = [problem.change(w, step, tried) for step, tried in zip(steps, (rates, rates[:4]), strict=True)]
        changes = jnp.concatenate(changes)
        changes = jnp.where(jnp.isfinite(changes), changes, jnp.inf)
        best = changes.argmin()
        moved = w + rates[best % rates.size] * jnp.where(best < rates.size, *steps)
        improved = changes.min() < 0
        return jnp.where(improved, moved, w), ~improved | (jnp.abs(gradient).max() <= tolerance), count + 1

    found = jax.lax.while_loop(lambda s: ~s[1] & (s[2] < MAX_STEPS), newton, (start, jnp.array(False), 0))[0]
    equal = jax.lax.map(lambda column: (margins == column[:, None]).all(0), margins.T).astype(jnp.float32)
    return centre + equal @ (found - centre) / equal.sum(1)
