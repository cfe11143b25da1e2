"""One Bradley-Terry head on frozen features: the reward model without rules, in closed-form company."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float, Int

from encore_jax.train.bradley_terry import bradley_terry_weights
from encore_jax.train.linear import best_penalty, held_out_margins
from encore_jax.train.settings import PENALTIES


def fit_preference_head(
    difference: Float[np.ndarray, "N D"], fold: Int[np.ndarray, " N"], penalties: tuple[float, ...] = PENALTIES
) -> tuple[Float[np.ndarray, " D"], float]:
    """A head ``[D]`` such that ``features @ head`` rewards what people prefer, and the λ chosen by cross-validation.

    Args:
      difference: fp32 ``[N, D]``, features of the preferred response minus those of the other.
      fold: ``[N]``; comparisons of one prompt must share a fold.
      penalties: the grid; the best held-out likelihood wins, ties go to the larger.

    Raises:
      InputError: fewer than two folds, a difference that is not finite, or no penalty.
    """
    difference = np.asarray(difference, np.float32)
    scale = np.sqrt((difference**2).mean(0))
    scale = np.where(scale > 0, scale, 1).astype(np.float32)
    x_NxD = difference / scale

    def likelihood(penalty: float) -> float:
        return -float(np.logaddexp(0, -held_out_margins(x_NxD, fold, penalty)).mean())

    best = best_penalty(penalties, likelihood).best
    return np.asarray(bradley_terry_weights(x_NxD, best)) / scale, best
