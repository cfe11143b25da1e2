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
    x = np.concatenate([margins, -margins])
    y = np.repeat([1, 0], len(margins))
    model = LogisticRegression(C=1 / (l2 * len(x)), fit_intercept=False, tol=1e-10, max_iter=2000)
    return model.fit(x, y).coef_[0]


@pytest.mark.parametrize("l2", [1e-4, 1e-2, 1.0])
@pytest.mark.parametrize("scale", [0.05, 1.0])
def test_equal_scikit_learn(l2, scale):
    margins = simulated(600, [1.0, -0.5, 0.0, 2.0], scale=scale)
    got = np.asarray(bradley_terry_weights(jnp.asarray(margins, jnp.float32), l2))
    np.testing.assert_allclose(got, reference(margins, l2), rtol=2e-3, atol=2e-3)


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
