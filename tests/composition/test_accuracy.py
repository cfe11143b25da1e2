"""Rewards, margins and accuracies against slow Python loops."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from encore_jax.composition import compose, margin_accuracy, margins, rule_accuracy
from encore_jax.errors import InputError

RNG = np.random.default_rng(3)
SCORES = (RNG.integers(0, 5, (50, 2, 4)) / 4).astype(np.float32)  # a coarse grid, so ties abound
PREFERRED = RNG.integers(0, 2, 50)
MASK = RNG.random(SCORES.shape) < 0.8


def slow_accuracy(scores, preferred, where):
    counts = []
    for k in range(scores.shape[2]):
        n = correct = ties = 0
        for i, pair in enumerate(scores):
            if not (where[i, 0, k] and where[i, 1, k]):
                continue
            better, worse = pair[preferred[i], k], pair[1 - preferred[i], k]
            n, correct, ties = n + 1, correct + (better > worse), ties + (better == worse)
        counts.append((n, correct, ties))
    return np.array(counts).T


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("labelled", [False, True])
def test_rule_accuracy_equals_a_loop(masked, labelled):
    preferred, where = (PREFERRED if labelled else None), (MASK if masked else None)
    got = rule_accuracy(SCORES, preferred, where)
    n, correct, ties = slow_accuracy(
        SCORES, PREFERRED if labelled else np.zeros(50, int), MASK if masked else np.ones_like(MASK)
    )
    assert ties.min() > 0
    np.testing.assert_array_equal(np.stack(got), np.stack([n, correct, ties]))
    np.testing.assert_allclose(got.ties_half, (correct + 0.5 * ties) / n, rtol=1e-6)
    np.testing.assert_allclose(got.ties_wrong, correct / n, rtol=1e-6)


def test_masked_entries_may_hold_nan():
    scores = np.where(MASK, SCORES, np.nan)
    for got, expected in zip(
        rule_accuracy(scores, PREFERRED, MASK), rule_accuracy(SCORES, PREFERRED, MASK), strict=True
    ):
        np.testing.assert_array_equal(got, expected)


def test_a_rule_never_compared_has_no_accuracy():
    accuracy = rule_accuracy(SCORES, where=np.zeros_like(MASK))
    assert (accuracy.n == 0).all() and np.isnan(accuracy.ties_half).all() and np.isnan(accuracy.ties_wrong).all()


def test_margin_accuracy_of_many_methods():
    margin = RNG.integers(-1, 2, (30, 2, 3)).astype(np.float32)
    got = margin_accuracy(margin)
    np.testing.assert_array_equal(got.correct, (margin > 0).sum(0))
    np.testing.assert_array_equal(got.ties, (margin == 0).sum(0))


def test_margins_put_the_preferred_first():
    expected = np.stack([s[p] - s[1 - p] for s, p in zip(SCORES, PREFERRED, strict=True)])
    np.testing.assert_array_equal(margins(SCORES, PREFERRED), expected)
    np.testing.assert_array_equal(margins(SCORES), SCORES[:, 0] - SCORES[:, 1])


def test_compose_is_the_weighted_sum_in_float64():
    weights = RNG.dirichlet(np.ones(4), 6)
    np.testing.assert_allclose(compose(SCORES, weights[0]), SCORES.astype(np.float64) @ weights[0], rtol=1e-6)
    np.testing.assert_allclose(compose(SCORES, weights), SCORES.astype(np.float64) @ weights.T, rtol=1e-6)
    assert compose(SCORES[0, 0], weights[0]).shape == ()
    assert compose(SCORES, weights.reshape(2, 3, 4)).shape == (50, 2, 2, 3)
    assert compose(jnp.asarray(SCORES, jnp.bfloat16), weights[0]).dtype == jnp.float32


def test_jit_vmap_and_grad():
    weights = jnp.array([0.1, 0.2, 0.3, 0.4])
    np.testing.assert_allclose(jax.jit(compose)(SCORES, weights), compose(SCORES, weights), rtol=1e-6)
    gradient = jax.grad(lambda w: compose(SCORES, w).sum())(weights)
    np.testing.assert_allclose(gradient, SCORES.sum((0, 1)), rtol=1e-6)
    together = jax.vmap(lambda w: margin_accuracy(compose(margins(SCORES), w)).correct)(jnp.eye(4))
    np.testing.assert_array_equal(together, rule_accuracy(SCORES).correct)
    np.testing.assert_array_equal(jax.jit(rule_accuracy)(SCORES, PREFERRED, MASK).n, MASK.all(1).sum(0))


# Refusals: under jax.jit and without strict rank promotion a wrong shape would broadcast silently


@pytest.mark.parametrize("shape", [(50, 1), (50, 50), (49,), (1,), ()])
def test_preferred_of_another_shape_is_refused(shape):
    with jax.numpy_rank_promotion("allow"), pytest.raises(InputError, match="preferred"):
        margins(SCORES, np.zeros(shape, int))


@pytest.mark.parametrize("value", [2, -1])
def test_preferred_that_names_no_response_is_refused(value):
    preferred = PREFERRED.copy()
    preferred[7] = value
    with pytest.raises(InputError, match=f"comparison 7.*{value}"):
        rule_accuracy(SCORES, preferred)


@pytest.mark.parametrize("shape", [(50, 4), (50, 2), (2, 4), (50, 2, 1)])
def test_masks_of_another_shape_are_refused(shape):
    with jax.numpy_rank_promotion("allow"), pytest.raises(InputError, match="mask"):
        rule_accuracy(SCORES, where=np.ones(shape, bool))


def test_margin_masks_of_another_shape_are_refused():
    with jax.numpy_rank_promotion("allow"), pytest.raises(InputError, match="mask"):
        margin_accuracy(np.ones((5, 3)), np.ones(3, bool))


@pytest.mark.parametrize("shape", [(50, 4), (50, 3, 4), (4,)])
def test_scores_that_are_not_pairs_are_refused(shape):
    with pytest.raises(InputError, match=r"\[N, 2, K\]"):
        margins(np.zeros(shape))


@pytest.mark.parametrize(("scores", "weights"), [((5, 4), (3,)), ((5, 4), (4, 1)), ((), (4,)), ((4,), ())])
def test_weights_of_other_rules_are_refused(scores, weights):
    with pytest.raises(InputError, match="same rules"):
        compose(np.zeros(scores), np.zeros(weights))


def test_a_score_that_is_not_a_number_is_not_silently_wrong():
    scores = SCORES.copy()
    scores[4, 1, 2] = np.nan
    with pytest.raises(InputError, match="comparison 4, response 1, rule 2"):
        rule_accuracy(scores, PREFERRED)


def test_ties_count_half_wrong_or_not_at_all():
    margin = jnp.array([[0.5, 0.0], [0.0, 0.0], [-0.25, 0.0], [0.25, 0.0], [1.0, jnp.nan]])
    accuracy = margin_accuracy(margin, ~jnp.isnan(margin), tolerance=jnp.full(margin.shape, 1e-6))
    np.testing.assert_array_equal(accuracy.n, [5, 4])
    np.testing.assert_array_equal(accuracy.correct, [3, 0])
    np.testing.assert_array_equal(accuracy.ties, [1, 4])
    np.testing.assert_allclose(accuracy.ties_half, [3.5 / 5, 0.5], rtol=1e-6)
    np.testing.assert_allclose(accuracy.ties_wrong, [3 / 5, 0], rtol=1e-6)
    np.testing.assert_allclose(accuracy.decided, [3 / 4, np.nan], rtol=1e-6)
