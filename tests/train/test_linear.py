"""The search for a penalty: what wins, and held-out margins against scikit-learn's."""

import math

import numpy as np
import pytest

from encore_jax.errors import InputError
from encore_jax.train.linear import best_penalty, held_out_margins
from tests.train.test_preference_head import differences, logistic


@pytest.mark.parametrize(
    ("worth", "best"),
    [
        ({0.1: 1.0, 1.0: 2.0, 10.0: 0.5}, 1.0),
        ({0.1: 2.0, 1.0: 2.0, 10.0: 1.0}, 1.0),  # a tie goes to the larger one
        ({10.0: 2.0, 0.1: 2.0}, 10.0),  # in whatever order they are given
        ({0.1: math.nan, 1.0: -math.inf}, 1.0),
        ({0.1: -5.0, 1.0: math.nan}, 0.1),
    ],
)
def test_the_highest_worth_wins(worth, best):
    search = best_penalty(tuple(worth), worth.get)
    assert search.best == best
    assert list(search.tried) == list(worth) and search.told.keys() == {f"{penalty:g}" for penalty in worth}


@pytest.mark.parametrize("penalties", [(), (0.0, 1.0), (-1.0,), (math.nan,), (math.inf,)])
def test_a_grid_without_sense_is_refused(penalties):
    with pytest.raises(InputError, match="penalties"):
        best_penalty(penalties, lambda penalty: 0.0)


def test_where_nothing_is_finite_that_is_said():
    with pytest.raises(InputError, match="no penalty gives a finite fit"):
        best_penalty((0.1, 1.0), lambda penalty: math.nan)


def test_held_out_margins_are_scikit_learns():
    x, fold = differences(n=90, width=4)
    expected = np.zeros(len(x))
    for f in np.unique(fold):
        expected[fold == f] = x[fold == f] @ logistic(x[fold != f], 0.05)
    np.testing.assert_allclose(held_out_margins(x, fold, 0.05), expected, rtol=2e-3, atol=2e-3)
    with pytest.raises(InputError, match="in 1 folds"):
        held_out_margins(x, np.zeros(len(x), int), 0.05)
