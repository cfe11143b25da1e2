"""The scale that features are divided by before a penalised fit, so that one penalty means the same for each."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float

COLUMNS_AT_ONCE = 256


def feature_scale(features: Float[np.ndarray, "N D"]) -> Float[np.ndarray, " D"]:
    """Standard deviations ``[D]`` in float64, whatever the features' size; 1 for a constant feature.

    >>> feature_scale(np.array([[1.0, 0.1], [3.0, 0.1]], np.float32)).tolist()
    [1.0, 1.0]
    """
    blocks = [features[:, start : start + COLUMNS_AT_ONCE] for start in range(0, features.shape[1], COLUMNS_AT_ONCE)]
    deviation = np.concatenate([block.std(0, dtype=np.float64) for block in blocks] or [np.zeros(0)])
    # A constant feature's deviation is only nearly 0: its mean is rounded.
    return np.where((features.max(0) > features.min(0)) & (deviation > 0), deviation, 1.0)
