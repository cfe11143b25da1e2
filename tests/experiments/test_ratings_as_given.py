"""Ratings as they are, without a model: numbers beside an independent count in NumPy, on odd data."""

from fractions import Fraction

import numpy as np
import pytest

from encore_jax.data import Comparison, Message, RatedResponse
from encore_jax.evaluation.methods import CompositionSettings
from encore_jax.evaluation.results import compose_view, evaluate_view
from encore_jax.evaluation.view import Pairs, View
from encore_jax.recipes.stages.rate import Ratings
from encore_jax.recipes.stages.score import ratings_as_given
from encore_jax.recipes.stages.texts import collect_texts

RULES = ("kind", "true", "safe")


def rated(prompt, response, *values):
    mask = np.array([value is not None for value in values])
    numbers = np.array([0 if value is None else value for value in values], np.float32)
    return RatedResponse((Message("user", prompt),), response, RULES, numbers, mask)


def pair(prompt, *responses, ratings=None):
    own = {}
    if ratings is not None:
        mask = np.array([[value is not None for value in row] for row in ratings])
        own = {
            "rules": RULES,
            "mask": mask,
            "ratings": np.array([[v or 0 for v in row] for row in ratings], np.float32),
        }
    return Comparison((Message("user", prompt),), responses, 0, **own)


def given(records, comparisons, own=True):
    texts = collect_texts(records, comparisons, 0.5, 2, 0)
    ratings = Ratings(np.stack([r.ratings for r in records]), np.stack([r.mask for r in records]), None, None)
    return ratings_as_given(comparisons if own else (), texts, ratings, texts.compared)


def test_a_response_rated_by_some_rules_here_and_others_there_is_rated_by_all():
    records = [rated("Q", "A", 1, None, None), rated("Q", "A", None, 0.5, None), rated("Q", "A", None, None, 0.25),
               rated("Q", "B", 0, 0.5, 1), rated("Q", "B", 1, None, None), rated("Q", "C", 0, 1, None)]  # fmt: skip
    values, whole = given(records, [pair("Q", "A", "B"), pair("Q", "B", "C"), pair("Q", "B", "B")])
    np.testing.assert_array_equal(values[0], [[1, 0.5, 0.25], [0.5, 0.5, 1]])
    assert whole.tolist() == [True, False, True]


def test_a_comparison_that_carries_ratings_has_its_own_unless_a_file_gives_them():
    """The same response may have been rated differently beside another one."""
    first = pair("Q", "A", "B", ratings=[[1, 1, 1], [0, 0, 0]])
    second = pair("Q", "A", "C", ratings=[[0, 0, 0], [1, None, 1]])
    records = [
        rated("Q", "A", 1, 1, 1),
        rated("Q", "B", 0, 0, 0),
        rated("Q", "A", 0, 0, 0),
        rated("Q", "C", 1, None, 1),
    ]
    values, whole = given(records, [first, second])
    np.testing.assert_array_equal(values[:, 0], [[1, 1, 1], [0, 0, 0]])
    assert whole.tolist() == [True, False]
    np.testing.assert_array_equal(given(records, [first, second], own=False)[0][:, 0], [[0.5] * 3] * 2)


def test_equal_ratings_of_several_rows_stay_equal_numbers():
    rng = np.random.default_rng(0)
    value = rng.random(3).astype(np.float32)
    records = [rated("Q", "A", *value) for _ in range(7)] + [rated("Q", "B", *value)]
    values, _ = given(records, [pair("Q", "A", "B")])
    np.testing.assert_array_equal(values[0, 0], values[0, 1])


SUBSETS = ["all", "", "a/b", "x,y; z", "Käse \N{PILE OF POO}", "<b>&amp;", "a\nb", "'", "nan", "1.0"]


def view_of(values, preferred, subset):
    half, k = len(values) // 2, values.shape[2]
    cluster = np.arange(len(values))
    flat = values.reshape(-1, k)[: 2 * half]
    parts = (Pairs(values[s], preferred[s], cluster[s], subset[s]) for s in (slice(half), slice(half, None)))
    rules = tuple(f"rule {i}" for i in range(k))
    return View("ratings", "as-rated", "", rules, flat, np.ones(flat.shape, bool), np.repeat(cluster[:half], 2), *parts)


def counted(values, preferred, weights=None):
    """Accuracy with ties half, in exact arithmetic."""
    total = Fraction(0)
    for row, best in zip(values.tolist(), preferred.tolist(), strict=True):
        sums = [sum(Fraction(str(round(x, 6))) * (1 if weights is None else weights[k]) for k, x in enumerate(side))
                for side in row]  # fmt: skip
        margin = sums[best] - sums[1 - best]
        total += Fraction(1, 2) if margin == 0 else Fraction(int(margin > 0))
    return float(total / len(values))


@pytest.mark.parametrize("kind", ["tenths", "one rule", "all equal", "one rule constant"])
def test_the_view_says_what_an_exact_count_says(kind):
    """Equal weights and single rules, over all and in subsets of odd names."""
    rng, k = np.random.default_rng(1), 1 if kind == "one rule" else 4
    values = (rng.integers(0, 11, (80, 2, k)) / 10).astype(np.float32)
    if kind == "all equal":
        values[:] = np.float32(0.3)
    if kind == "one rule constant":
        values[..., 1] = np.float32(0.7)
    preferred, subset = rng.integers(0, 2, 80), np.array(SUBSETS)[np.arange(80) % len(SUBSETS)]
    view, settings = view_of(values, preferred, subset), CompositionSettings(levels=11, draws=2)
    results = evaluate_view(view, compose_view(view, settings, 0), settings, seed=0, replicates=100)
    uniform = next(method for method in results["methods"] if method["name"] == "uniform")
    tested, best = values[40:], preferred[40:]
    assert uniform["accuracy"]["value"] == pytest.approx(counted(tested, best), abs=1e-6)
    for name in SUBSETS:
        rows = subset[40:] == name
        found = uniform["subsets"][name]["accuracy"]["value"]
        assert found == pytest.approx(counted(tested[rows], best[rows]), abs=1e-6), name
    for i, rule in enumerate(results["rules"]):
        one = [int(j == i) for j in range(k)]
        assert rule["accuracy"]["value"] == pytest.approx(counted(tested, best, one), abs=1e-6)
