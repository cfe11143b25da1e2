"""Every weighting against its definition, and what each was allowed to see."""

import math

import jax
import numpy as np
import pytest
import scipy.stats

from encore_jax.composition import RatingsWarning
from encore_jax.composition.settings import CompositionSettings
from encore_jax.errors import InputError
from encore_jax.evaluation.methods import (
    Method,
    accuracy_under,
    accuracy_weights,
    dirichlet_draws,
    half_credit,
    inverse_variance_weights,
    weightings,
)
from encore_jax.train.bradley_terry import bradley_terry_weights
from tests.evaluation import views

VIEW = views.view()
K = len(VIEW.rules)
ENTROPY = np.array([0.9, 1.2, 0.4, 1.5], np.float32)


@pytest.fixture(scope="module")
def methods():
    settings = CompositionSettings(draws=40, l2=1e-3)
    return {method.name: method for method in weightings(VIEW, settings, ENTROPY, jax.random.key(0))}


def rule_accuracies(pairs):
    first = pairs.first_preferred
    return ((first[:, 0] > first[:, 1]) + 0.5 * (first[:, 0] == first[:, 1])).mean(0)


def test_encore_is_the_softmax_of_entropies(methods):
    weights = np.exp(-ENTROPY / 2) / np.exp(-ENTROPY / 2).sum()
    np.testing.assert_allclose(methods["ENCORE"].weights, weights, rtol=1e-5)
    assert next(iter(methods)) == "ENCORE"


def test_fixed_weightings(methods):
    np.testing.assert_allclose(methods["uniform"].weights, np.full(K, 0.25))
    np.testing.assert_allclose(methods["lowest-2 entropy"].weights, [0.5, 0, 0.5, 0])
    for k, name in enumerate(VIEW.rules):
        np.testing.assert_array_equal(methods[f"single: {name}"].weights, np.eye(K)[k])


def test_weightings_from_data(methods):
    margins = VIEW.train.first_preferred[:, 0] - VIEW.train.first_preferred[:, 1]
    np.testing.assert_allclose(
        methods["Bradley-Terry weights"].weights, bradley_terry_weights(margins, 1e-3), rtol=1e-5
    )
    variance = [VIEW.ratings[VIEW.rated[:, k], k].astype(np.float64).var() for k in range(K)]
    inverse = 1 / np.array(variance)
    np.testing.assert_allclose(methods["inverse variance"].weights, inverse / inverse.sum(), rtol=1e-5)
    train, test = rule_accuracies(VIEW.train), rule_accuracies(VIEW.test)
    np.testing.assert_array_equal(methods["best single rule"].weights, np.eye(K)[train.argmax()])
    np.testing.assert_array_equal(methods["best single rule (oracle)"].weights, np.eye(K)[test.argmax()])
    above = np.maximum(test - 0.5, 0)
    np.testing.assert_allclose(methods["accuracy-weighted (oracle)"].weights, above / above.sum(), rtol=1e-5)


def test_each_says_what_it_saw(methods):
    saw = {name: method.sees for name, method in methods.items()}
    assert saw["ENCORE"] == saw["lowest-2 entropy"] == saw["inverse variance"] == "ratings"
    assert saw["uniform"] == saw["random (Dirichlet)"] == saw["single: alpha"] == "nothing"
    assert saw["Bradley-Terry weights"] == saw["best single rule"] == "train labels"
    oracles = {name for name, method in methods.items() if method.is_oracle}
    assert oracles == {"best single rule (oracle)", "accuracy-weighted (oracle)"}


def test_what_saw_no_test_labels_does_not_change_with_them(methods):
    import dataclasses

    turned = dataclasses.replace(VIEW, test=dataclasses.replace(VIEW.test, preferred=1 - VIEW.test.preferred))
    settings = CompositionSettings(draws=40, l2=1e-3)
    for method in weightings(turned, settings, ENTROPY, jax.random.key(0)):
        if not method.is_oracle:
            np.testing.assert_array_equal(method.weights, methods[method.name].weights)


def test_how_many_hard_selection_keeps():
    for keep, name in ((0, "lowest-2 entropy"), (3, "lowest-3 entropy")):
        names = [m.name for m in weightings(VIEW, CompositionSettings(keep=keep, draws=2), ENTROPY, jax.random.key(0))]
        assert name in names
    with pytest.raises(InputError, match="keep must be between 1 and 4, got 5"):
        weightings(VIEW, CompositionSettings(keep=5, draws=2), ENTROPY, jax.random.key(0))


def test_dirichlet_draws_are_uniform_on_the_simplex():
    draws = dirichlet_draws(3, 4000, jax.random.key(1))
    assert draws.shape == (3, 4000) and (draws >= 0).all()
    np.testing.assert_allclose(draws.sum(0), 1, rtol=1e-5)
    for row in draws:  # each weight of a flat Dirichlet over 3 is Beta(1, 2)
        assert scipy.stats.kstest(row, scipy.stats.beta(1, 2).cdf).pvalue > 1e-3
    np.testing.assert_array_equal(draws, dirichlet_draws(3, 4000, jax.random.key(1)))


def test_inverse_variance_of_constant_rules():
    varying = np.tile([0.0, 1.0], 5)
    ratings = np.stack([varying, np.full(10, 0.5), varying / 2], 1)
    np.testing.assert_allclose(inverse_variance_weights(ratings, np.ones((10, 3), bool)), [0.2, 0, 0.8])
    constant = np.ones((10, 2))
    np.testing.assert_allclose(inverse_variance_weights(constant, np.ones((10, 2), bool)), [0.5, 0.5])


def test_inverse_variance_reads_no_masked_rating():
    ratings = np.where(VIEW.rated, VIEW.ratings, np.nan)
    np.testing.assert_array_equal(
        inverse_variance_weights(ratings, VIEW.rated), inverse_variance_weights(VIEW.ratings, VIEW.rated)
    )


def test_accuracy_weights_without_a_rule_above_chance():
    np.testing.assert_allclose(accuracy_weights(np.array([0.5, 0.2, np.nan])), np.full(3, 1 / 3))


def test_credit_and_accuracy_equal_a_loop():
    weights = np.array([[0.5, 0.25, 0.25, 0], [1, 0, 0, 0], [0, 0, 0, 0]], np.float32).T
    expected, tied = np.zeros((len(VIEW.test), 3)), np.zeros((len(VIEW.test), 3), bool)
    for i, (pair, preferred) in enumerate(zip(VIEW.test.scores, VIEW.test.preferred, strict=True)):
        for m, w in enumerate(weights.T):
            better, worse = pair[preferred] @ w, pair[1 - preferred] @ w
            expected[i, m], tied[i, m] = 1.0 if better > worse else 0.5 * (better == worse), better == worse
    credit, ties = half_credit(VIEW.test, weights)
    np.testing.assert_array_equal(credit, expected)
    np.testing.assert_array_equal(ties, tied)
    np.testing.assert_array_equal(half_credit(VIEW.test, weights[:, 1])[0], expected[:, 1])
    np.testing.assert_allclose(accuracy_under(VIEW.test, weights), expected.mean(0), rtol=1e-6)


@pytest.mark.parametrize(
    ("options", "grid"),
    [
        ({}, np.linspace(0.05, 0.95, 10)),
        ({"levels": 5}, [0.125, 0.375, 0.625, 0.875]),
        ({"bins": 4}, [0.25, 0.5, 0.75]),
    ],
    ids=str,
)
def test_settings_reach_the_entropy(options, grid):
    columns = [VIEW.ratings[VIEW.rated[:, k], k] for k in range(K)]
    plug_in = [scipy.stats.entropy(np.histogram(c, [-1, *grid, 2])[0]) for c in columns]
    np.testing.assert_allclose(CompositionSettings(**options).entropy(VIEW.ratings, VIEW.rated), plug_in, rtol=1e-5)


def test_other_settings_reach_the_entropy_too():
    plain = CompositionSettings().entropy(VIEW.ratings, VIEW.rated)
    bits = CompositionSettings(base=2.0).entropy(VIEW.ratings, VIEW.rated)
    np.testing.assert_allclose(bits, plain / math.log(2), rtol=1e-5)
    shares = CompositionSettings(normalize="levels").entropy(VIEW.ratings, VIEW.rated)
    np.testing.assert_allclose(shares, plain / math.log(11), rtol=1e-5)
    assert (CompositionSettings(estimator="miller_madow").entropy(VIEW.ratings, VIEW.rated) > plain).all()
    wide = CompositionSettings(scale=(0.0, 4.0)).entropy(4 * VIEW.ratings, VIEW.rated)
    np.testing.assert_allclose(wide, plain, rtol=1e-5)
    with pytest.warns(RatingsWarning, match="rule 'alpha'"):
        CompositionSettings().entropy(VIEW.ratings * [0, 1, 1, 1], VIEW.rated, VIEW.rules)


def test_a_method_that_reads_no_rule_has_no_weights():
    assert Method("heuristic: refusal", "text", None).weights is None
