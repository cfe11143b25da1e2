"""The grid that ratings are on, where nobody says it."""

from __future__ import annotations

import numpy as np

from encore_jax.composition.checks import MAX_GRID
from encore_jax.composition.settings import CompositionSettings
from encore_jax.evaluation.rule_reliability import LEVELS_OF_CONTINUOUS


def own_grid(ratings: np.ndarray, mask: np.ndarray) -> CompositionSettings:
    """Settings by which entropies count the values that occur, or bins where there are many.

    Args:
      ratings: ``[R, K]``, some of which exist.
      mask: of the same shape, which ones.

    >>> settings = own_grid(np.array([[1.0, 5.0], [2.0, 3.0]]), np.ones((2, 2), bool))
    >>> settings.scale, settings.levels
    ((1.0, 5.0), 5)
    """
    values = np.unique(np.round(ratings[mask].astype(np.float64), 6))
    low, high = float(values[0]), float(values[-1])
    if low == high:
        return CompositionSettings(scale=(low, low + 1), levels=2)
    steps = (values - low) / np.diff(values).min()
    if steps[-1] < MAX_GRID and np.allclose(steps, np.round(steps), atol=1e-3):
        return CompositionSettings(scale=(low, high), levels=int(round(steps[-1])) + 1)
    return CompositionSettings(scale=(low, high), bins=LEVELS_OF_CONTINUOUS)
