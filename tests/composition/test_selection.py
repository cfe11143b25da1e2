"""Critical rules against a stable NumPy sort, and the symmetries of selection and labels."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from encore_jax.composition import (
    critical_rules,
    label_from_rules,
    mean_relevance,
    random_rules,
    selected,
    selection,
    top_rules,
)
from encore_jax.errors import InputError

N, K = 9, 6
grid = st.integers(-4, 4).map(lambda i: np.float32(i / 4))
ratings = hnp.arrays(np.float32, (N, 2, K), elements=grid)
relevances = hnp.arrays(np.float32, (N, K), elements=st.integers(0, 4).map(lambda i: np.float32(i / 4)))
masks = hnp.arrays(bool, (N, 2, K))
quick = settings(max_examples=25, deadline=None)


def reference(ratings, relevance, r, where=None, half=0.5):
    """Stable descending sort; -1 where masked rules would be next."""
    scores = relevance + half * np.abs(ratings[:, 0] - ratings[:, 1])
    usable = np.ones(scores.shape, bool) if where is None else where.all(1)
    order = np.argsort(np.where(usable, -scores, np.inf), axis=1, kind="stable")[:, :r]
    return np.where(np.take_along_axis(usable, order, 1), order, -1)


@quick
@given(ratings, relevances, masks, st.sampled_from([1, 3, K]), st.sampled_from([0.5, 1.0]))
def test_selection_is_a_stable_sort_and_masked_rules_are_never_chosen(ratings, relevance, where, r, half):
    rules = np.asarray(critical_rules(ratings, relevance, r, where=where, half=half))
    np.testing.assert_array_equal(rules, reference(ratings, relevance, r, where, half))
    for row, chosen in enumerate(rules):
        assert where[row].all(0)[chosen[chosen >= 0]].all()


@quick
@given(ratings, relevances, masks)
def test_which_response_comes_first_does_not_matter(ratings, relevance, where):
    rules = critical_rules(ratings, relevance, 3, where=where)
    np.testing.assert_array_equal(critical_rules(ratings[:, ::-1], relevance, 3, where=where[:, ::-1]), rules)
    there = label_from_rules(ratings, rules, where=where)
    back = label_from_rules(ratings[:, ::-1], rules, where=where[:, ::-1])
    np.testing.assert_array_equal(there.margin, -back.margin)
    np.testing.assert_array_equal(there.preferred < 0, there.tied)
    decided = np.asarray(~there.tied)
    np.testing.assert_array_equal(there.preferred[decided], 1 - back.preferred[decided])


@quick
@given(ratings, st.permutations(range(K)).map(np.array))
def test_all_rules_give_the_label_of_the_plain_sum(ratings, order):
    every = np.broadcast_to(order, (N, K))
    total = ratings.astype(np.float64).sum(-1)
    np.testing.assert_array_equal(np.sign(label_from_rules(ratings, every).margin), np.sign(total[:, 0] - total[:, 1]))


@pytest.mark.parametrize("count", [1, selection.CHUNK, selection.CHUNK + 1, 3 * selection.CHUNK - 7])
def test_chunks_and_the_whole_agree_with_numpy_at_any_size(count):
    rng = np.random.default_rng(count)
    drawn = rng.integers(0, 5, (count, 2, 20)).astype(np.float32) / 4
    relevance = rng.integers(0, 3, (count, 20)).astype(np.float32) / 2
    where = rng.random((count, 2, 20)) < 0.6
    arrays = {"ratings": drawn, "relevance": relevance, "where": where}
    scores = functools.partial(selection._scores, half=0.5)
    expected = reference(drawn, relevance, 5, where)
    for way in (selection._by_chunks, selection._by_maxima):
        rules, finite = jax.jit(functools.partial(way, r=5, scores_of=scores))(arrays)
        np.testing.assert_array_equal(rules, expected)
        assert finite
    np.testing.assert_array_equal(critical_rules(drawn, relevance, 5, where=where), expected)


def test_under_jit_and_vmap_and_with_other_leading_axes():
    rng = np.random.default_rng(0)
    drawn, relevance = rng.random((3, 4, 2, 7)).astype(np.float32), rng.random((3, 4, 7)).astype(np.float32)
    expected = reference(drawn.reshape(-1, 2, 7), relevance.reshape(-1, 7), 2).reshape(3, 4, 2)
    choose = functools.partial(critical_rules, r=2)
    np.testing.assert_array_equal(choose(drawn, relevance), expected)
    np.testing.assert_array_equal(jax.jit(choose)(drawn, relevance), expected)
    np.testing.assert_array_equal(jax.vmap(jax.vmap(choose))(drawn, relevance), expected)
    label = jax.vmap(label_from_rules)(drawn, jnp.asarray(expected, jnp.int32))
    np.testing.assert_array_equal(label.margin, label_from_rules(drawn, expected).margin)


@pytest.mark.parametrize("steps", [10, 12, 100])
def test_rules_whose_ratings_differ_by_equal_steps_of_a_grid_tie_whatever_rounding_says(steps):
    """0.3 - 0.1 is not 0.5 - 0.3 in floating point; exact arithmetic says that it is, and the earlier rule wins."""
    rng = np.random.default_rng(steps)
    numbers = rng.integers(0, steps + 1, (300, 2, 8))
    exact = np.abs(numbers[:, 0] - numbers[:, 1])
    expected = np.argsort(-exact, axis=1, kind="stable")[:, :3]
    rounded = (numbers / steps).astype(np.float32)
    np.testing.assert_array_equal(critical_rules(rounded, r=3), expected)
    by_rounding = np.argsort(-np.abs(rounded[:, 0] - rounded[:, 1]), axis=1, kind="stable")[:, :3]
    assert (by_rounding != expected).any()


def test_minus_zero_ties_with_zero():
    assert top_rules(jnp.array([-0.0, 0.0, -1.0]), 2).tolist() == [0, 1]
    assert top_rules(jnp.array([0.0, -0.0, -1.0]), 2).tolist() == [0, 1]


def test_random_rules_are_distinct_usable_and_even():
    where = np.ones((4000, 5), bool)
    where[:, 2] = False
    rules = np.asarray(random_rules(jax.random.key(0), where, 2))
    assert (rules[:, 0] != rules[:, 1]).all() and not (rules == 2).any()
    share = np.asarray(selected(rules, 5)).mean(0)
    np.testing.assert_allclose(share, [0.5, 0.5, 0, 0.5, 0.5], atol=0.04)


def test_relevance_of_both_responses_is_averaged():
    given_up = np.array([[[0.25, 1.0], [0.75, 1.0]]], np.float32)
    np.testing.assert_array_equal(mean_relevance(given_up), [[0.5, 0.0]])
    np.testing.assert_array_equal(mean_relevance(given_up[:, ::-1]), mean_relevance(given_up))


def test_weights_per_rule_and_per_comparison():
    pair = np.array([[[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]]] * 2, np.float32)
    rules = np.array([[0, 1], [0, 1]])
    assert label_from_rules(pair, rules).tied.tolist() == [True, True]
    assert label_from_rules(pair, rules, weights=np.array([2.0, 1.0, 1.0])).preferred.tolist() == [0, 0]
    each = np.array([[2.0, 1.0, 9.0], [1.0, 2.0, 9.0]])
    assert label_from_rules(pair, rules, weights=each).preferred.tolist() == [0, 1]
    assert label_from_rules(pair, rules, ties="second").preferred.tolist() == [1, 1]
    assert label_from_rules(pair, rules, ties="first").preferred.tolist() == [0, 0]


pair = np.zeros((2, 2, 3), np.float32)
broken = np.where(np.arange(12).reshape(2, 2, 3) == 10, np.nan, pair)


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda: critical_rules(pair, r=4), "r: 4 of 3 rules"),
        (lambda: critical_rules(pair, r=0), "between 1 and 3"),
        (lambda: critical_rules(pair[0, 0], r=1), r"\[..., 2, K\]"),
        (lambda: critical_rules(pair, r=1, half=0), "neither relevance nor discrepancy"),
        (lambda: critical_rules(pair, np.zeros((2, 2)), 1), r"relevance has shape \(2, 2\)"),
        (lambda: critical_rules(broken, r=1), "comparison 1, rule 1: the rating is not finite. Fix: mask it"),
        (lambda: critical_rules(pair, np.full((2, 3), np.nan), 1), "comparison 0, rule 0: the relevance"),
        (lambda: top_rules(np.full((2, 3), np.nan), 1), "not finite"),
        (lambda: label_from_rules(pair, np.array([[0], [3]])), "no rule 3"),
        (lambda: label_from_rules(broken, np.array([[0], [1]])), "comparison 1, rule 1: 1 selected"),
        (lambda: label_from_rules(pair, np.zeros((2, 1), int), where=pair > 0), "2 selected ratings are missing"),
        (lambda: label_from_rules(pair, np.zeros((2, 1), int), ties="coin"), "use one of drop, first, second"),
        (lambda: label_from_rules(pair, np.zeros((3, 1), int)), "do not fit"),
    ],
)
def test_bad_input_is_named(call, says):
    with pytest.raises(InputError, match=says):
        call()


@pytest.mark.parametrize("row", [0, selection.CHUNK - 1, selection.CHUNK, 2 * selection.CHUNK])
def test_one_bad_rating_of_many_is_named_wherever_it_stands(row):
    """Comparisons are taken in chunks; one of them tells for all."""
    many = np.zeros((2 * selection.CHUNK + 1, 2, 3), np.float32)
    many[row, 1, 2] = np.inf
    with pytest.raises(InputError, match=f"comparison {row}, rule 2: the rating is not finite"):
        critical_rules(many, r=1)
    with pytest.raises(InputError, match="not finite"):
        top_rules(np.where(np.isinf(many[:, 1]), np.nan, 0), 1)
    assert critical_rules(many, r=1, where=np.isfinite(many)).shape == (len(many), 1)


def test_a_masked_nan_is_no_harm():
    assert critical_rules(broken, r=2, where=np.isfinite(broken)).tolist() == [[0, 1], [0, 2]]
