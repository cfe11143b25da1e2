"""Rows of agreement: what they are made of, when they are refused, and that they survive a file."""

import dataclasses

import numpy as np
import pytest

from encore_jax.composition.agreement import agreement_loadings, agreement_weights
from encore_jax.composition.settings import AGREEMENT, PRODUCT
from encore_jax.errors import InputError
from encore_jax.evaluation.methods import agreement_methods, critical_margins, critical_methods, reward_margins
from encore_jax.evaluation.rule_agreement import rule_agreement
from encore_jax.evaluation.view import Pairs

RULES = ("a", "b", "c", "d", "e", "f")


def pairs(shares, n=400, seed=0):
    """Scores of rules that follow factors by `shares` ``[F, K]``; people follow the first factor."""
    rng = np.random.default_rng(seed)
    factors = rng.normal(size=(n, 2, len(shares)))
    scores = (factors @ np.array(shares, float) + rng.normal(size=(n, 2, len(shares[0])))).astype(np.float32)
    return Pairs(scores, factors[..., 0].argmax(1), np.arange(n), np.array(["all"] * n))


ONE = pairs([[1.5, 1.0, 1.0, 0.7, 0.5, 0.0]])
SPLIT = pairs([[1.5, 1.5, 1.5, 0, 0, 0], [0, 0, 0, 1.5, 1.5, 1.5]])


@pytest.fixture(scope="module")
def one():
    return rule_agreement(ONE, RULES, draws=50)


@pytest.fixture(scope="module")
def split():
    return rule_agreement(dataclasses.replace(SPLIT, preferred=np.arange(400) % 2), RULES, draws=50)


def test_weights_are_bartletts_of_the_scores_and_look_at_no_label(one):
    loading = agreement_loadings(ONE.scores)
    np.testing.assert_allclose(one.loading, loading.loading, atol=1e-4)
    np.testing.assert_allclose(one.weights, agreement_weights(loading.loading, loading.spread), atol=1e-4)
    expected = loading.loading / loading.spread
    np.testing.assert_allclose(one.scale, np.maximum(expected, 0) / np.maximum(expected, 0).sum(), atol=1e-4)
    turned = rule_agreement(dataclasses.replace(ONE, preferred=1 - ONE.preferred), RULES, draws=50)
    np.testing.assert_array_equal(turned.weights, one.weights)
    assert (one.verdict, one.refused, one.camp) == ("one common factor", "", ())
    assert one.recommendation.startswith("Use agreement weights.")


def test_rows_of_agreement_are_weights_products_and_critical_rules(one):
    encore = np.array([0.3, 0.1, 0.1, 0.1, 0.1, 0.3], np.float32)
    rows = {row.name: row for row in agreement_methods(one, encore)}
    assert list(rows) == [AGREEMENT, PRODUCT, *(f"critical rules × loading, r = {r}" for r in (1, 3, 5))]
    np.testing.assert_allclose(rows[PRODUCT].weights, one.weights * encore / (one.weights * encore).sum(), rtol=1e-5)
    assert {row.sees for row in rows.values()} == {"scores"}
    assert not any(row.refused for row in rows.values())


def test_rows_are_refused_in_words_where_the_pool_splits_and_nothing_tells(split):
    assert split.weights is None and split.scale is None
    rows = agreement_methods(split, np.full(6, 1 / 6))
    assert [row.weights for row in rows] == [None] * 3 and all(row.refused == split.refused for row in rows)
    assert "the pool splits" in split.refused and "a, b, c" in split.refused and "d, e, f" in split.refused


@pytest.mark.parametrize(("anchor", "camp"), [("b", "abc"), ("e", "def")])
def test_an_anchor_says_which_part_is_meant(anchor, camp):
    found = rule_agreement(SPLIT, RULES, anchor=anchor, draws=50)
    assert found.camp == tuple(camp) and found.camp_by == "anchor" and not found.refused
    assert found.weights[[rule in camp for rule in RULES]].sum() > 0.9
    assert all(row.sees == "scores" and not row.refused for row in agreement_methods(found, np.full(6, 1 / 6)))


def test_training_labels_say_which_part_is_meant_and_the_rows_say_so():
    found = rule_agreement(SPLIT, RULES, draws=50)
    assert found.camp == ("a", "b", "c") and found.by_labels
    rows = agreement_methods(found, np.full(6, 1 / 6))
    refused, made = [row for row in rows if row.refused], [row for row in rows if not row.refused]
    assert len(refused) == 3 and {row.sees for row in made} == {"train labels"}
    assert all(row.name.partition(", r")[0].endswith(", part by labels") for row in made)


def test_two_rules_and_rules_of_nothing_in_common_are_refused_with_a_recommendation():
    two = rule_agreement(dataclasses.replace(ONE, scores=ONE.scores[..., :2]), RULES[:2])
    assert two.refused == "agreement needs at least 3 rules, and there are 2" and "equal weights" in two.recommendation
    nothing = rule_agreement(pairs(np.zeros((1, 6))), RULES, draws=50)
    assert nothing.refused == "the rules have too little in common to tell"


def test_an_unknown_anchor_is_named():
    with pytest.raises(InputError, match=r"there is no rule 'z'.*use one of a, b"):
        rule_agreement(ONE, RULES, anchor="z")


def test_it_survives_a_file(one, split):
    for found in (one, split, rule_agreement(dataclasses.replace(ONE, scores=ONE.scores[..., :1]), ("a",))):
        back = type(found).from_json(found.to_json())
        assert back.to_json() == found.to_json() and repr(back) == repr(found)


def test_all_rules_being_critical_is_the_weighted_sum():
    scale = np.array([0.5, 0.25, 1, 0, 2, 1], np.float32)
    np.testing.assert_allclose(critical_margins(ONE, scale, 6).value, reward_margins(ONE, scale).value, atol=1e-5)
    assert [row.critical for row in critical_methods("x", np.ones(4))] == [1, 3]


def test_critical_rules_are_chosen_by_the_scaled_difference_and_ties_are_ties():
    scores = np.array([[[0.5, 0.0, 0.0], [0.0, 0.4, 0.1]], [[0.3, 0.2, 0.0], [0.2, 0.3, 0.0]]], np.float32)
    two = Pairs(scores, np.zeros(2, int), np.arange(2), np.array(["x", "x"]))
    assert critical_margins(two, np.ones(3), 1).sign.tolist() == [1, 0]  # two rules share the one place, and cancel
    assert critical_margins(two, np.array([1.0, 2.0, 1.0]), 1).sign.tolist() == [-1, -1]
    assert critical_margins(two, np.ones(3), 2).sign.tolist() == [1, 0]  # 0.1 and -0.1, rounded apart, cancel


def test_critical_rules_do_not_depend_on_the_order_of_rules_or_responses():
    rng, order = np.random.default_rng(0), np.array([3, 0, 5, 1, 4, 2])
    scores, scale = rng.integers(0, 4, (200, 2, 6)).astype(np.float32) / 3, np.array([1, 1, 2, 0.5, 1, 1])
    these = Pairs(scores, rng.integers(0, 2, 200), np.arange(200), np.full(200, "x"))
    turned = Pairs(scores[:, ::-1, order], 1 - these.preferred, np.arange(200), np.full(200, "x"))
    for r in (1, 2, 4):
        signs = critical_margins(these, scale, r).sign
        np.testing.assert_array_equal(signs, critical_margins(turned, scale[order], r).sign)
        assert 0 < (signs == 0).mean() < 0.9


def test_without_ties_they_are_the_second_papers_critical_rules():
    from encore_jax.composition import critical_rules, label_from_rules

    for r in (1, 3, 5):
        first = ONE.first_preferred
        expected = label_from_rules(first, critical_rules(first, r=r))
        np.testing.assert_allclose(critical_margins(ONE, np.ones(6), r).value, expected.margin, atol=1e-5)
