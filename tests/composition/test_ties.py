"""Ties on grids are those of exact rational arithmetic, and a margin's tolerance bounds its rounding error."""

from fractions import Fraction

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from encore_jax.composition import (
    Margin,
    composed_margins,
    first_place,
    is_tie,
    label_from_rules,
    margin_accuracy,
    margins,
    rule_accuracy,
)
from encore_jax.composition.ties import (
    credit,
    reward_tolerance,
    rule_margins,
    rule_tolerance,
    settled,
    sign,
    weighted_margin,
)
from encore_jax.errors import InputError

GRIDS = {"0 to 10": (0, 10, 1), "1 to 5": (1, 5, 1), "tenths": (0, 10, 10), "tenths to 10": (0, 100, 10)}
GRIDS |= {"-1 to 1 in eighths": (-8, 8, 8), "hundredths": (0, 100, 100), "thirds": (0, 3, 3), "sevenths": (0, 7, 7)}
"""Lowest and highest number, and by what they are divided."""
quick = settings(max_examples=40, deadline=None)


def rational(numbers, steps):
    return [[[Fraction(int(n), steps) for n in response] for response in pair] for pair in numbers]


def exact_signs(numbers, steps, weights):
    """Of ``[N, 2, K]`` numbers of a grid, under rational weights: 1, 0 or -1 of every comparison."""
    found = []
    for first, second in rational(numbers, steps):
        margin = sum(w * (a - b) for w, a, b in zip(weights, first, second, strict=True))
        found.append((margin > 0) - (margin < 0))
    return found


COMPILED = st.sampled_from([1, 2, 10, 100])
"""Numbers of rules that a program is compiled for."""


@st.composite
def rated(draw, sizes=st.integers(1, 100)):  # noqa: B008
    """Numbers of a grid ``[6, 2, K]``, the grid's steps, and rational weights; half of the pairs tie under equal ones.

    The second response of a pair has the first one's ratings in another order, or ratings of its own.
    """
    low, high, steps = GRIDS[draw(st.sampled_from(sorted(GRIDS)))]
    rules = draw(sizes)
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    numbers = rng.integers(low, high + 1, (6, 2, rules))
    for n in range(0, 6, 2):
        numbers[n, 1] = rng.permutation(numbers[n, 0])
    whole = np.ones(rules, int) if draw(st.booleans()) else rng.integers(0, 6, rules)
    whole[rng.integers(rules)] += 1
    if draw(st.booleans()):
        whole[:] = 1
    return numbers, steps, [Fraction(int(w), int(whole.sum())) for w in whole]


def fp32_weights(weights):
    return np.array([float(w) for w in weights], np.float32)


def fp32(numbers, steps):
    """As ratings come in: decimals, rounded to float32."""
    return (numbers.astype(np.float64) / steps).astype(np.float32)


@quick
@given(rated())
def test_signs_are_those_of_exact_arithmetic(case):
    numbers, steps, weights = case
    expected, ratings = exact_signs(numbers, steps, weights), fp32(numbers, steps)
    first, second = ratings[:, 0], ratings[:, 1]
    margin = weighted_margin(first - second, rule_tolerance(first, second), fp32_weights(weights))
    assert margin.sign.tolist() == expected and margin.tied.tolist() == [s == 0 for s in expected]
    swapped = weighted_margin(second - first, rule_tolerance(second, first), fp32_weights(weights))
    assert swapped.sign.tolist() == [-s for s in expected]


@quick
@given(rated(COMPILED))
def test_compiled_programs_say_the_same(case):
    numbers, steps, weights = case
    expected, ratings = exact_signs(numbers, steps, weights), fp32(numbers, steps)
    margin = composed_margins(ratings, fp32_weights(weights))
    assert np.asarray(margin.sign).tolist() == expected
    swapped = composed_margins(ratings, fp32_weights(weights), np.ones(len(numbers), int))
    assert np.asarray(swapped.sign).tolist() == [-s for s in expected]
    accuracy = margin_accuracy(margin.value, tolerance=margin.tolerance)
    assert [float(x) for x in accuracy] == [6, expected.count(1), expected.count(0)]


@quick
@given(rated(), st.randoms(use_true_random=False))
def test_the_order_of_rules_decides_nothing(case, random):
    numbers, steps, weights = case
    order = list(range(len(weights)))
    random.shuffle(order)
    inexact, ratings = fp32_weights(weights), fp32(numbers, steps)
    first, second = ratings[:, 0], ratings[:, 1]
    difference, tolerance = first - second, rule_tolerance(first, second)
    there = weighted_margin(difference, tolerance, inexact)
    back = weighted_margin(difference[:, order], tolerance[:, order], inexact[order])
    np.testing.assert_array_equal(there.sign, back.sign)


@quick
@given(rated(st.just(12)), st.sampled_from([1, 5, 12]))
def test_labels_from_rules_tie_as_exact_arithmetic_says(case, r):
    numbers, steps, weights = case
    rules = numbers.shape[2]
    chosen = np.stack([np.random.default_rng(n).permutation(rules)[:r] for n in range(len(numbers))])
    chosen[0, r // 2 :] = -1 if r > 1 else chosen[0, r // 2 :]
    at = np.maximum(chosen, 0)
    opposed = [(-1) ** k * w for k, w in enumerate(weights)]  # a reward may count a rule against a response
    cases = [(None, [Fraction(1)] * rules), *((fp32_weights(w), w) for w in (weights, opposed))]
    for given_weights, exact in cases:
        labels = label_from_rules(fp32(numbers, steps), chosen, weights=given_weights)
        for n, pair in enumerate(rational(numbers, steps)):
            margin = sum(exact[k] * (pair[0][k] - pair[1][k]) for k, c in zip(at[n], chosen[n], strict=True) if c >= 0)
            assert bool(labels.tied[n]) == (margin == 0)
            assert int(labels.preferred[n]) == (-1 if margin == 0 else int(margin < 0))


@pytest.mark.parametrize("array", [np.asarray, jnp.asarray])
def test_the_tolerance_bounds_what_many_small_margins_lose_beside_a_large_one(array):
    """Whatever is added to 1 is rounded away; the more rules there are, the more is lost."""
    rules, small = 5000, Fraction(1, 2**25)
    first, second = np.full((1, rules), float(small), np.float32), np.zeros((1, rules), np.float32)
    first[0, 0] = second[0, -1] = 1.0
    first[0, -1] = 0.0
    weights = array(np.ones(rules, np.float32))
    margin = weighted_margin(array(first - second), rule_tolerance(array(first), array(second)), weights)
    exact = (rules - 2) * small
    assert abs(Fraction(float(margin.value[0])) - exact) <= Fraction(float(margin.tolerance[0]))
    parts = rule_tolerance(array(first - second))  # of margins that are exact themselves
    assert float(parts.sum()) >= (rules - 1) * 2.0**-24 * 1.999, "each of the sums may round once"


@settings(max_examples=60, deadline=None)
@given(st.integers(2, 100), st.integers(1, 6), st.sampled_from([1, 10, 1000]), st.integers(0, 2**32))
def test_the_tolerance_bounds_the_rounding_error_whatever_the_ratings(rules, digits, scale, seed):
    """Decimals of some digits under any weights: the margin in float32 beside that of the decimals themselves."""
    rng = np.random.default_rng(seed)
    drawn = rng.random((4, 2, rules)) * scale
    decimals = [[[Fraction(f"{x:.{digits}f}") for x in row] for row in pair] for pair in drawn]
    whole = [Fraction(int(w), 997) for w in rng.integers(-500, 500, rules)]
    ratings = np.array([[[float(x) for x in row] for row in pair] for pair in decimals]).astype(np.float32)
    first, second = ratings[:, 0], ratings[:, 1]
    margin = weighted_margin(first - second, rule_tolerance(first, second), fp32_weights(whole))
    for n, (first, second) in enumerate(decimals):
        exact = sum(w * (a - b) for w, a, b in zip(whole, first, second, strict=True))
        assert abs(Fraction(float(margin.value[n])) - exact) <= Fraction(float(margin.tolerance[n]))


@quick
@given(rated())
def test_rewards_that_are_composed_first_tie_by_the_sum_of_their_tolerances(case):
    numbers, steps, weights = case
    inexact, ratings = fp32_weights(weights)[None, None], fp32(numbers, steps)
    rewards, slack = (ratings * inexact).sum(-1), reward_tolerance(ratings, inexact)
    got = [int(sign(a - b, s)) for (a, b), s in zip(rewards, slack.sum(1), strict=True)]
    assert got == exact_signs(numbers, steps, weights)
    for n in range(len(numbers)):
        equal = settled(rewards[n], slack[n])
        assert (equal[0] == equal[1]) == (got[n] == 0) and equal[0] == rewards[n, 0]
        assert first_place(rewards[n], slack[n]).tolist() == [[0, 1], [0], [1]][got[n]]


def test_a_rule_of_small_weight_decides_where_the_heavy_ones_tie():
    """As at a low temperature: nothing is lost of it beside what is equal."""
    ratings = np.array([[[0.9, 0.7, 0.2], [0.9, 0.7, 0.1]], [[0.9, 0.7, 0.1], [0.9, 0.7, 0.2]]], np.float32)
    weights = np.array([1.0, 0.5, 1e-12], np.float32)
    assert np.asarray(composed_margins(ratings, weights).sign).tolist() == [1, -1]
    assert [int(first_place(*one)[0]) for one in ([np.array([1, 2e-9]), 0.0], [np.array([0.0, 1e-30]), 0.0])] == [0, 1]


def test_a_single_rule_and_a_reward_without_rules_tie_where_they_are_equal_only():
    value = np.float32(0.7)
    scores = np.array([[[value], [np.nextafter(value, np.float32(1))]], [[value], [value]]], np.float32)
    assert np.asarray(composed_margins(scores, np.ones(1, np.float32)).sign).tolist() == [-1, 0]
    assert rule_accuracy(scores).ties.tolist() == [1]
    assert Margin(scores[:, 0, 0] - scores[:, 1, 0]).tied.tolist() == [False, True]
    assert (reward_tolerance(scores, np.ones((2, 2, 1), np.float32)) == 0).all()
    labels = label_from_rules(np.repeat(scores, 3, axis=2), np.array([[1], [1]]))
    assert labels.tied.tolist() == [False, True]
    assert settled(scores[0, :, 0]).tolist() == scores[0, :, 0].tolist()


def test_equal_responses_tie_under_any_weights_and_what_differs_does_not():
    rng = np.random.default_rng(0)
    scores = rng.normal(size=(200, 2, 7)).astype(np.float32)
    scores[::2, 1] = scores[::2, 0]
    weights = rng.normal(size=(7, 50)).astype(np.float32)
    margin = composed_margins(scores, weights)
    assert margin.value.shape == margin.tolerance.shape == (200, 50)
    tied = np.asarray(margin.tied)
    assert tied[::2].all() and not tied[1::2].any()


def test_all_kinds_of_arrays_agree():
    numbers = np.random.default_rng(1).integers(0, 11, (300, 2, 5))
    ratings, weights = fp32(numbers, 10), np.full(5, 0.2, np.float32)
    plain = composed_margins(ratings, weights).sign
    compiled = jax.jit(lambda ratings: composed_margins(ratings, jnp.asarray(weights)).credit)(jnp.asarray(ratings))
    mapped = jax.vmap(lambda one: composed_margins(one[None], jnp.asarray(weights)).sign[0])(jnp.asarray(ratings))
    np.testing.assert_array_equal(compiled, (1 + np.asarray(plain)) / 2)
    np.testing.assert_array_equal(mapped, plain)
    first, second = ratings[:, 0], ratings[:, 1]
    numpy = weighted_margin(first - second, rule_tolerance(first, second), weights)
    assert isinstance(numpy.value, np.ndarray) and numpy.credit.dtype == np.float64
    np.testing.assert_array_equal(numpy.sign, plain)
    assert 10 < np.asarray(is_tie(*composed_margins(ratings, weights))).sum() < 100
    assert (np.asarray(margins(ratings) @ weights) == 0).sum() < numpy.tied.sum()  # what rounding would have found


def test_what_is_not_a_number_is_no_tie():
    assert not is_tie(np.float32(np.nan), 1.0) and np.isnan(sign(np.array([np.nan]), 1.0)).all()
    assert np.isnan(credit(np.array([np.nan]), 1.0)).all()
    assert settled(np.array([np.nan, 1.0, np.nan, 1.0])).tolist()[1::2] == [1.0, 1.0]
    assert settled(np.zeros(0)).tolist() == []


@pytest.mark.parametrize("tolerance", [0.0, 1e-6])
def test_settling_keeps_the_order_of_what_does_not_tie(tolerance):
    rng = np.random.default_rng(3)
    rewards = np.round(rng.normal(size=60), 1) + rng.uniform(-1e-7, 1e-7, 60) * (tolerance > 0)
    got, slack = settled(rewards, tolerance), np.full(60, tolerance)
    assert np.abs(got - rewards).max() <= 2e-7
    np.testing.assert_array_equal(got, settled(got, slack))
    np.testing.assert_array_equal(np.round(got, 1)[:, None] > np.round(got, 1)[None], got[:, None] > got[None])
    assert len(np.unique(got)) == len(np.unique(np.round(rewards, 1)))


def test_ratings_that_are_equal_have_no_tolerance_and_others_do():
    """A rule that rates both alike adds no error to a reward, whatever the size of its ratings."""
    first, second = np.array([[0.1 + 0.2, 7.0, 0.1, 1e6 + 0.1]]), np.array([[0.3, 7.0, 0.4, 1e6 + 0.1]])
    found = rule_margins(first, second)
    assert found.value[0].tolist() == [0, 0, pytest.approx(-0.3), 0]
    assert found.tolerance[0][[0, 1, 3]].tolist() == [0, 0, 0] and 0 < found.tolerance[0, 2] < 1e-5


@pytest.mark.parametrize("scores", [0.5, [0.5, 0.5]])
@pytest.mark.parametrize("weights", [1.0, [0.5, 0.5], [0.5, 0.3, 0.2]])
def test_a_rewards_tolerance_wants_rules_in_both(scores, weights):
    if np.ndim(scores) and np.shape(scores) == np.shape(weights):
        assert reward_tolerance(np.array(scores), np.array(weights)) > 0
        return
    with pytest.raises(InputError, match=r"reward_tolerance: scores \(.*\) and weights \(.*pass \[..., K\] of both"):
        reward_tolerance(np.array(scores), np.array(weights))


def test_a_rules_tolerance_wants_an_axis_of_rules():
    with pytest.raises(InputError, match=r"first: is a single number. Fix: pass \[..., K\]"):
        rule_tolerance(np.float32(0.5))
