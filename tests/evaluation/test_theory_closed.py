"""The theory's closed forms against SciPy and brute force, and its verdicts, which must be able to fail."""

import itertools

import numpy as np
import pytest
import scipy.integrate
import scipy.optimize
import scipy.stats

from encore_jax.errors import InputError
from encore_jax.evaluation import theory_closed as closed
from encore_jax.evaluation.theory_claims import Claim, Row, repeated

RNG = np.random.default_rng(9)
NOISES = ("guess", "gaussian", "shrink", "flip", "refuse")


@pytest.mark.parametrize("noise", NOISES)
def test_answers_are_a_distribution_that_noise_moves_away_from_the_truth(noise):
    for quality, strength in itertools.product((0.0, 0.5, 1.0), (0.0, 0.3, 1.0)):
        p = closed.answer_distribution(quality, strength, noise, 5)
        assert p.shape == (5,) and (p >= 0).all() and p.sum() == pytest.approx(1)
    assert closed.answer_distribution(1.0, 0.0, noise, 5).tolist() == [0, 0, 0, 0, 1]
    assert closed.judge(0.0, 0.5, noise, 5) == (pytest.approx(np.log(2)), 1.0)


def test_an_unknown_noise_is_refused():
    with pytest.raises(InputError, match="'pink' is unknown"):
        closed.answer_distribution(1.0, 0.5, "pink", 5)


def test_entropy_is_scipys_and_accuracy_a_double_sum():
    good, bad = RNG.dirichlet(np.ones(7), 2)
    assert closed.entropy(good) == pytest.approx(scipy.stats.entropy(good))
    wins = sum(good[i] * bad[j] * ((i > j) + 0.5 * (i == j)) for i in range(7) for j in range(7))
    assert closed.pairwise_accuracy(good, bad) == pytest.approx(wins)


def test_normal_answers_are_scipys_interval_probabilities():
    edges = [-np.inf, 0.125, 0.375, 0.625, 0.875, np.inf]
    expected = np.diff(scipy.stats.norm.cdf(edges, loc=0.25, scale=0.6))
    np.testing.assert_allclose(closed.answer_distribution(0.25, 0.6, "gaussian", 5), expected)


def test_the_normal_optimum_minimises_the_loss():
    """The expected loss depends on w only by mean and deviation of s = w·Δ, so it is one integral."""
    mean, root = np.array([0.8, 0.1, -0.3]), RNG.normal(size=(3, 3))
    covariance = root @ root.T + np.eye(3)

    def loss(w):
        s = scipy.stats.norm(w @ mean, np.sqrt(w @ covariance @ w))
        return scipy.integrate.quad(lambda x: np.logaddexp(0, -x) * s.pdf(x), *s.interval(1 - 1e-12))[0]

    found = scipy.optimize.minimize(
        loss, np.full(3, 0.1), method="Nelder-Mead", options={"xatol": 1e-6, "fatol": 1e-12}
    )
    np.testing.assert_allclose(found.x, closed.bradley_terry_optimum(mean, covariance), atol=2e-4)


def test_standard_errors_are_those_of_the_sampled_information():
    mean, covariance = np.array([1.0, 0.2]), np.array([[0.6, 0.3], [0.3, 1.0]])
    w = closed.bradley_terry_optimum(mean, covariance)
    delta = RNG.multivariate_normal(mean, covariance, 400_000)
    s = delta @ w
    slope = 1 / (2 + np.exp(s) + np.exp(-s))
    expected = np.sqrt(np.diag(np.linalg.inv((delta * slope[:, None]).T @ delta / len(delta))) / 500)
    np.testing.assert_allclose(closed.bradley_terry_standard_error(w, mean, covariance, 500), expected, rtol=0.02)


@pytest.mark.parametrize("shared", [0.0, 0.7, 1.0])
def test_judges_err_as_often_as_their_noise_says_whatever_they_share(shared):
    strengths = np.array([0.1, 0.5, 0.5, 0.9])
    patterns, chance = closed.error_patterns(strengths, shared)
    assert chance.sum() == pytest.approx(1) and (chance >= -1e-15).all()
    np.testing.assert_allclose(chance @ patterns, strengths)
    both = chance[patterns[:, 1] & patterns[:, 2]].sum()
    assert both == pytest.approx(0.25 + shared**2 * 0.25)


@pytest.mark.parametrize("noise", ["guess", "flip", "gaussian", "shrink"])
def test_a_jury_of_one_is_its_judge_and_a_dictator_decides(noise):
    alone = closed.jury_accuracy(np.ones(1), np.array([0.4]), 0.0, noise, 5)
    assert alone == pytest.approx(closed.judge(0.4, 0.5, noise, 5)[1])
    dictator = closed.jury_accuracy(np.array([1.0, 0.0, 0.0]), np.array([0.4, 0.8, 0.9]), 0.0, noise, 5)
    assert dictator == pytest.approx(alone)


def test_a_jurys_accuracy_is_that_of_a_simulation_with_shared_errors():
    strengths, weights, shared, n = np.array([0.2, 0.5, 0.8]), np.array([1.0, 0.7, 0.4]), 0.6, 400_000
    rewards = []
    for quality in (1.0, 0.0):
        chance = np.where(RNG.random((n, 3)) < shared, RNG.random((n, 1)), RNG.random((n, 3)))
        answer = np.where(chance < strengths, RNG.integers(0, 5, (n, 3)) / 4, quality)
        rewards.append(np.round(answer @ weights, 9))
    accuracy = (rewards[0] > rewards[1]).mean() + 0.5 * (rewards[0] == rewards[1]).mean()
    assert closed.jury_accuracy(weights, strengths, shared, "guess", 5) == pytest.approx(accuracy, abs=0.004)


def test_a_prediction_that_is_wrong_is_contradicted():
    samples = RNG.normal(0.5, 0.01, 50)
    assert repeated("right", 0.5, samples).met and not repeated("wrong", 0.52, samples).met
    assert repeated("above", 0.4, samples, ">").met and not repeated("above", 0.4, samples, "<").met
    assert not repeated("no different", 0.5, samples, ">").met
    rows = (repeated("right", 0.5, samples), repeated("wrong", 0.52, samples))
    assert Claim("n", "t", "a", "p", rows).verdict == "contradicted"
    assert Claim("n", "t", "a", "p", rows[:1]).verdict == "confirmed"
    assert Claim("n", "t", "a", "p", ()).verdict == "contradicted", "nothing measured confirms nothing"
    assert not Row("not a number", 0.5, float("nan"), 0.1).met
