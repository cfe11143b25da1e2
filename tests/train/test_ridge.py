"""Masked, cross-validated ridge against scikit-learn, rule by rule and fold by fold."""

import numpy as np
import pytest
from sklearn.linear_model import Ridge

from encore_jax.errors import InputError
from encore_jax.train.ridge import ALPHAS, fit_ridge, ridge_heads, ridge_path

N, D, K, F = 90, 6, 3, 4
GRID = (0.1, 3.0, 100.0)


@pytest.fixture(scope="module")
def data():
    rng = np.random.default_rng(6)
    features = rng.normal(size=(N, D)) * rng.uniform(0.1, 30, D) + rng.normal(size=D)
    truth = rng.normal(size=(D, K)) / features.std(0)[:, None]
    ratings = features @ truth + 0.3 + rng.normal(size=(N, K)) * [0.05, 1.0, 20.0]
    mask = rng.random((N, K)) < [0.9, 0.6, 0.4]
    return features.astype(np.float32), ratings.astype(np.float32), mask, rng.integers(0, F, N)


@pytest.fixture(scope="module")
def fitted(data):
    return fit_ridge(*data, alphas=GRID)


def sklearn_scores(features, ratings, mask, train, k, alpha):
    """Ridge on features of unit variance (over all rows), as `fit_ridge` scales them; scores of all rows."""
    x = features.astype(np.float64) / features.std(0)
    rows = train & mask[:, k]
    return Ridge(alpha=alpha).fit(x[rows], ratings[rows, k].astype(np.float64)).predict(x)


def test_cross_validation_equals_a_loop_over_folds(data, fitted):
    features, ratings, mask, fold = data
    mse = np.zeros((len(GRID), K))
    held_out = np.zeros((len(GRID), N, K))
    for a, alpha in enumerate(GRID):
        for k in range(K):
            for f in range(F):
                scores = sklearn_scores(features, ratings, mask, fold != f, k, alpha)
                held_out[a, fold == f, k] = scores[fold == f]
            mse[a, k] = ((held_out[a, :, k] - ratings[:, k]) ** 2)[mask[:, k]].mean()
    np.testing.assert_allclose(fitted.validation_mse, mse, rtol=2e-3)
    best = mse.argmin(0)
    assert len(set(best)) > 1  # the rules' noise differs, and so do their penalties
    np.testing.assert_allclose(fitted.alpha, np.array(GRID)[best])
    expected = np.stack([held_out[best[k], :, k] for k in range(K)], 1)
    np.testing.assert_allclose(fitted.held_out_scores, expected, atol=2e-3 * np.abs(expected).max())


def test_heads_equal_scikit_learns_on_all_rows(data, fitted):
    features, ratings, mask, _ = data
    scores = features @ fitted.kernel + fitted.bias
    for k in range(K):
        expected = sklearn_scores(features, ratings, mask, np.ones(N, bool), k, float(fitted.alpha[k]))
        np.testing.assert_allclose(scores[:, k], expected, rtol=1e-3, atol=1e-3 * np.abs(expected).max())


@pytest.mark.parametrize("rows", [None, 5, 2, 1], ids=lambda rows: f"{rows or 'many'} rows")
def test_a_path_equals_scikit_learn_for_every_penalty(data, rows):
    """Also where there are fewer rows than the six features."""
    features, ratings, mask, _ = data
    x = features / features.std(0)
    rows = mask[:, 1] if rows is None else np.arange(N) < rows
    coefficients, intercepts = ridge_path(x[rows], ratings[rows], np.array(GRID))
    for coefficient, intercept, alpha in zip(coefficients, intercepts, GRID, strict=True):
        model = Ridge(alpha=alpha).fit(x[rows].astype(np.float64), ratings[rows].astype(np.float64))
        np.testing.assert_allclose(coefficient, model.coef_.T, rtol=1e-8, atol=1e-10)
        np.testing.assert_allclose(intercept, model.intercept_, rtol=1e-8, atol=1e-10)


def test_masked_ratings_may_hold_anything(data, fitted):
    features, ratings, mask, fold = data
    for poison in (np.nan, np.inf, 1e30):
        got = fit_ridge(features, np.where(mask, ratings, poison), mask, fold, GRID)
        for a, b in zip(got, fitted, strict=True):
            np.testing.assert_array_equal(a, b)


def test_held_out_scores_never_saw_their_own_fold(data, fitted):
    features, ratings, mask, fold = data
    changed = ratings.copy()
    changed[fold == 2] += 1000.0
    got = fit_ridge(features, changed, mask, fold, (float(fitted.alpha[0]),))
    one = fit_ridge(features, ratings, mask, fold, (float(fitted.alpha[0]),))
    np.testing.assert_array_equal(got.held_out_scores[fold == 2], one.held_out_scores[fold == 2])
    assert (np.abs(got.held_out_scores[fold != 2] - one.held_out_scores[fold != 2]) > 1).all()


def test_rules_are_fitted_independently_and_in_any_number(data, fitted):
    features, ratings, mask, fold = data
    order = [2, 0, 1, 0, 2, 1, 1]  # more than are vmapped together
    got = fit_ridge(features, ratings[:, order], mask[:, order], fold, GRID)
    np.testing.assert_allclose(got.kernel, fitted.kernel[:, order], rtol=1e-3, atol=1e-6)
    np.testing.assert_array_equal(got.alpha, fitted.alpha[order])


def test_scaling_a_feature_scales_its_coefficient_away(data, fitted):
    features, ratings, mask, fold = data
    factor = np.array([1, 8, 1, 0.125, 1, 64], np.float32)
    got = fit_ridge(features * factor, ratings, mask, fold, GRID)
    np.testing.assert_allclose(got.kernel * factor[:, None], fitted.kernel, rtol=1e-3, atol=1e-6)


def test_a_constant_feature_is_ignored(data, fitted):
    features, ratings, mask, fold = data
    got = fit_ridge(np.concatenate([features, np.full((N, 1), 7.0)], 1), ratings, mask, fold, GRID)
    np.testing.assert_allclose(got.kernel[:-1], fitted.kernel, rtol=1e-3, atol=1e-6)
    assert not got.kernel[-1].any()


def test_more_features_than_rows_and_repeated_features_are_fine():
    rng = np.random.default_rng(0)
    features = np.repeat(rng.normal(size=(20, 20)), 2, 1).astype(np.float32)
    ratings, mask, fold = rng.random((20, 1)), np.ones((20, 1), bool), np.arange(20) % 4
    fit = fit_ridge(features, ratings, mask, fold, ALPHAS)
    assert all(np.isfinite(part).all() for part in (fit.kernel, fit.bias, fit.held_out_scores))
    expected = sklearn_scores(features, ratings, mask, np.ones(20, bool), 0, float(fit.alpha[0]))
    np.testing.assert_allclose(features @ fit.kernel[:, 0] + fit.bias[0], expected, atol=1e-3)


@pytest.mark.parametrize("masks", ["of all rules alike", "of each rule its own"])
def test_eleven_rules_equal_scikit_learns_cross_validated(masks):
    """K > 4, more features than some folds have rows, penalties that differ by rule."""
    rng = np.random.default_rng(1)
    features, fold = rng.normal(size=(60, 20)).astype(np.float32), np.arange(60) % 4
    ratings = (features[:, :1] + rng.normal(size=(60, 11)) * np.geomspace(0.01, 10, 11)).astype(np.float32)
    mask = np.ones((60, 11), bool) if masks == "of all rules alike" else rng.random((60, 11)) < np.linspace(0.2, 1, 11)
    fit = fit_ridge(features, ratings, mask, fold, GRID)
    assert len(set(fit.alpha.tolist())) > 1
    everything = np.ones(60, bool)
    for k, alpha in enumerate(fit.alpha.tolist()):
        expected = sklearn_scores(features, ratings, mask, everything, k, alpha)
        np.testing.assert_allclose(features @ fit.kernel[:, k] + fit.bias[k], expected, atol=2e-5)
        for f in range(4):
            expected = sklearn_scores(features, ratings, mask, fold != f, k, alpha)[fold == f]
            np.testing.assert_allclose(fit.held_out_scores[fold == f, k], expected, atol=2e-5)


@pytest.mark.parametrize("size", [1e-15, 1e-6, 1e6, 1e15])
def test_features_and_ratings_may_have_any_size(data, fitted, size):
    features, ratings, mask, fold = data
    got = fit_ridge(features * np.float32(size), ratings / np.float32(size), mask, fold, GRID)
    np.testing.assert_array_equal(got.alpha, fitted.alpha)
    np.testing.assert_allclose(got.held_out_scores * size, fitted.held_out_scores, rtol=2e-4, atol=1e-5)
    np.testing.assert_allclose(got.kernel * size * size, fitted.kernel, rtol=2e-4, atol=1e-6)


def test_heads_that_float32_cannot_hold_are_refused(data):
    features, ratings, mask, fold = data
    with pytest.raises(InputError, match="kernel reach .* more than float32 holds"):
        fit_ridge(features * np.float32(1e-38), ratings * np.float32(1e10), mask, fold, GRID)


@pytest.mark.parametrize("value", [0.1, 1e-30, -3e20])
def test_a_constant_feature_counts_for_nothing_whatever_its_value(data, fitted, value):
    """The mean of many times 0.1 is not quite 0.1: such a feature must not be scaled up to noise."""
    features, ratings, mask, fold = data
    got = fit_ridge(np.concatenate([features, np.full((N, 1), value, np.float32)], 1), ratings, mask, fold, GRID)
    np.testing.assert_allclose(got.kernel[:-1], fitted.kernel, rtol=1e-4, atol=1e-7)
    np.testing.assert_allclose(got.held_out_scores, fitted.held_out_scores, rtol=1e-4, atol=1e-6)


def test_a_rule_that_never_varies_gets_the_largest_penalty_and_no_weight():
    rng = np.random.default_rng(0)
    features, mask, fold = rng.normal(size=(23, 3)).astype(np.float32), np.ones((23, 1), bool), np.arange(23) % 4
    flat = fit_ridge(features, np.full((23, 1), 0.1, np.float32), mask, fold, GRID)
    assert flat.alpha.tolist() == [100.0] and np.abs(flat.kernel).max() < 1e-9
    np.testing.assert_allclose(flat.held_out_scores, 0.1, rtol=1e-6)


def test_penalties_may_come_in_any_order_and_ties_go_to_the_larger():
    rng = np.random.default_rng(0)
    features, mask, fold = rng.normal(size=(20, 2)), np.ones((20, 1), bool), np.arange(20) % 4
    flat = fit_ridge(features, np.full((20, 1), 0.5), mask, fold, (10.0, 1000.0, 1.0))
    assert flat.alpha.tolist() == [1000.0] and not flat.kernel.any() and flat.bias == pytest.approx([0.5])


# Refusals


def test_features_that_are_not_finite_are_refused_by_row(data):
    features, ratings, mask, fold = data
    broken = features.copy()
    broken[17, 2] = np.nan
    with pytest.raises(InputError, match="features, row 17: .*not finite"):
        fit_ridge(broken, ratings, mask, fold)


def test_ratings_that_are_not_finite_are_refused_by_row_and_rule(data):
    features, ratings, mask, fold = data
    row = int(np.flatnonzero(mask[:, 1])[5])
    broken = ratings.copy()
    broken[row, 1] = np.inf
    with pytest.raises(InputError, match=f"row {row}, rule 1: .*not finite"):
        fit_ridge(features, broken, mask, fold)


@pytest.mark.parametrize("rated", [[], [0], [0, 1]])
def test_a_rule_rated_in_fewer_than_two_folds_is_refused(data, rated):
    features, ratings, mask, _ = data
    mask, fold = mask.copy(), np.arange(N) // 45
    mask[:, 2] = False
    mask[rated, 2] = True
    with pytest.raises(InputError, match=f"rule 2: has {len(rated)} ratings, in fewer than two folds"):
        fit_ridge(features, ratings, mask, fold)


@pytest.mark.parametrize("which", range(4))
def test_arrays_of_different_lengths_are_refused(data, which):
    shorter = [array[:-1] if i == which else array for i, array in enumerate(data)]
    with pytest.raises(InputError, match="fit_ridge"):
        fit_ridge(*shorter)


def test_arrays_of_the_wrong_rank_are_refused(data):
    features, ratings, mask, fold = data
    with pytest.raises(InputError, match="fit_ridge"):
        fit_ridge(features, ratings[:, 0], mask[:, 0], fold)
    with pytest.raises(InputError, match="fit_ridge"):
        fit_ridge(features[None], ratings, mask, fold)


def test_no_rows_at_all_are_refused():
    with pytest.raises(InputError, match="fit_ridge"):
        fit_ridge(np.zeros((0, 3)), np.zeros((0, 2)), np.zeros((0, 2), bool), np.zeros(0, int))


@pytest.mark.parametrize("alphas", [(), (0.0,), (-1.0, 1.0)], ids=str)
def test_penalties_that_are_not_positive_are_refused(data, alphas):
    with pytest.raises(InputError, match="alphas"):
        fit_ridge(*data, alphas=alphas)


def test_a_grid_too_small_for_fp32_is_refused_rather_than_giving_nan():
    rng = np.random.default_rng(0)
    features = np.repeat(rng.normal(size=(30, 1)), 40, 1) * 1e3
    with pytest.raises(InputError, match="add larger values to the α grid"):
        fit_ridge(features, rng.random((30, 1)), np.ones((30, 1), bool), np.arange(30) % 3, (1e-12,))


def test_a_penalty_too_small_for_the_rows_of_one_rule_is_refused_by_rule():
    """The second rule is rated in fewer rows than there are features, and its penalty is lost in their rounding."""
    rng = np.random.default_rng(1)
    features, where = rng.normal(size=(40, 8)), np.ones((40, 2), bool)
    features[:, 7], where[4:, 1] = features[:, 6], False
    kernel, bias = ridge_heads(features, rng.random((40, 2)), where, np.array([1e-3, 1e-3]))
    assert np.isfinite(kernel).all() and np.isfinite(bias).all()
    with pytest.raises(InputError, match="rule 1: α = 1e-30 gives no finite fit"):
        ridge_heads(features[:, 6:], rng.random((40, 2)), where, np.array([1e-3, 1e-30]))
