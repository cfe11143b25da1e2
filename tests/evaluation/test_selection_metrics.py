"""Metrics of rule prediction against scikit-learn, and the floors' known values."""

import numpy as np
import pytest
from sklearn.calibration import calibration_curve
from sklearn.metrics import average_precision_score, brier_score_loss, roc_auc_score

from encore_jax.composition import selected, top_rules
from encore_jax.errors import InputError
from encore_jax.evaluation.selection_metrics import (
    adapter_metrics,
    auc_per_rule,
    average_precision,
    calibration,
    consistency,
    recall_and_precision,
)

N, K, R = 60, 8, 3


def drawn(seed=0, ties=True):
    rng = np.random.default_rng(seed)
    scores = rng.integers(0, 6, (N, K)) / 5 if ties else rng.random((N, K))
    truth = scores + rng.normal(size=(N, K)) * 0.5
    return scores, np.array(selected(top_rules(truth, R), K))


@pytest.mark.parametrize("ties", [False, True])
def test_average_precision_and_auc_are_scikit_learns(ties):
    scores, critical = drawn(ties=ties)
    expected = [average_precision_score(critical[i], scores[i]) for i in range(N)]
    np.testing.assert_allclose(average_precision(scores, critical), expected, rtol=1e-12)
    expected = [roc_auc_score(critical[:, k], scores[:, k]) for k in range(K)]
    np.testing.assert_allclose(auc_per_rule(scores, critical), expected, rtol=1e-12)


def test_a_rule_that_is_never_critical_has_no_auc():
    scores, critical = drawn()
    critical[:, 2] = False
    assert np.isnan(auc_per_rule(scores, critical)[2])


def test_calibration_is_scikit_learns():
    scores, critical = drawn(ties=False)
    found = calibration(scores, critical)
    assert found["brier"] == pytest.approx(brier_score_loss(critical.ravel(), scores.ravel()))
    observed, predicted = calibration_curve(critical.ravel(), scores.ravel(), n_bins=10)
    np.testing.assert_allclose([row["observed"] for row in found["bins"]], observed)
    np.testing.assert_allclose([row["predicted"] for row in found["bins"]], predicted)
    weights = np.array([row["n"] for row in found["bins"]]) / scores.size
    assert found["expected_error"] == pytest.approx((weights * np.abs(observed - predicted)).sum())
    with pytest.raises(InputError, match="no probabilities"):
        calibration(scores + 1, critical)


def test_recall_and_precision_count_hits():
    critical = np.array([[True, True, False, False], [False, False, False, True]])
    recall, precision = recall_and_precision(np.array([[0, 2], [3, -1]]), critical)
    assert recall.tolist() == [0.5, 1.0] and precision.tolist() == [0.5, 1.0]


def test_consistency_is_the_overlap_of_both_orders():
    assert consistency(np.array([[[0, 1], [2, 3]], [[1, 0], [2, 0]]])) == 0.75


def test_an_oracle_is_perfect_and_the_floors_are_where_they_must_be():
    rng = np.random.default_rng(1)
    critical = np.zeros((4000, K), bool)
    for row in critical:
        row[rng.choice(K, R, replace=False)] = True
    critical[:, 5] = True
    critical = np.asarray(
        selected(top_rules(critical + 0.1 * (np.arange(K) == 5) + 1e-3 * rng.random(critical.shape), R), K)
    )
    probability = np.stack([np.where(critical, 0.9, 0.1)] * 2)
    found = adapter_metrics(probability, critical, critical.mean(0), R, tuple("abcdefgh"), 0)
    oracle, frequent, chance = (found["choosers"][name] for name in ("adapter", "most frequent", "random"))
    assert oracle["recall"] == oracle["precision"] == oracle["map"] == oracle["macro_auc"] == 1.0
    assert chance["recall"] == pytest.approx(R / K, abs=0.02) == found["random_recall"]
    assert chance["macro_auc"] == pytest.approx(0.5, abs=0.02)
    assert frequent["recall"] > chance["recall"] and frequent["macro_auc"] == 0.5
    assert found["consistency"] == 1.0 and found["mean_difference_of_orders"] == 0.0
    assert [rule["share"] for rule in found["rules"]][5] == 1.0
