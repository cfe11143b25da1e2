"""The simulation of maximum discrepancy: it reproduces the argument where signs agree, and shows where they cancel."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from encore_jax.evaluation.selection_theory import _choose, _discrepancies, simulate, verdicts


@pytest.fixture(scope="module")
def rows():
    return simulate(r=3, num_rules=12, comparisons=8000, noise=2.0, flips=(0.0, 0.3), seed=1)


def of(rows, flips, strategy):
    return next(row for row in rows if (row["flips"], row["strategy"]) == (flips, strategy))


def test_the_prediction_is_in_the_interval_where_signs_agree_and_not_where_they_cancel(rows):
    agreeing, cancelling = of(rows, 0.0, "largest"), of(rows, 0.3, "largest")
    for row, holds in ((agreeing, True), (cancelling, False)):
        interval = row["information"]
        assert interval["low"] <= row["exact"] <= interval["high"]
        assert (interval["low"] <= row["predicted"] <= interval["high"]) == holds
    assert verdicts(rows)["holds"] == [0.0] and verdicts(rows)["fails"] == [0.3]


def test_the_largest_discrepancies_are_best_only_where_signs_agree(rows):
    assert of(rows, 0.0, "largest")["exact"] == pytest.approx(of(rows, 0.0, "best")["exact"], abs=1e-6)
    assert of(rows, 0.3, "largest")["exact"] < 0.5 * of(rows, 0.3, "best")["exact"]
    assert of(rows, 0.0, "random")["exact"] < of(rows, 0.0, "largest")["exact"]


def test_best_is_the_best_of_all_subsets():
    difference = _discrepancies(jax.random.key(0), 200, 6, 0.4)
    rules = _choose("best", difference, 3, jax.random.key(1))
    subsets = jnp.array(list(itertools.combinations(range(6), 3)))
    largest = np.abs(np.asarray(difference)[:, subsets].sum(2)).max(1)
    got = np.abs(np.take_along_axis(np.asarray(difference), np.asarray(rules), 1).sum(1))
    np.testing.assert_allclose(got, largest, rtol=1e-5)
