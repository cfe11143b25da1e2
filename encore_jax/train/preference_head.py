"""One Bradley-Terry head on frozen features: the reward model without rules, in closed-form company."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float, Int

from encore_jax.errors import InputError
from encore_jax.train.bradley_terry import bradley_terry_weights

PENALTIES = (0.001, 0.01, 0.1, 1.0)
"""Default grid of λ, for feature differences scaled to unit variance."""


def fit_preference_head(
    difference: Float[np.ndarray, "N D"], fold: Int[np.ndarray, " N"], penalties: tuple[float, ...] = PENALTIES
) -> tuple[Float[np.ndarray, " D"], float]:
    """A head ``[D]`` such that ``features @ head`` rewards what people prefer, and the λ chosen by cross-validation.

    Args:
      difference: fp32 ``[N, D]``, features of the preferred response minus those of the other.
      fold: ``[N]``; comparisons of one prompt must share a fold.
      penalties: the grid; the best held-out likelihood wins, ties go to the larger.

    Raises:
      InputError: fewer than two folds, or a difference that is not finite.
    """
    difference = np.asarray(difference, np.float32)
    folds = np.unique(fold)
    if len(folds) < 2:
        raise InputError(f"{len(difference)} comparisons in {len(folds)} folds", where="fit_preference_head")
    scale = np.sqrt((difference**2).mean(0))
    scale = np.where(scale > 0, scale, 1).astype(np.float32)
    x_NxD = difference / scale
    losses = {}
    for penalty in sorted(penalties, reverse=True):
        loss_N = np.zeros(len(x_NxD))
        for held_out in (fold == f for f in folds):
            # Rows of zeros have no gradient, so the mean over all N needs a penalty as much smaller: one compilation.
            kept = np.where(held_out[:, None], 0, x_NxD)
            head = np.asarray(bradley_terry_weights(kept, penalty * float((~held_out).mean())))
            loss_N[held_out] = np.logaddexp(0, -(x_NxD[held_out] @ head))
        losses[penalty] = loss_N.mean()
    best = min(losses, key=losses.get)
    return np.asarray(bradley_terry_weights(x_NxD, best)) / scale, best
