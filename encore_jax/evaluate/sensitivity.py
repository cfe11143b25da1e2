"""How much do the choices that the paper leaves open move the result? Accuracy over τ and the number of levels."""

from __future__ import annotations

import dataclasses
import warnings

import jax.numpy as jnp
import numpy as np

from encore_jax.composition import RatingsWarning, entropy_weights
from encore_jax.evaluate.methods import CompositionSettings, accuracy_under
from encore_jax.evaluate.view import View

TAUS = (0.05, 0.1, 0.2, 0.3, 0.5, 1.0, 2.0, 5.0, 20.0)
LEVELS = (2, 3, 5, 11, 21, 101)


def sensitivity(
    view: View, settings: CompositionSettings, taus: tuple[float, ...] = TAUS, levels: tuple[int, ...] = LEVELS
) -> np.ndarray:
    """ENCORE's accuracy (ties half) on the test comparisons: ``[levels, taus]``, everything else as in `settings`."""
    rows = []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RatingsWarning)
        for count in levels:
            variant = dataclasses.replace(settings, levels=count, bins=0)
            rows.append(variant.entropy(view.ratings, view.rated))
    entropy = jnp.asarray(np.stack(rows))[:, None, :]
    weights = entropy_weights(jnp.repeat(entropy, len(taus), 1), np.asarray(taus)[None, :, None])
    flat = np.asarray(weights).reshape(-1, entropy.shape[-1]).T
    return accuracy_under(view.test, flat).reshape(len(levels), len(taus))
