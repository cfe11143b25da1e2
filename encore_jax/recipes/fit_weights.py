"""Weights of a fitted model's heads, by entropy, by agreement or none.

Letters: R rated responses, K rules.
"""

from __future__ import annotations

import numpy as np

from encore_jax.composition import entropy_weights
from encore_jax.composition.settings import CompositionSettings
from encore_jax.errors import InputError
from encore_jax.evaluation.recommendation import recommendation
from encore_jax.evaluation.reliability import reliability
from encore_jax.recipes.rated_rows import RatedRows


def composed_weights(
    compose: CompositionSettings, entropy: np.ndarray, rows: RatedRows, scores: np.ndarray, prompt: np.ndarray
) -> np.ndarray:
    """Weights ``[K]`` by the method that the settings name.

    Labels count for one thing: where what the rules have in common splits into parts, they say which one is meant.

    Args:
      compose: the settings.
      entropy: ``[K]``, of the ratings.
      rows: the ratings.
      scores: ``[R, K]`` of the responses by heads; NaN where there are none.
      prompt: ``[R]``, the prompt's number of every response.

    Raises:
      InputError: the ratings do not justify them.
    """
    if compose.method == "uniform":
        return np.full(len(rows.rules), 1 / len(rows.rules))
    by_entropy = np.asarray(entropy_weights(entropy, compose.tau))
    if compose.method == "entropy":
        return by_entropy
    known = np.isfinite(scores).all(1)
    both = known[rows.pair].all(1)
    pair = rows.pair[both]
    options = {"rules": rows.rules, "anchor": compose.anchor or None}
    if len(pair):
        found = reliability(scores[pair], rows.preferred[both], prompt=prompt[pair[:, 0]], **options)
    else:
        found = reliability(scores[known], prompt=prompt[known], **options)
    if "agreement" not in found.weights:
        fix = "compose=CompositionSettings(method='entropy'), or name a rule about quality as its anchor"
        raise InputError(f"is refused: {recommendation(found)}", where=f"method {compose.method!r}", fix=fix)
    weights = found.weights["agreement"] * (by_entropy if compose.method == "agreement_entropy" else 1)
    return weights / weights.sum()
