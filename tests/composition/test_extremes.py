"""NaN, infinite, denormal, huge or no numbers go in, and a number that NumPy confirms comes out, or an InputError."""

import warnings
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from encore_jax.composition import (
    RatingsWarning,
    channel_information,
    compose,
    critical_rules,
    dpp,
    effective_rules,
    entropy_accuracy_correlation,
    entropy_weights,
    label_from_rules,
    lowest_entropy_weights,
    margin_accuracy,
    margins,
    pearson,
    preference_information,
    rating_entropy,
    top_rules,
)
from encore_jax.errors import InputError

SMALLEST = float(np.finfo(np.float32).tiny)
"""Smaller numbers are 0 on most devices."""
ODD = [0.0, -0.0, 1.0, -1.0, 0.5, 1e-45, 1e-40, -1e-38, 1e-30, 1e-7, 1e7, 1e30, -3e38, np.nan, np.inf, -np.inf]
few = settings(max_examples=60, deadline=None, derandomize=True)
pytestmark = pytest.mark.filterwarnings("ignore::encore_jax.composition.RatingsWarning")


def values(*shape, odd=ODD):
    number = st.sampled_from(odd) | st.floats(-2, 2, width=32)
    return arrays.arrays(np.float32, shape, elements=number)


def refused(call, bad: bool):
    """The result; None if it is refused, which must be because something is bad."""
    try:
        return call()
    except InputError as error:
        assert bad, error
        assert "\n" not in str(error)
        return None


@few
@given(values(4), st.sampled_from([1e-300, 1e-40, 1e-3, 2.0, 1e38, np.inf, 0.0, -1.0, np.nan]))
def test_entropy_weights(entropy, tau):
    bad = not np.isfinite(entropy).all() or not tau > 0
    weights = refused(lambda: np.asarray(entropy_weights(entropy, tau)), bad)
    assert (weights is None) == bad
    if weights is not None:
        exact = entropy.astype(np.float64)
        exact[np.abs(exact) < SMALLEST] = 0  # denormal numbers are 0 on most devices
        with np.errstate(over="ignore", under="ignore"):
            share = np.exp((exact.min() - exact) / min(max(tau, 1.18e-38), 3.4e38) if np.isfinite(tau) else 0 * exact)
        np.testing.assert_allclose(weights, share / share.sum(), rtol=1e-4, atol=1e-30)
        assert 1 - 1e-5 <= float(effective_rules(weights)) <= 4 + 1e-5


@few
@given(values(5), st.integers(-1, 7))
def test_lowest_entropies(entropy, keep):
    bad = np.isnan(entropy).any() or not 1 <= keep <= 5
    weights = refused(lambda: np.asarray(lowest_entropy_weights(entropy, keep)), bad)
    assert (weights is None) == bad
    if weights is not None:
        order = np.argsort(np.where(np.abs(entropy) < SMALLEST, 0, entropy), kind="stable")
        np.testing.assert_array_equal(np.flatnonzero(weights), np.sort(order[:keep]))


@few
@given(values(6, 2), arrays.arrays(bool, (6, 2)), st.sampled_from(["plug_in", "miller_madow", "kde"]))
def test_rating_entropy(ratings, where, estimator):
    inside = np.isfinite(ratings) & (ratings >= -1e-6) & (ratings <= 1 + 1e-6)
    bad = (where & ~inside).any() or not where.any(0).all()
    entropy = refused(lambda: np.asarray(rating_entropy(ratings, where, estimator=estimator)), bad)
    assert (entropy is None) == bad
    if entropy is None:
        return
    assert not np.isnan(entropy).any()
    for k in range(2):
        levels = np.floor(ratings[where[:, k], k].astype(np.float64) * 10 + 0.5)
        if estimator != "kde" and (np.abs(ratings[where[:, k], k] * 10 % 1 - 0.5) > 1e-3).all():
            p = np.unique(levels, return_counts=True)[1] / len(levels)
            expected = -(p * np.log(p)).sum() + (estimator == "miller_madow") * (len(p) - 1) / (2 * len(levels))
            assert entropy[k] == pytest.approx(expected, abs=1e-5)


@few
@given(values(3, 2, 4), values(4))
def test_rewards_and_margins(scores, weights):
    bad = not (np.isfinite(scores).all() and np.isfinite(weights).all())
    reward = refused(lambda: np.asarray(compose(scores, weights)), bad)
    assert (reward is None) == bad
    if not bad and max(np.abs(scores).max(), np.abs(weights).max()) < 1e15:
        flat = [[sum((Fraction(float(s)) * Fraction(float(w)) for s, w in zip(row, weights, strict=True)), Fraction(0))
                 for row in pair] for pair in scores]  # fmt: skip
        slack = 1e-6 * (np.abs(scores) @ np.abs(weights)).max() + 1e-30
        np.testing.assert_allclose(reward, np.array(flat, np.float64), atol=slack)
    with np.errstate(all="ignore"):
        expected = scores[:, 0] - scores[:, 1]
    expected[np.abs(expected) < SMALLEST] = 0
    delta = refused(lambda: np.asarray(margins(scores)), not np.isfinite(scores).all())
    assert (delta is None) == (not np.isfinite(scores).all())
    if delta is not None:
        np.testing.assert_allclose(delta, expected, rtol=1e-6, atol=2.4e-38)


@few
@given(values(7, 3), arrays.arrays(bool, (7, 3)))
def test_accuracy(margin, where):
    bad = bool((np.isnan(margin) & where).any())
    made = refused(lambda: margin_accuracy(margin, where), bad)
    assert (made is None) == bad
    if made is not None:
        sign = np.where(np.abs(margin) < SMALLEST, 0, np.sign(margin))
        np.testing.assert_array_equal(made.n, where.sum(0))
        np.testing.assert_array_equal(made.correct, ((sign > 0) & where).sum(0))
        np.testing.assert_array_equal(made.ties, ((sign == 0) & where).sum(0))


def test_nothing_compared_has_no_accuracy():
    empty = margin_accuracy(np.zeros((0, 2), np.float32))
    assert np.isnan(empty.ties_half).all() and not np.asarray(empty.n).any()


@few
@given(values(5), values(5))
def test_correlation(x, y):
    r = float(pearson(x, y))
    assert np.isnan(r) or abs(r) <= 1 + 1e-5
    sizes = [float(np.abs(side).max()) for side in (x, y)]
    if np.isfinite(sizes).all() and min(sizes) > 1e-30:
        spread = [np.ptp(side.astype(np.float64)) / size for side, size in zip((x, y), sizes, strict=True)]
        if min(spread) > 1e-2:
            assert r == pytest.approx(np.corrcoef(x.astype(np.float64), y.astype(np.float64))[0, 1], abs=1e-4)
    made = entropy_accuracy_correlation(x, y)
    assert np.isnan(made.r) or made.low - 1e-9 <= made.r <= made.high + 1e-9


@few
@given(values(3, 2, 5), arrays.arrays(bool, (3, 2, 5)), st.integers(0, 6))
def test_critical_rules_and_labels(ratings, where, r):
    both = where.all(1)
    with np.errstate(all="ignore"):
        gap = np.abs(ratings[:, 0] - ratings[:, 1])
    bad = not 1 <= r <= 5 or (both & ~np.isfinite(gap)).any()
    rules = refused(lambda: np.asarray(critical_rules(ratings, r=r, where=where)), bad)
    assert (rules is None) == bool(bad)
    if rules is None:
        return
    for n in range(3):
        found = [k for k in rules[n].tolist() if k >= 0]
        assert len(found) == len(set(found)) == min(r, both[n].sum()) and both[n, found].all()
        if found and len(found) < both[n].sum():
            left = [k for k in np.flatnonzero(both[n]) if k not in found]
            assert gap[n, found].min() >= gap[n, left].max() - 2.4e-38
    labels = label_from_rules(ratings, rules, where=where)
    assert np.isin(np.asarray(labels.preferred), (-1, 0, 1)).all()


@few
@given(values(3, 4), st.integers(0, 5))
def test_top_rules(scores, r):
    bad = not 1 <= r <= 4 or not np.isfinite(scores).all()
    rules = refused(lambda: np.asarray(top_rules(scores, r)), bad)
    assert (rules is None) == bool(bad)
    if rules is not None:
        flushed = np.where(np.abs(scores) < SMALLEST, 0, scores)
        np.testing.assert_array_equal(rules, np.argsort(-flushed, axis=1, kind="stable")[:, :r])


@few
@given(arrays.arrays(np.float32, (4, 3), elements=st.sampled_from([0, 1e-45, 1e-30, 1, 5, 75, 1e7, 1e30])))
def test_information(counts):
    nats = np.asarray(preference_information(counts, corrections=0), np.float64)
    assert np.isfinite(nats).all() and (nats >= -1e-6).all() and (nats <= np.log(2) + 1e-6).all()
    for row, found in zip(counts.astype(np.float64), nats, strict=True):
        row = np.where(row < 1e-20, 0, row)
        if row[:2].sum() > 0 and row.max() < 1e20:
            p = row[0] / row[:2].sum()
            h = -sum(q * np.log(q) for q in (p, 1 - p) if q > 0)
            assert found == pytest.approx(row[:2].sum() / row.sum() * (np.log(2) - h), abs=1e-5)


@pytest.mark.parametrize("p", [0.0, 1e-45, 1e-40, 0.5, 1 - 1e-7, 1.0])
def test_information_of_a_channel_at_its_ends(p):
    q = np.float64(np.float32(p))
    h = -sum(x * np.log(x) for x in (q, 1 - q) if x > 0)
    assert float(channel_information(p)) == pytest.approx(np.log(2) - h, abs=1e-6)


@few
@given(values(8, 5), st.integers(0, 6))
def test_diverse_rules(ratings, k):
    finite = np.isfinite(ratings).all()
    gram = refused(lambda: np.asarray(dpp.rating_gram(ratings)), not finite)
    if gram is None:
        return
    assert np.isfinite(gram).all() and (np.abs(gram) <= 1 + 1e-4).all()
    chosen = refused(lambda: np.asarray(dpp.greedy_map(gram, k)[0]), True)
    if chosen is None:
        return
    assert len(set(chosen.tolist())) == k
    exact = np.linalg.slogdet(gram.astype(np.float64)[np.ix_(chosen, chosen)])
    assert float(dpp.log_det(gram, chosen)) == pytest.approx(exact[1] if exact[0] > 0 else -np.inf, rel=1e-5, abs=1e-5)


def test_warnings_are_about_ratings_only():
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        rating_entropy(np.zeros((3, 1), np.float32))
    assert {w.category for w in caught} == {RatingsWarning}
