"""Weightings on a benchmark's pairs, against counts by hand; none looks at which response is right."""

import numpy as np
import pytest

from encore_jax.composition import Margin, entropy_weights
from encore_jax.composition.agreement import agreement_loadings, agreement_weights
from encore_jax.data import Comparison
from encore_jax.data.comparison import Message
from encore_jax.evaluation.benchmark import right_mask
from encore_jax.evaluation.benchmark_methods import MODEL, benchmark_methods, label_free_methods, right_and_wrong

HI = (Message("user", "Hi"),)
RULES = ("a", "b", "c", "d")
RNG = np.random.default_rng(0)
SIZES = RNG.integers(2, 5, 150)
SCORES = [RNG.normal(size=(n, 1)) * np.array([1, 1, 1, 0.0]) + RNG.normal(size=(n, 4)) for n in SIZES]
RIGHT = [np.arange(n) == scores[:, :3].sum(1).argmax() for n, scores in zip(SIZES, SCORES, strict=True)]
PROMPTS = [i // 2 for i in range(150)]
ENTROPY = np.array([0.5, 1.0, 1.5, 2.0])


@pytest.fixture(scope="module")
def found():
    pairs, at, comparison = right_and_wrong(SCORES, RIGHT, PROMPTS)
    methods = label_free_methods(pairs, RULES, entropy=ENTROPY, tau=0.7)
    own = Margin(pairs.scores[:, 0, 0] - pairs.scores[:, 1, 0], 0.0)
    return pairs, at, comparison, {m.name: m for m in methods}, benchmark_methods(pairs, comparison, own, methods)


def credit_by_hand(weights):
    """Share of the wrong responses that the right one beats, averaged over comparisons."""
    credit = []
    for scores, right in zip(SCORES, RIGHT, strict=True):
        reward = scores.astype(np.float32).astype(float) @ weights
        credit.append(np.mean(reward[right][0] > reward[~right]))
    return np.array(credit)


def test_pairs_are_right_against_wrong_within_a_comparison(found):
    pairs, at, comparison, *_ = found
    flat, owner = np.concatenate(SCORES), np.repeat(np.arange(150), SIZES)
    good = np.concatenate(RIGHT)
    np.testing.assert_array_equal(pairs.scores, flat.astype(np.float32)[at])
    assert good[at[:, 0]].all() and not good[at[:, 1]].any() and (owner[at].T == comparison).all()
    assert len(at) == (SIZES - 1).sum() and len(np.unique(at, axis=0)) == len(at)
    np.testing.assert_array_equal(pairs.cluster, comparison // 2)


def test_weights_are_those_of_their_methods(found):
    pairs, _, _, methods, _ = found
    assert list(methods) == [
        "ENCORE", "uniform", "agreement", "agreement × entropy", "critical rules × loading, r = 1",
        "critical rules × loading, r = 3", "critical rules, r = 1", "critical rules, r = 3",
    ]  # fmt: skip
    np.testing.assert_allclose(methods["ENCORE"].weights, np.asarray(entropy_weights(ENTROPY, 0.7)), rtol=1e-6)
    delta = pairs.scores[:, 0] - pairs.scores[:, 1]
    both = np.concatenate([delta, -delta])  # differences in both orientations
    expected = agreement_weights(agreement_loadings(pairs.scores).loading, both.std(0))
    np.testing.assert_allclose(methods["agreement"].weights, expected, atol=0.01)
    assert {m.sees for m in methods.values()} == {"ratings", "nothing", "scores"}, "no labels"


def test_accuracies_are_those_counted_by_hand(found):
    *_, methods, rows = found
    own = credit_by_hand(np.eye(4)[0])
    assert rows[0]["name"] == MODEL and rows[0]["accuracy"]["value"] == pytest.approx(own.mean())
    for row in rows[1:]:
        method = methods[row["name"]]
        if not method.critical:
            credit = credit_by_hand(method.weights.astype(float))
            assert row["accuracy"]["value"] == pytest.approx(credit.mean())
            assert row["minus_model"]["value"] == pytest.approx(credit.mean() - own.mean())
            drawn = [
                np.concatenate([(credit - own).reshape(-1, 2)[i] for i in RNG.integers(0, 75, 75)]).mean()
                for _ in range(1000)
            ]
            ends = [row["minus_model"]["low"], row["minus_model"]["high"]]
            np.testing.assert_allclose(ends, np.percentile(drawn, [2.5, 97.5]), atol=0.015)
    gain = {row["name"]: row["accuracy"]["value"] for row in rows}
    assert gain["agreement"] > gain["uniform"] > gain[MODEL]


def test_one_critical_rule_is_the_one_of_largest_discrepancy(found):
    pairs, _, comparison, _, rows = found
    delta = pairs.scores[:, 0] - pairs.scores[:, 1]
    won = np.take_along_axis(delta, np.abs(delta).argmax(1)[:, None], 1)[:, 0] > 0
    expected = np.mean([won[comparison == i].mean() for i in range(150)])
    assert {r["name"]: r for r in rows}["critical rules, r = 1"]["accuracy"]["value"] == pytest.approx(expected)


def test_what_cannot_be_had_is_refused_with_the_reason():
    pairs, _, comparison = right_and_wrong(SCORES, RIGHT, PROMPTS)
    noise = pairs.__class__(
        np.random.default_rng(1).normal(size=pairs.scores.shape).astype(np.float32), pairs.preferred, pairs.cluster,
        pairs.subset,
    )  # fmt: skip
    methods = label_free_methods(noise, RULES)
    refused = {m.name: m.refused for m in methods if m.refused}
    assert refused["ENCORE"] == "the model's passport holds no entropies of ratings"
    assert refused["agreement"] == "the rules have too little in common to tell" and len(refused) == 4
    rows = benchmark_methods(noise, comparison, Margin(np.ones(len(noise)), 0.0), methods)
    for row in rows[1:]:
        assert (row["accuracy"] is None) == (row["minus_model"] is None) == bool(row["refused"])
    two = label_free_methods(right_and_wrong([s[:, :2] for s in SCORES], RIGHT, PROMPTS)[0], RULES[:2])
    assert "agreement needs at least 3 rules" in {m.name: m.refused for m in two}["agreement"]


@pytest.mark.parametrize(
    ("kind", "comparison", "right"),
    [
        ("pairs", Comparison(HI, ("x", "y", "z"), 2), [False, False, True]),
        ("rewardbench", Comparison(HI, ("x", "y"), 0), [True, False]),
        ("rewardbench2", Comparison(HI, tuple("abcd"), 0, extra={"num_correct": 2}), [True, True, False, False]),
        ("rm_bench", Comparison(HI, tuple("abcdef"), 0), [True] * 3 + [False] * 3),
    ],
)
def test_each_benchmark_says_itself_what_is_right(kind, comparison, right):
    assert right_mask(kind, comparison).tolist() == right
