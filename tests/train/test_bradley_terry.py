"""Bradley-Terry weights against scikit-learn's logistic regression without an intercept."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.svm import LinearSVC

from encore_jax.errors import InputError
from encore_jax.train.bradley_terry import bradley_terry_weights, hinge_weights


def simulated(n, weights, seed=0, scale=1.0):
    rng = np.random.default_rng(seed)
    difference = rng.normal(size=(n, len(weights))) * scale
    wins = rng.random(n) < 1 / (1 + np.exp(-difference @ np.array(weights)))
    return np.where(wins, 1, -1)[:, None] * difference


def reference(margins, l2):
    """Each pair once as it is, once swapped: the intercept-free problem on both classes."""
    x = np.concatenate([margins, -margins]).astype(np.float64)
    y = np.repeat([1, 0], len(margins))
    model = LogisticRegression(C=1 / (l2 * len(x)), fit_intercept=False, tol=1e-10, max_iter=2000)
    return model.fit(x, y).coef_[0]


@pytest.mark.parametrize("l2", [1e-4, 1e-2, 1.0])
@pytest.mark.parametrize("scale", [0.05, 1.0])
def test_equal_scikit_learn(l2, scale):
    margins = simulated(600, [1.0, -0.5, 0.0, 2.0], scale=scale)
    got = np.asarray(bradley_terry_weights(jnp.asarray(margins, jnp.float32), l2))
    np.testing.assert_allclose(got, reference(margins, l2), rtol=2e-5, atol=2e-5)


def test_the_truth_is_recovered():
    got = bradley_terry_weights(jnp.asarray(simulated(40_000, [1.5, 0.0, -0.7]), jnp.float32), 1e-6)
    np.testing.assert_allclose(got, [1.5, 0.0, -0.7], atol=0.06)


def test_separable_preferences_stay_finite_by_the_penalty():
    margins = np.abs(np.random.default_rng(0).normal(size=(50, 2)))
    got = np.asarray(bradley_terry_weights(jnp.asarray(margins, jnp.float32), 1e-4))
    np.testing.assert_allclose(got, reference(margins, 1e-4), rtol=1e-2)


def test_more_rules_than_comparisons_and_rules_that_never_differ():
    margins = np.concatenate([simulated(8, [1.0] * 12), np.zeros((8, 1))], 1)
    got = np.asarray(bradley_terry_weights(jnp.asarray(margins, jnp.float32), 1e-2))
    np.testing.assert_allclose(got, reference(margins, 1e-2), atol=5e-3)
    assert got[-1] == 0


def test_symmetries():
    margins = jnp.asarray(simulated(300, [1.0, -0.5, 0.3]), jnp.float32)
    weights = np.asarray(bradley_terry_weights(margins, 1e-3))
    np.testing.assert_allclose(bradley_terry_weights(margins[:, ::-1], 1e-3), weights[::-1], atol=1e-4)
    np.testing.assert_allclose(bradley_terry_weights(margins[::-1], 1e-3), weights, atol=1e-4)
    np.testing.assert_allclose(bradley_terry_weights(-margins, 1e-3), -weights, atol=1e-4)


def test_vmap_over_penalties():
    margins = jnp.asarray(simulated(200, [1.0, 0.2]), jnp.float32)
    l2 = jnp.array([1e-3, 1e-1])
    together = jax.vmap(bradley_terry_weights, (None, 0))(margins, l2)
    for row, penalty in zip(together, (1e-3, 1e-1), strict=True):
        np.testing.assert_allclose(row, reference(np.asarray(margins), penalty), rtol=2e-3, atol=2e-3)


@pytest.mark.parametrize("shape", [(5,), (5, 2, 3), (0, 3)], ids=str)
def test_margins_of_another_shape_are_refused(shape):
    with pytest.raises(InputError, match=r"\[N, K\]"):
        bradley_terry_weights(jnp.zeros(shape))


def test_margins_that_are_not_finite_are_refused():
    with pytest.raises(InputError, match="comparison 2, rule 1"):
        bradley_terry_weights(jnp.zeros((5, 2)).at[2, 1].set(jnp.nan))


@pytest.mark.parametrize("l2", [0.0, -1.0])
def test_a_penalty_that_is_not_positive_is_refused(l2):
    with pytest.raises(InputError, match="l2"):
        bradley_terry_weights(jnp.ones((5, 2)), l2)


@pytest.mark.parametrize("columns", [2, 7, 40])
def test_rules_that_repeat_each_other_share_the_weight(columns):
    """Their equations are singular but for a penalty that float32 rounds away."""
    margin = np.random.default_rng(0).normal(0.3, 1, size=(300, 1)).astype(np.float32)
    w = np.asarray(bradley_terry_weights(np.repeat(margin, columns, 1), 1e-7))
    alone = float(bradley_terry_weights(margin, 1e-7)[0])
    np.testing.assert_allclose(w.sum(), alone, rtol=1e-4)
    np.testing.assert_allclose(w, alone / columns, rtol=1e-3)


@pytest.mark.parametrize("rules", [5, 6, 7, 33, 100])
def test_any_number_of_rules_equals_scikit_learns_also_batched(rules):
    rng = np.random.default_rng(rules)
    margins = np.stack([simulated(150, rng.normal(size=rules), seed) for seed in range(3)]).astype(np.float32)
    got = jax.vmap(bradley_terry_weights, (0, None))(jnp.asarray(margins), 0.03)
    for one, expected in zip(got, map(lambda m: reference(m, 0.03), margins), strict=True):
        np.testing.assert_allclose(one, expected, atol=5e-6)


@pytest.mark.parametrize("l2", [0.0, -1.0, np.nan, np.inf, 1e-46, 1e-300, 1e39])
@pytest.mark.parametrize("fit", [bradley_terry_weights, hinge_weights])
def test_a_penalty_that_float32_does_not_know_is_refused(fit, l2):
    with pytest.raises(InputError, match="l2: got .*positive"):
        fit(jnp.ones((5, 2)), l2)


@pytest.mark.parametrize("size", [1e16, -3e25])
def test_margins_too_large_for_their_squares_are_refused(size):
    with pytest.raises(InputError, match="comparison 3, rule 1: .*too large"):
        bradley_terry_weights(jnp.ones((5, 2)).at[3, 1].set(size))


def hinge(weights, margins, l2):
    return np.maximum(0, 1 - margins @ weights).mean() + l2 / 2 * weights @ weights


@pytest.mark.parametrize("l2", [1e-3, 1e-2, 0.3])
@pytest.mark.parametrize("scale", [0.3, 1.0])
def test_hinge_weights_equal_scikit_learns(l2, scale):
    margins = simulated(500, [1.0, -0.5, 0.0, 2.0], scale=scale)
    both, sides = np.concatenate([margins, -margins]), np.repeat([1, 0], len(margins))
    svc = LinearSVC(loss="hinge", fit_intercept=False, C=1 / (l2 * len(both)), tol=1e-9, max_iter=2_000_000)
    expected = svc.fit(both, sides).coef_[0]
    got = np.asarray(hinge_weights(jnp.asarray(margins, jnp.float32), l2), np.float64)
    assert hinge(got, margins, l2) <= hinge(expected, margins, l2) * (1 + 1e-3) + 1e-3
    np.testing.assert_allclose(got, expected, rtol=0.02, atol=0.02)


def test_hinge_stops_caring_about_comparisons_it_is_sure_of():
    margins = np.array([[1.0, 0.2], [1.0, -0.1], [2.0, 0.3]])
    got = np.asarray(hinge_weights(jnp.asarray(margins, jnp.float32), 1e-4))
    assert (margins @ got > 0.95).all() and np.abs(got).max() < 1.2


def test_counts_are_repetitions_and_0_leaves_out():
    margins = simulated(60, [1.0, -0.5], seed=3).astype(np.float32)
    counts = np.random.default_rng(0).integers(0, 4, 60)
    repeated = bradley_terry_weights(jnp.asarray(np.repeat(margins, counts, 0)), 0.05)
    got = bradley_terry_weights(jnp.asarray(margins), 0.05, counts=jnp.asarray(counts, jnp.float32))
    np.testing.assert_allclose(got, repeated, atol=1e-4)


def test_a_head_is_pulled_towards_where_it_started():
    """The optimum from w⁰ has the gradient of the data alone, λ (w⁰ - w); a huge penalty leaves w⁰ as it is."""
    margins, start = simulated(80, [1.0, 0.0, 2.0]).astype(np.float32), np.array([-1.0, 2.0, 0.5], np.float32)
    np.testing.assert_allclose(bradley_terry_weights(jnp.asarray(margins), 1e6, start=start), start, atol=1e-4)
    w = np.asarray(bradley_terry_weights(jnp.asarray(margins), 0.1, start=start), np.float64)
    wrong = 1 / (1 + np.exp(margins @ w))
    np.testing.assert_allclose((wrong[:, None] * margins).mean(0), 0.1 * (w - start), atol=1e-4)


@pytest.mark.parametrize("given", [{"counts": np.ones(3)}, {"start": np.ones(3)}])
def test_counts_and_start_of_another_shape_are_refused(given):
    with pytest.raises(InputError, match=next(iter(given))):
        bradley_terry_weights(jnp.ones((4, 2)), **given)
