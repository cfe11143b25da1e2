"""Loadings by agreement: equal to independent factor analyses, symmetric, bounded, and right where the model holds."""

import warnings

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.optimize
from hypothesis import given, settings
from hypothesis import strategies as st

from encore_jax.composition.agreement import MAX_LOADING, agreement_loadings, agreement_weights, one_factor
from encore_jax.composition.moments import (
    FEWEST_TOGETHER,
    correlations,
    grouped_moments,
    rating_rows,
    spreads,
)
from encore_jax.errors import InputError


def one_factor_ratings(seed, n, loadings):
    """Ratings of n responses that follow one factor, with these loadings."""
    rng, v = np.random.default_rng(seed), np.asarray(loadings)
    quality, noise = rng.normal(size=(n, 1)), rng.normal(size=(n, len(v)))
    return quality * v + noise * np.sqrt(1 - v**2)


@pytest.mark.parametrize("rules", [4, 5, 8, 30])
def test_loadings_equal_an_independent_factor_analysis(rules):
    from statsmodels.multivariate.factor import Factor

    rng = np.random.default_rng(rules)
    ratings = one_factor_ratings(rules, 500, rng.uniform(-0.2, 0.9, rules)) * rng.uniform(0.1, 10, rules) + 7
    fit = agreement_loadings(ratings)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # statsmodels says that it stopped where the tolerance was met
        reference = Factor(np.asarray(ratings), n_factor=1, method="pa").fit(maxiter=50_000, tol=1e-12).loadings[:, 0]
    reference *= np.sign((reference * np.abs(reference)).sum())
    np.testing.assert_allclose(fit.loading, reference, atol=1e-3)
    np.testing.assert_allclose(fit.correlation + np.eye(rules), np.corrcoef(ratings.T), atol=1e-5)
    np.testing.assert_allclose(fit.spread, ratings.std(0), rtol=1e-5)


@pytest.mark.parametrize("seed", range(3))
def test_no_bounded_loadings_fit_better(seed):
    """Also where the correlations are those of no factor model, and Heywood cases end at the bound."""
    rng = np.random.default_rng(seed)
    correlation = np.corrcoef(rng.normal(size=(6, 9)) + rng.normal(size=9) * rng.uniform(0, 3))
    np.fill_diagonal(correlation, 0)
    weight = np.triu(rng.uniform(0.2, 1, (6, 6)), 1)
    weight += weight.T

    def residual(v):
        return (weight * (correlation - np.outer(v, v)) ** 2)[~np.eye(6, dtype=bool)].sum()

    v = np.asarray(one_factor(jnp.asarray(correlation, jnp.float32), jnp.asarray(weight, jnp.float32)), np.float64)
    assert np.abs(v).max() <= MAX_LOADING + 1e-6
    bounds = [(-MAX_LOADING, MAX_LOADING)] * 6
    starts = [v, *rng.uniform(-1, 1, (12, 6))]
    best = min(scipy.optimize.minimize(residual, start, bounds=bounds).fun for start in starts)
    assert residual(v) <= best * (1 + 1e-4) + 1e-6


def test_a_third_rule_alone_decides_three_loadings():
    correlation = jnp.array([[0.0, 0.56, 0.4], [0.56, 0.0, 0.35], [0.4, 0.35, 0.0]])
    v = one_factor(correlation, jnp.ones((3, 3)), tolerance=1e-7)
    np.testing.assert_allclose(v, [0.8, 0.7, 0.5], atol=1e-4)  # v_1 = sqrt(C_12 C_13 / C_23)


symmetric = settings(max_examples=15, deadline=None)


@symmetric
@given(st.integers(0, 10_000), st.permutations(range(5)))
def test_permuting_rules_permutes_loadings(seed, order):
    ratings = one_factor_ratings(seed, 200, [0.3, 0.5, 0.6, 0.7, 0.8])
    order = np.array(order)
    np.testing.assert_allclose(
        agreement_loadings(ratings[:, order]).loading, agreement_loadings(ratings).loading[order], atol=2e-5
    )


@symmetric
@given(st.integers(0, 10_000), st.lists(st.floats(0.01, 100), min_size=4, max_size=4))
def test_scales_and_offsets_of_ratings_change_no_loading(seed, scale):
    ratings = one_factor_ratings(seed, 200, [0.4, 0.5, 0.7, 0.9])
    expected, fit = agreement_loadings(ratings), agreement_loadings(ratings * np.array(scale) + 10 * np.array(scale))
    np.testing.assert_allclose(fit.loading, expected.loading, atol=2e-5)
    np.testing.assert_allclose(fit.spread, expected.spread * np.array(scale), rtol=1e-4)
    # A reward on the rescaled ratings is the reward on the others: w_k s_k is the same up to a factor.
    shares = [np.asarray(agreement_weights(f.loading, f.spread)) * f.spread for f in (expected, fit)]
    np.testing.assert_allclose(*[share / share.sum() for share in shares], atol=1e-4)


@symmetric
@given(st.integers(0, 10_000), st.lists(st.booleans(), min_size=80, max_size=80))
def test_the_order_of_responses_changes_nothing(seed, swap):
    pairs = one_factor_ratings(seed, 160, [0.4, 0.5, 0.7, 0.9]).reshape(80, 2, 4)
    swapped = np.where(np.array(swap)[:, None, None], pairs[:, ::-1], pairs)
    for got, expected in zip(agreement_loadings(swapped), agreement_loadings(pairs), strict=True):
        np.testing.assert_allclose(got, expected, atol=1e-6)


def test_comparisons_of_three_are_their_three_pairs():
    ratings = one_factor_ratings(1, 120, [0.4, 0.5, 0.7, 0.9]).reshape(40, 3, 4)
    pairs = np.concatenate([ratings[:, [0, 1]], ratings[:, [0, 2]], ratings[:, [1, 2]]])
    np.testing.assert_allclose(agreement_loadings(ratings).loading, agreement_loadings(pairs).loading, atol=1e-6)


def test_loadings_are_recovered_with_missing_ratings():
    true = np.array([0.9, 0.7, 0.5, 0.3, 0.0, -0.4])
    ratings = one_factor_ratings(3, 60_000, true)
    where = np.random.default_rng(4).random(ratings.shape) < [0.9, 0.8, 0.5, 0.9, 0.7, 0.6]
    fit = agreement_loadings(np.where(where, ratings, np.nan), where)
    np.testing.assert_allclose(fit.loading, true, atol=0.02)
    np.testing.assert_allclose(fit.together[0, 2], (where[:, 0] & where[:, 2]).sum())
    complete = np.where(where[:, [0, 2]].all(1, keepdims=True), ratings[:, [0, 2]], np.nan)
    reference = np.corrcoef(complete[~np.isnan(complete).any(1)].T)[0, 1]
    np.testing.assert_allclose(fit.correlation[0, 2], reference, atol=1e-5)


def test_rules_that_tell_nothing_are_unknown_and_weigh_nothing():
    ratings = np.concatenate([one_factor_ratings(5, 300, [0.8, 0.6, 0.7]), np.full((300, 1), 3.0)], 1)
    ratings = np.concatenate([ratings, np.random.default_rng(0).normal(size=(300, 1))], 1)
    where = np.ones(ratings.shape, bool)
    where[FEWEST_TOGETHER - 1 :, 4] = False
    fit = agreement_loadings(ratings, where)
    assert np.isnan(fit.loading[3:]).all() and np.isfinite(fit.loading[:3]).all()
    np.testing.assert_allclose(fit.loading[:3], agreement_loadings(ratings[:, :3]).loading, atol=1e-5)
    weights = np.asarray(agreement_weights(fit.loading, fit.spread))
    assert (weights[3:] == 0).all() and (weights[:3] > 0).all()


def test_most_rules_are_taken_to_be_better_than_chance():
    ratings = one_factor_ratings(6, 2000, [0.8, 0.7, 0.6, -0.7])
    for sign in (1, -1):
        loading = agreement_loadings(sign * ratings).loading
        assert (loading[:3] > 0.5).all() and loading[3] < -0.5


def test_bartlett_weights_are_the_best_linear_estimate():
    """Ordinary least squares of the factor on the ratings gives the same direction where loadings are known exactly."""
    v, spread = np.array([0.9, 0.7, 0.5, 0.2]), np.array([1.0, 2.0, 0.5, 3.0])
    covariance = (np.outer(v, v) + np.diag(1 - v**2)) * np.outer(spread, spread)
    best = np.linalg.solve(covariance, v * spread)
    weights = np.asarray(agreement_weights(jnp.asarray(v), jnp.asarray(spread)))
    np.testing.assert_allclose(weights, best / best.sum(), rtol=1e-4)
    np.testing.assert_allclose(
        agreement_weights(jnp.asarray(v), jnp.asarray(spread), method="loading"),
        (v / spread) / (v / spread).sum(),
        rtol=1e-5,
    )


def test_rules_against_the_others_get_nothing_or_are_turned_round():
    v, s = jnp.array([0.8, 0.6, -0.6]), jnp.ones(3)
    zero, turned = agreement_weights(v, s), agreement_weights(v, s, negative="turn")
    assert zero[2] == 0 and turned[2] == -turned[1] and turned[1] > 0
    np.testing.assert_allclose([np.abs(zero).sum(), np.abs(turned).sum()], 1, rtol=1e-6)


def test_batches_under_jit_equal_single_fits():
    many = [one_factor_ratings(seed, 300, [0.3, 0.5, 0.7, 0.9]) for seed in range(4)]
    fits = [agreement_loadings(ratings) for ratings in many]
    correlation = jnp.stack([jnp.asarray(fit.correlation) for fit in fits])
    together = jnp.stack([jnp.asarray(fit.together) for fit in fits])
    batch = jax.jit(one_factor)(correlation, together)
    np.testing.assert_allclose(batch, np.stack([fit.loading for fit in fits]), atol=1e-5)
    spread = jnp.stack([jnp.asarray(fit.spread) for fit in fits])
    each = np.stack([agreement_weights(f.loading, f.spread) for f in fits])
    np.testing.assert_allclose(jax.jit(agreement_weights)(batch, spread), each, atol=1e-4)


def test_moments_of_groups_add_up_and_never_split_a_prompt():
    ratings = one_factor_ratings(7, 300, [0.4, 0.5, 0.7])
    where = np.random.default_rng(0).random(ratings.shape) < 0.8
    prompt = np.arange(300) // 3
    whole = grouped_moments(rating_rows(ratings, where, prompt), most=1)
    parts = grouped_moments(rating_rows(ratings, where, prompt), most=7)
    assert len(parts.count) == 7 and len(whole.count) == 1
    for part, total in zip(parts.total(), whole.total(), strict=True):
        np.testing.assert_allclose(part, total, atol=1e-8)
    lone = grouped_moments(rating_rows(ratings, where, prompt), most=1000)
    assert len(lone.count) == 100 and lone.count.max() <= 3
    times = np.array([[2.0, 0, 1, 0, 0, 3, 1]])
    again = parts.resampled(times)
    np.testing.assert_allclose(again.second[0], (times[0][:, None, None] * parts.second).sum(0), atol=1e-8)
    complete = [grouped_moments(rating_rows(ratings, mask, prompt), most=7) for mask in (None, np.ones_like(where))]
    for got, expected in zip(*complete, strict=True):
        np.testing.assert_allclose(got, expected, atol=1e-8)
    np.testing.assert_allclose(spreads(complete[0].total()), ratings.std(0), rtol=1e-6)
    np.testing.assert_allclose(
        correlations(complete[0].total())[0] + np.eye(3, dtype=np.float32), np.corrcoef(ratings.T), atol=1e-5
    )


NAN = float("nan")


@pytest.mark.parametrize(
    ("ratings", "where", "message"),
    [
        (np.ones((50, 2)), None, "got 2 rules; agreement needs at least 3"),
        (np.ones(50), None, "ratings have shape"),
        (np.ones((50, 1, 3)), None, "ratings have shape"),
        (np.ones((50, 3)), np.ones((50, 2), bool), "their mask"),
        (np.ones((50, 3)), None, "0 of 3 rules vary"),
        (np.eye(3), None, "0 of 3 rules vary and have 20 rows in common"),
        (np.full((50, 3), NAN), None, "row 0, rule 0: nan is not finite"),
        (np.ones((50, 3)), np.zeros((50, 3), bool), "nothing is rated"),
    ],
)
def test_ratings_that_cannot_tell_are_refused(ratings, where, message):
    with pytest.raises(InputError, match=message):
        agreement_loadings(ratings, where)


@pytest.mark.parametrize(
    ("arguments", "options", "message"),
    [
        ((jnp.array([0.5, 0.5]), jnp.ones(3)), {}, "loadings"),
        ((jnp.array([-0.5, 0.0, NAN]), jnp.ones(3)), {}, "no rule follows"),
        ((jnp.array([0.5, 0.4, 0.3]), jnp.array([1.0, NAN, 1.0])), {}, "spread"),
        ((jnp.array([0.5, 0.4, 0.3]), jnp.array([1.0, -1.0, 1.0])), {}, "spread"),
        ((jnp.ones(3), jnp.ones(3)), {"method": "pca"}, "'pca' is none of bartlett, loading"),
        ((jnp.ones(3), jnp.ones(3)), {"negative": "flip"}, "'flip' is none of zero, turn"),
    ],
)
def test_weights_that_mean_nothing_are_refused(arguments, options, message):
    with pytest.raises(InputError, match=message):
        agreement_weights(*arguments, **options)
