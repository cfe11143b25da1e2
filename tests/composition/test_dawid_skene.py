"""Dawid-Skene EM: equal to an independent implementation, symmetric, and right where its model holds."""

import warnings

import numpy as np
import pytest

from encore_jax.composition.dawid_skene import dawid_skene
from encore_jax.errors import InputError


def answered(seed, n, classes, accuracy):
    rng = np.random.default_rng(seed)
    truth = rng.choice(classes, n, p=np.arange(1, classes + 1) / np.arange(1, classes + 1).sum())
    right = rng.random((n, len(accuracy))) < accuracy
    other = (truth[:, None] + rng.integers(1, classes, right.shape)) % classes
    return truth, np.where(right, truth[:, None], other)


@pytest.mark.parametrize(("classes", "share"), [(2, 1.0), (2, 0.8), (4, 0.8)])
def test_equals_crowd_kit(classes, share):
    aggregation = pytest.importorskip("crowdkit.aggregation", reason="crowd-kit (the test extra) is not installed")
    import pandas as pd

    # Good rules among them: crowd-kit takes milliseconds a step, and converges within some hundred.
    _, answers = answered(classes, 300, classes, [0.95, 0.9, 0.8, 0.75, 0.6])
    where = np.random.default_rng(1).random(answers.shape) < share
    where[~where.any(1), 0] = True
    fit = dawid_skene(answers, where, steps=5000, tolerance=1e-7)
    item, rule = np.nonzero(where)
    table = pd.DataFrame({"task": item, "worker": rule, "label": answers[item, rule]})
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what pandas thinks of how crowd-kit calls it
        reference = aggregation.DawidSkene(n_iter=5000, tol=1e-12).fit(table)
    np.testing.assert_allclose(fit.posterior, reference.probas_[list(range(classes))].to_numpy(), atol=1e-3)
    np.testing.assert_allclose(fit.prior, reference.priors_[list(range(classes))].to_numpy(), atol=1e-3)


def test_accuracies_and_truth_are_recovered():
    accuracy = np.array([0.95, 0.85, 0.75, 0.6, 0.5])
    truth, answers = answered(0, 20_000, 2, accuracy)
    fit = dawid_skene(answers)
    np.testing.assert_allclose(fit.accuracy, accuracy, atol=0.02)
    np.testing.assert_allclose(fit.prior, [1 / 3, 2 / 3], atol=0.02)
    majority = (answers.mean(1) > 0.5).astype(int)
    assert (np.asarray(fit.posterior).argmax(1) == truth).mean() > (majority == truth).mean() + 0.02


def test_votes_weighted_by_log_odds_give_the_posterior():
    """For two classes, the log-odds of the posterior are linear in the votes, with the weights of `log_odds`."""
    _, answers = answered(2, 500, 2, [0.9, 0.8, 0.7, 0.6])
    fit = dawid_skene(answers, steps=5000, tolerance=1e-7)
    posterior = np.asarray(fit.posterior, np.float64)
    inner = (posterior > 1e-6).all(1) & (posterior < 1 - 1e-6).all(1)
    odds = np.log(posterior[:, 1] / posterior[:, 0])
    weighted = (2 * answers - 1) @ np.asarray(fit.log_odds)
    assert inner.sum() > 100
    assert np.ptp((odds - weighted)[inner]) < 0.05


def test_order_of_rules_and_items_changes_nothing():
    _, answers = answered(3, 100, 3, [0.9, 0.8, 0.7])
    fit, turned = dawid_skene(answers), dawid_skene(answers[::-1, ::-1])
    np.testing.assert_allclose(turned.posterior, fit.posterior[::-1], atol=1e-4)
    np.testing.assert_allclose(turned.confusion, fit.confusion[::-1], atol=1e-4)


@pytest.mark.parametrize(
    ("answers", "where", "message"),
    [
        (np.zeros((5, 1), int), None, "at least two rules"),
        (np.zeros(5, int), None, "answers have shape"),
        (np.zeros((0, 3), int), None, "one item"),
        (np.array([[0, -1], [1, 1]]), None, "reach from -1"),
        (np.array([[0, 10**9], [1, 1]]), None, "use classes 0 to 99"),
        (np.array([[0.5, 1.0], [1.0, 1.0]]), None, "no whole number"),
        (np.array([[0.0, np.nan], [1.0, 1.0]]), None, "no whole number"),
        (np.zeros((5, 2), int), np.array([[True, False]] * 5), "rule 1: has no answer"),
        (np.zeros((2, 2), int), np.array([[True, True], [False, False]]), "item 1: has no answer"),
    ],
)
def test_answers_of_no_use_are_refused(answers, where, message):
    with pytest.raises(InputError, match=message):
        dawid_skene(answers, where)


def test_votes_of_three_classes_have_no_single_weight():
    with pytest.raises(InputError, match="there are 3 classes"):
        _ = dawid_skene(np.array([[0, 1, 2]] * 3 + [[2, 2, 2]] * 3)).log_odds


def test_one_step_and_no_tolerance_are_a_choice():
    _, answers = answered(3, 60, 2, [0.9, 0.8, 0.7])
    one, more = dawid_skene(answers, steps=1), dawid_skene(answers, steps=2000, tolerance=0.0)
    assert not np.allclose(one.posterior, more.posterior, atol=1e-6), "one step does not converge"
    np.testing.assert_allclose(more.posterior, dawid_skene(answers).posterior, atol=1e-3)
    with pytest.raises(InputError, match="steps"):
        dawid_skene(answers, steps=0)
    with pytest.raises(InputError, match="tolerance"):
        dawid_skene(answers, tolerance=-1e-9)
