"""Logistic heads of all rules at once, against scikit-learn's one by one."""

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from encore_jax.errors import InputError
from encore_jax.train.binary_heads import TOLERANCE, fit_binary_heads


def problem(rows=150, width=12, rules=3, seed=0):
    rng = np.random.default_rng(seed)
    mixing = rng.normal(size=(width, width)) * np.logspace(0, 1, width)
    features = (rng.normal(size=(rows, width)) @ mixing + 3).astype(np.float32)
    logits = (features - 3) @ rng.normal(size=(width, rules)) / 10 - np.array([0.0, 1.0, 2.0])
    return features, rng.random((rows, rules)) < 1 / (1 + np.exp(-logits))


@pytest.mark.parametrize(("l2", "positive_weight"), [(0.01, 1.0), (0.3, 1.0), (0.05, 4.0)])
def test_equal_scikit_learn(l2, positive_weight):
    features, answers = problem()
    fitted = fit_binary_heads(features, answers, l2, positive_weight)
    assert fitted.gradient <= TOLERANCE
    scaled = (features - features.mean(0)) / features.std(0)
    for k in range(answers.shape[1]):
        reference = LogisticRegression(
            C=1 / (l2 * len(features)), class_weight={False: 1, True: positive_weight}, tol=1e-10, max_iter=5000
        ).fit(scaled, answers[:, k])
        ours = features @ fitted.kernel[:, k] + fitted.bias[k]
        np.testing.assert_allclose(ours, reference.decision_function(scaled), atol=5e-3)


def test_a_rule_that_is_always_or_never_critical_is_no_trouble():
    features, answers = problem()
    answers[:, 0], answers[:, 1] = True, False
    fitted = fit_binary_heads(features, answers, 0.1)
    logits = features @ fitted.kernel + fitted.bias
    assert np.isfinite(logits).all() and (logits[:, 0] > 3).all() and (logits[:, 1] < -3).all()


def test_a_fit_that_begins_at_its_minimum_takes_one_step():
    """Answers that are balanced, whatever the features are: the gradient at 0 is 0, as the first step finds."""
    fitted = fit_binary_heads(np.array([[1.0], [1.0], [5.0], [5.0]]), np.array([[True], [False]] * 2), 0.1)
    assert fitted.steps == 1 and fitted.gradient <= TOLERANCE
    np.testing.assert_allclose(np.append(fitted.kernel, fitted.bias), 0, atol=1e-6)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda x, y: (np.where(np.arange(len(x))[:, None] == 7, np.nan, x), y, 0.1), "row 7"),
        (lambda x, y: (x, y[:-1], 0.1), "do not fit"),
        (lambda x, y: (x, y, 0.0), "positive penalty"),
    ],
)
def test_bad_input_is_named(change, says):
    with pytest.raises(InputError, match=says):
        fit_binary_heads(*change(*problem()))
