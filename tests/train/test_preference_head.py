"""The single Bradley-Terry head against scikit-learn, penalty by penalty."""

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from encore_jax.errors import InputError
from encore_jax.train.preference_head import fit_preference_head


def differences(n=240, width=12, seed=0):
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(n, width)) * np.linspace(0.1, 5, width)
    wins = rng.random(n) < 1 / (1 + np.exp(-x[:, 0] * 8))
    return (np.where(wins, 1, -1)[:, None] * x).astype(np.float32), rng.integers(0, 4, n)


def logistic(x, l2):
    both = np.concatenate([x, -x])
    model = LogisticRegression(C=1 / (l2 * len(both)), fit_intercept=False, tol=1e-10, max_iter=5000)
    return model.fit(both, np.repeat([1, 0], len(x))).coef_[0]


def test_it_is_the_best_of_scikit_learns_by_held_out_likelihood():
    x, fold = differences()
    scale, grid = np.sqrt((x.astype(np.float64) ** 2).mean(0)), (0.001, 0.05, 2.0)
    losses = []
    for l2 in grid:
        heads = [logistic(x[fold != f] / scale, l2) for f in range(4)]
        losses.append(sum(np.logaddexp(0, -(x[fold == f] / scale @ heads[f])).sum() for f in range(4)))
    head, chosen = fit_preference_head(x, fold, grid)
    assert chosen == grid[int(np.argmin(losses))]
    np.testing.assert_allclose(head, logistic(x / scale, chosen) / scale, rtol=5e-3, atol=1e-3)


def test_features_that_never_differ_get_nothing_and_one_fold_is_refused():
    x, fold = differences()
    x[:, 3] = 0
    assert fit_preference_head(x, fold, (0.1,))[0][3] == 0
    with pytest.raises(InputError, match="in 1 folds"):
        fit_preference_head(x, np.zeros(len(x), int))
