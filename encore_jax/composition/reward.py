"""From scores and weights to rewards and margins: ENCORE, step 5."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from encore_jax.composition.checks import has_values, is_traced, namespace, numbers, refuse_answers, single
from encore_jax.composition.ties import Margin, rule_tolerance, weighted_margin
from encore_jax.errors import InputError


def compose(scores: Float[Array, "*batch K"], weights: Float[Array, "*weights K"]) -> Float[Array, "*batch *weights"]:
    """Reward ``φ = Σ_k w_k ψ_k`` of every response under every weighting.

    Args:
      scores: ``[..., K]``, one score or rating per rule; for pairs ``[N, 2, K]``.
      weights: ``[K]``, or ``[..., K]`` for many weightings at once.

    Returns:
      fp32 rewards: the leading axes of `scores`, then those of `weights`.

    Raises:
      InputError: the numbers of rules differ; or (not under `jax.jit`) there is text, or a number that is not finite.

    >>> compose(jnp.array([[1.0, 0.0], [0.0, 1.0]]), jnp.array([0.75, 0.25])).tolist()
    [0.75, 0.25]
    """
    scores, weights = numbers(scores, "scores"), numbers(weights, "weights")
    if scores.ndim == 0 or weights.ndim == 0 or scores.shape[-1] != weights.shape[-1]:
        raise InputError(
            f"scores {scores.shape} and weights {weights.shape} do not have the same rules on their last axis",
            where="compose",
            fix="pass scores [..., K] and weights [..., K]",
        )
    return jnp.tensordot(
        scores,
        weights,
        axes=((-1,), (-1,)),
        precision=jax.lax.Precision.HIGHEST,
    )


def margins(scores: Float[Array, "N 2 K"], preferred: Array | None = None) -> Float[Array, "N K"]:
    """Per-rule margins ``Δ_k = ψ_k(preferred) - ψ_k(other)`` of pairs, ``[N, K]``.

    Args:
      scores: ``[N, 2, K]``.
      preferred: ``[N]`` index, 0 or 1, of the preferred response; `None` means always the first.

    Raises:
      InputError: other shapes (a ``[N, 1]`` would silently broadcast), or (not under `jax.jit`) an index other than 0
        and 1, text, or a score that is not finite.

    >>> margins(jnp.array([[[0.25, 1.0], [0.5, 0.0]]]), jnp.array([1])).tolist()
    [[0.25, -1.0]]
    """
    scores = pairs_of(scores, "margins")
    with np.errstate(over="ignore"):
        difference = scores[:, 0] - scores[:, 1]
    if preferred is None:
        return difference
    preferred = numbers(preferred, "preferred", finite=False, dtype=None)
    refuse_answers(preferred.dtype, "margins, preferred")
    if jnp.shape(preferred) != scores.shape[:1]:
        raise InputError(
            f"preferred has shape {jnp.shape(preferred)}, not {scores.shape[:1]}", where="margins", fix="pass [N]"
        )
    if not is_traced(preferred) and not np.isin(preferred, (0, 1)).all():
        row = np.flatnonzero(~np.isin(preferred, (0, 1)))[0]
        raise InputError(f"preferred is {np.asarray(preferred)[row]}", where=f"comparison {row}", fix="use 0 or 1")
    sign = 1.0 - 2.0 * namespace(preferred).asarray(preferred, np.float32)
    return sign[:, None] * difference


def margin_tolerances(scores: Float[Array, "N 2 K"]) -> Float[Array, "N K"]:
    """How far rounding may move each rule's margin in a weighted sum of them; see `encore_jax.composition.ties`."""
    scores = pairs_of(scores, "margin_tolerances")
    return rule_tolerance(scores[:, 0], scores[:, 1])


def pairs_of(scores, where: str) -> Float[Array, "N 2 K"]:
    """Scores of pairs as fp32; raises InputError for anything else, on behalf of function `where`."""
    scores = single(scores, "scores", finite=False)
    if scores.ndim != 3 or scores.shape[1] != 2:
        raise InputError(f"scores have shape {scores.shape}", where=where, fix="pass pairs: [N, 2, K]")
    if has_values(scores) and not np.isfinite(scores).all():
        bad = np.argwhere(~np.isfinite(scores))
        row, response, k = bad[0]
        problem = f"{float(scores[row, response, k])} is not finite ({len(bad)} such)"
        place = f"{where}, comparison {row}, response {response}, rule {k}"
        raise InputError(problem, where=place, fix="score it again, or leave it out")
    return scores


def composed_margins(
    scores: Float[Array, "N 2 K"], weights: Float[Array, "K ..."], preferred: Array | None = None
) -> Margin:
    """Margins of the composed reward, ``Σ_k w_k Δ_k``, with their tolerances: ``[N]``, or ``[N, M]`` of M weightings.

    Args:
      scores, preferred: see `margins`.
      weights: ``[K]``, or ``[K, M]``.

    >>> margin = composed_margins(jnp.array([[[0.9, 0.1], [0.8, 0.2]]]), jnp.array([0.5, 0.5]))
    >>> margin.value.item() == 0, margin.sign.item()
    (False, 0.0)
    """
    scores, weights = pairs_of(scores, "composed_margins"), single(weights, "weights", rank=1)
    if weights.ndim > 2 or weights.shape[0] != scores.shape[2]:
        problem = f"scores {scores.shape} and weights {weights.shape} do not have the same rules"
        raise InputError(problem, where="composed_margins", fix="pass scores [N, 2, K] and weights [K] or [K, M]")
    return weighted_margin(margins(scores, preferred), margin_tolerances(scores), weights)
