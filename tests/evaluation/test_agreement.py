"""Agreement against SciPy, scikit-learn, and Krippendorff's own formula by pairs."""

import itertools
import math

import numpy as np
import pytest
import scipy.stats
import sklearn.metrics

from encore_jax.errors import InputError
from encore_jax.evaluation.agreement import (
    agreement,
    auc,
    correlation,
    krippendorff_alpha,
    order_consistency,
    position_bias,
    ranks,
    rating_histogram,
    share_decided,
)

RNG = np.random.default_rng(0)


@pytest.mark.parametrize("levels", [2, 5, 1000])
def test_correlations_equal_scipy(levels):
    a, b = RNG.integers(0, levels, (2, 60)) / levels
    a[3] = np.nan
    seen = np.isfinite(a)
    got = agreement(a, b)
    assert got.n == 59
    assert got.pearson == pytest.approx(scipy.stats.pearsonr(a[seen], b[seen]).statistic)
    assert got.spearman == pytest.approx(scipy.stats.spearmanr(a[seen], b[seen]).statistic)
    np.testing.assert_array_equal(ranks(b), scipy.stats.rankdata(b))


def by_pairs(ratings, distance):
    """Alpha by its definition: observed over expected disagreement of pairs of ratings."""
    columns = [column[np.isfinite(column)] for column in ratings.T]
    columns = [column for column in columns if len(column) > 1]
    observed = sum(
        distance(a, b) / (len(column) - 1) for column in columns for a, b in itertools.permutations(column, 2)
    )
    values = np.concatenate(columns)
    expected = sum(distance(a, b) for a, b in itertools.permutations(values, 2)) / (len(values) - 1)
    return 1 - observed / expected


@pytest.mark.parametrize(
    ("level", "distance"), [("nominal", lambda a, b: float(a != b)), ("interval", lambda a, b: (a - b) ** 2)]
)
def test_alpha_is_krippendorffs(level, distance):
    ratings = RNG.integers(0, 4, (3, 25)).astype(float)
    ratings[0] = ratings[1]
    ratings[RNG.random(ratings.shape) < 0.2] = np.nan
    assert krippendorff_alpha(ratings, level) == pytest.approx(by_pairs(ratings, distance))


def test_alpha_at_its_limits():
    x = RNG.random(30)
    assert krippendorff_alpha(np.stack([x, x])) == pytest.approx(1.0)
    assert krippendorff_alpha(np.stack([x, x.max() + x.min() - x])) < -0.3
    assert math.isnan(krippendorff_alpha(np.full((2, 5), 0.5))) and math.isnan(
        krippendorff_alpha(np.full((2, 5), np.nan))
    )


def test_auc_equals_scikit_learn():
    score, label = RNG.integers(0, 9, 80) / 9, RNG.random(80) < 0.3
    assert auc(score, label) == pytest.approx(sklearn.metrics.roc_auc_score(label, score))
    assert auc(-score, label) == pytest.approx(1 - auc(score, label))
    assert math.isnan(auc(score, np.ones(80, bool)))


def test_constant_and_empty_sides_have_no_correlation():
    for a, b in ((np.ones(5), RNG.random(5)), (RNG.random(1), RNG.random(1)), (np.zeros(0), np.zeros(0))):
        assert math.isnan(correlation(a, b)) and math.isnan(agreement(a, b).spearman)


def test_position_bias_is_wilsons_interval():
    verdict = np.array([1.0] * 37 + [0.0] * 13 + [np.nan])
    got = position_bias(verdict)
    expected = scipy.stats.binomtest(37, 50).proportion_ci(method="wilson")
    assert got.n == 50 and got.first == pytest.approx(0.74)
    assert (got.low, got.high) == pytest.approx((expected.low, expected.high))
    mirrored = position_bias(1 - verdict)
    assert (1 - mirrored.high, 1 - mirrored.low) == pytest.approx((got.low, got.high))


def test_order_consistency_counts_every_pair_once():
    one = np.array([1, 0, 1, 0, 0.5, 0.5, 1, np.nan])
    swapped = np.array([0, 1, 1, 0, 0.5, 1, 0.5, 1])
    got = order_consistency(one, swapped)
    assert got.n == 7
    assert (got.same, got.first, got.second) == pytest.approx((3 / 7, 1 / 7, 1 / 7))


def test_histograms_equal_numpys_and_count_everything():
    ratings = np.concatenate([RNG.uniform(-1, 1, (200, 3)), [[-1, 0, 1]]])
    got = rating_histogram(ratings, (-1, 1), 11)
    edges = np.concatenate([[-2], np.linspace(-0.9, 0.9, 10), [2]])
    for k in range(3):
        np.testing.assert_array_equal(got[k], np.histogram(ratings[:, k], edges)[0])
    ratings[0, 0] = np.nan
    assert rating_histogram(ratings, (-1, 1))[0].sum() == 200
    with pytest.raises(InputError, match="rule 1"):
        rating_histogram(np.array([[0.0, 1.5]]), (-1, 1))


def test_share_decided():
    ratings = np.array([[0.0, 0.5], [0.05, 0.4], [1.0, 0.95], [0.5, np.nan]])
    np.testing.assert_allclose(share_decided(ratings, (0, 1)), [0.75, 1 / 3])


def test_other_shapes_are_refused():
    with pytest.raises(InputError, match="pass \\[N\\] and \\[N\\]"):
        agreement(np.zeros(3), np.zeros(4))
