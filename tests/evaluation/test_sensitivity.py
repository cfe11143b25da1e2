"""The sweep over temperature and levels against one composition after the other."""

import dataclasses

import numpy as np
import pytest

from encore_jax.composition.agreement import agreement_loadings, agreement_weights
from encore_jax.composition.settings import CompositionSettings
from encore_jax.evaluation.methods import accuracy_under
from encore_jax.evaluation.sensitivity import AGREEMENT_WEIGHTS, LEVELS, TAUS, agreement_sensitivity, sensitivity
from tests.evaluation import views

VIEW = views.view()


def accuracy(entropy, tau):
    weights = np.exp(-entropy / tau)
    first = VIEW.test.first_preferred.astype(np.float64) @ (weights / weights.sum())
    gap = np.round(first[:, 0] - first[:, 1], 6)
    return (gap > 0).mean() + 0.5 * (gap == 0).mean()


@pytest.mark.filterwarnings("ignore::encore_jax.composition.RatingsWarning")
def test_equals_a_loop():
    settings = CompositionSettings()
    got = sensitivity(VIEW, settings)
    assert got.shape == (len(LEVELS), len(TAUS))
    for row, levels in zip(got, LEVELS, strict=True):
        entropy = dataclasses.replace(settings, levels=levels).entropy(VIEW.ratings, VIEW.rated).astype(np.float64)
        expected = [accuracy(entropy, tau) for tau in TAUS]
        np.testing.assert_allclose(row, expected, atol=1.01 / len(VIEW.test))  # one tie may be rounded either way


def test_takes_its_own_sweep_and_leaves_the_rest_as_configured():
    bits = sensitivity(VIEW, CompositionSettings(base=2.0, bins=7), taus=(2 / np.log(2),), levels=(11,))
    nats = sensitivity(VIEW, CompositionSettings(), taus=(2.0,), levels=(11,))
    np.testing.assert_allclose(bits, nats, atol=1e-6)


def test_agreement_by_scores_and_by_ratings_and_none_where_either_says_nothing():
    """Loadings of the ratings are weighed by the spreads of the scores, for it is scores that are added up."""
    table = agreement_sensitivity(VIEW)
    scores, ratings = agreement_loadings(VIEW.train.scores), agreement_loadings(VIEW.ratings, VIEW.rated)
    for row, fit in zip(table, (scores, ratings), strict=True):
        for value, options in zip(row, AGREEMENT_WEIGHTS.values(), strict=True):
            weights = np.asarray(agreement_weights(fit.loading, scores.spread, **options))
            assert value == pytest.approx(float(accuracy_under(VIEW.test, weights[:, None])[0]))
    nothing = [None] * len(AGREEMENT_WEIGHTS)
    unrated = dataclasses.replace(VIEW, rated=np.zeros_like(VIEW.rated))
    assert agreement_sensitivity(unrated) == [table[0], nothing]
    still = dataclasses.replace(VIEW.train, scores=np.zeros_like(VIEW.train.scores))
    assert agreement_sensitivity(dataclasses.replace(VIEW, train=still)) == [nothing, nothing]
