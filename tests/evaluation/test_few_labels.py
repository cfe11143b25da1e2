"""A few labels: calibrated accuracies, the right camp, and comparisons that can tell."""

import numpy as np
import pytest
import scipy.stats

from encore_jax.errors import InputError
from encore_jax.evaluation.few_labels import (
    CHOSEN,
    estimate_accuracy,
    foretold_accuracy,
    preferred_side,
    which_labels,
)


def judged(seed, n, loading, rho):
    """Margins of rules that follow one factor, and people's choices, whose judgement correlates with it by rho."""
    rng = np.random.default_rng(seed)
    factor, v = rng.normal(size=n), np.asarray(loading)
    margins = factor[:, None] * v + rng.normal(size=(n, len(v))) * np.sqrt(1 - v**2)
    people = rho * factor + np.sqrt(1 - rho**2) * rng.normal(size=n)
    return margins, np.sign(people)


@pytest.mark.parametrize("rho", [1.0, 0.7, 0.0, -0.5])
def test_sheppards_formula_is_the_accuracy_of_correlated_judgements(rho):
    loading = np.array([0.9, 0.6, 0.3, 0.0, -0.5])
    margins, label = judged(0, 200_000, loading, rho)
    np.testing.assert_allclose(
        (np.sign(margins) == label[:, None]).mean(0), foretold_accuracy(loading, rho), atol=0.005
    )


LOADING = np.linspace(-0.2, 0.9, 12)


def estimates(labels, rho, count=40):
    for seed in range(count):
        margins, label = judged(seed, labels, LOADING, rho)
        right = (np.sign(margins) == label[:, None]).sum(0)
        yield estimate_accuracy(LOADING, right, np.full(len(LOADING), labels)), right / labels


@pytest.mark.parametrize("rho", [0.9, 0.5])
@pytest.mark.parametrize("labels", [10, 40])
def test_intervals_cover_and_estimates_beat_labels_alone(labels, rho):
    true = foretold_accuracy(LOADING, rho)
    covered, error, plain = [], [], []
    for fit, share in estimates(labels, rho):
        covered.append((fit.low <= true) & (true <= fit.high))
        error.append((fit.value - true) ** 2)
        plain.append((share - true) ** 2)
    assert np.mean(covered) > 0.9
    assert np.mean(error) < 0.6 * np.mean(plain)


def test_a_rule_that_agreement_misjudges_is_seen_with_enough_labels():
    loading = np.array([0.8, 0.7, 0.6, 0.7, 0.8])
    labelled, right = np.full(5, 200.0), np.array([160.0, 150.0, 140.0, 150.0, 60.0])  # the last one is wrong on people
    fit = estimate_accuracy(loading, right, labelled)
    assert fit.high[4] < 0.5 and (fit.low[:4] > 0.6).all()
    assert fit.strength < 64


def test_without_labels_nothing_but_the_loadings_order_is_told():
    fit = estimate_accuracy(LOADING, np.zeros(12), np.zeros(12))
    assert (fit.low < 0.5).all() and (fit.high > 0.5).all()
    assert abs(fit.factor_correlation) < 1e-6


def test_a_sign_test_says_which_reward_is_better():
    credit = np.array([1.0] * 9 + [0.0] * 2)
    expected = scipy.stats.beta.sf(0.5, 10, 3)
    assert preferred_side(credit, 1 - credit) == pytest.approx(expected)
    assert preferred_side(1 - credit, credit) == pytest.approx(1 - expected)
    assert preferred_side(credit, credit) == pytest.approx(0.5)


def test_twenty_well_chosen_labels_pick_the_right_camp():
    """Six rules about quality, 24 that share a nuisance: of 100 draws at least 95 pick quality, and none the other."""
    picked = []
    for seed in range(100):
        rng = np.random.default_rng(seed)
        quality, length = rng.normal(size=(2, 400))
        people = np.sign(0.8 * quality + 0.6 * rng.normal(size=400))
        good = (quality[:, None] * 0.6 + 0.8 * rng.normal(size=(400, 6))).mean(1)
        long = (length[:, None] * 0.7 + 0.7 * rng.normal(size=(400, 24))).mean(1)
        chosen = which_labels(good, long, 20)
        assert len(chosen) == 20 and (np.sign(good[chosen]) != np.sign(long[chosen])).all()
        credits = [(np.sign(margin[chosen]) == people[chosen]).astype(float) for margin in (good, long)]
        better = preferred_side(*credits)
        picked.append("good" if better > CHOSEN else "long" if better < 1 - CHOSEN else "open")
    assert picked.count("good") >= 95 and picked.count("long") == 0


def test_chosen_comparisons_are_sure_ones_of_many_prompts_and_new():
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=(2, 300))
    prompt = np.arange(300) // 10
    chosen = which_labels(a, b, 15, prompt=prompt)
    assert len(set(prompt[chosen])) == 15
    differ = np.flatnonzero(np.sign(a) != np.sign(b))
    assert np.minimum(abs(a), abs(b))[chosen].mean() > 2 * np.minimum(abs(a), abs(b))[differ].mean()
    known = np.zeros(300, bool)
    known[chosen] = True
    assert not set(which_labels(a, b, 15, prompt=prompt, known=known)) & set(chosen)
    assert len(which_labels(a, b, 1000)) == len(differ)
    assert not len(which_labels(a, a, 5))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: which_labels(np.ones(3), np.ones(3), 0), "at least one comparison"),
        (lambda: which_labels(np.ones(3), np.ones(4), 1), "margins have shapes"),
        (lambda: estimate_accuracy(np.ones(2), np.array([3.0, 0]), np.array([2.0, 2.0])), "rule 0: 3 of 2 labels"),
        (lambda: estimate_accuracy(np.ones(2), np.array([0.0, -1]), np.array([2.0, 2.0])), "rule 1: -1 of 2 labels"),
    ],
)
def test_counts_that_cannot_be_are_refused(call, message):
    with pytest.raises(InputError, match=message):
        call()
