"""How much do the choices that the paper leaves open move the result? Accuracy over τ and the number of levels."""

from __future__ import annotations

import dataclasses
import warnings

import jax.numpy as jnp
import numpy as np

from encore_jax.composition import RatingsWarning, entropy_weights
from encore_jax.composition.agreement import agreement_loadings, agreement_weights
from encore_jax.composition.settings import CompositionSettings
from encore_jax.errors import InputError
from encore_jax.evaluation.methods import accuracy_under
from encore_jax.evaluation.view import View

TAUS = (0.05, 0.1, 0.2, 0.3, 0.5, 1.0, 2.0, 5.0, 20.0)
LEVELS = (2, 3, 5, 11, 21, 101)

FITS = ("differences of training scores", "training ratings")
"""What agreement can be fitted to."""
AGREEMENT_WEIGHTS = {
    "Bartlett": {},
    "loading": {"method": "loading"},
    "Bartlett, negative ones turned round": {"negative": "turn"},
}
"""Ways from loadings to weights."""


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


def agreement_sensitivity(view: View) -> list[list[float | None]]:
    """Accuracy (ties half) of agreement's variants on the test comparisons, by `FITS` and `AGREEMENT_WEIGHTS`.

    None where too few rules have enough in common to fit anything.
    """
    by_scores = _loadings(view.train.scores)
    table = []
    for found in (by_scores, _loadings(view.ratings, view.rated)):
        row: list[float | None] = []
        for options in AGREEMENT_WEIGHTS.values():
            try:
                known = found is not None and by_scores is not None
                weights = agreement_weights(found.loading, by_scores.spread, **options) if known else None
            except InputError:  # no rule follows the others
                weights = None
            row.append(None if weights is None else float(accuracy_under(view.test, np.asarray(weights)[:, None])[0]))
        table.append(row)
    return table


def _loadings(values: np.ndarray, where: np.ndarray | None = None):
    try:
        return agreement_loadings(values, where)
    except InputError:  # too few rules, or too few that vary and are rated together
        return None
