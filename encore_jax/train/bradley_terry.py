"""Bradley-Terry weights of K rules from their margins: the convex problem of ENCORE's theorem.

    L(w) = - mean_n log σ(Σ_k w_k Δ_nk) + λ/2 |w - w⁰|²

has no intercept: swapping the responses of a pair must flip the prediction. Newton's method with step halving. With
features in the place of rules it is a reward head on a frozen backbone, and w⁰ the head that training starts from.
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


def _objective(w_K, margin_NxK, share_N, l2, start_K):
    away = w_K - start_K
    return -(share_N * jax.nn.log_sigmoid(margin_NxK @ w_K)).sum() + 0.5 * l2 * (away @ away)


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
    if len(jnp.shape(margins)) != 2 or not all(jnp.shape(margins)):
        raise InputError(f"margins have shape {jnp.shape(margins)}", where="bradley_terry_weights", fix="pass [N, K]")
    if not is_traced(margins) and not np.isfinite(margins).all():
        row, k = np.argwhere(~np.isfinite(margins))[0]
        raise InputError("the margin is not finite", where=f"comparison {row}, rule {k}", fix="score it again")
    if not is_traced(l2) and not np.all(np.asarray(l2) > 0):
        raise InputError(f"got {l2}", where="l2", fix="use a positive penalty; without one the weights may diverge")
    n, k = margins.shape
    for name, given, wanted in (("counts", counts, (n,)), ("start", start, (k,))):
        if given is not None and jnp.shape(given) != wanted:
            raise InputError(f"shape {jnp.shape(given)}, not {wanted}", where=name)
    counts = jnp.ones(n) if counts is None else jnp.asarray(counts, jnp.float32)
    start = jnp.zeros(k) if start is None else jnp.asarray(start, jnp.float32)
    share = counts / jnp.maximum(counts.sum(), 1e-9)
    return _minimise(jnp.asarray(margins, jnp.float32), share, l2, start)


@jax.jit
def _minimise(margins, share, l2, start):
    """Newton's method with step halving, from w⁰."""
    identity = jnp.eye(margins.shape[1], dtype=jnp.float32)

    def newton(state):
        w, value, _, step = state
        p = jax.nn.sigmoid(-(margins @ w))
        gradient = -((share * p) @ margins) + l2 * (w - start)
        curvature = (margins * (share * p * (1 - p))[:, None]).T @ margins + l2 * identity
        direction = jnp.linalg.solve(curvature, gradient)
        rates = 0.5 ** jnp.arange(16, dtype=jnp.float32)
        values = jax.vmap(lambda rate: _objective(w - rate * direction, margins, share, l2, start))(rates)
        best = values.argmin()
        moved = w - rates[best] * direction
        improved = values[best] < value
        w = jnp.where(improved, moved, w)
        done = ~improved | (jnp.abs(gradient).max() < TOLERANCE)
        return w, jnp.minimum(values[best], value), done, step + 1

    state = (start, _objective(start, margins, share, l2, start), jnp.array(False), 0)
    return jax.lax.while_loop(lambda s: ~s[2] & (s[3] < MAX_STEPS), newton, state)[0]
