"""What a run says of a model that may know nothing, and of agreement weights that may mislead."""

import numpy as np
import pytest

from encore_jax.evaluation.agreement_warning import LOADINGS_DIFFER, agreement_warning
from encore_jax.evaluation.chance import LARGEST_PENALTY, chance_lines
from tests.evaluation.hand_made import hand_made_results

RULES = ("a", "b", "c")


def run(low, high, idle=()):
    method = {"name": "ENCORE", "n": 23, "accuracy": {"value": (low + high) / 2, "low": low, "high": high}}
    return {
        "views": [{"name": "ratings"}, {"name": "heads", "weighting": "ENCORE", "methods": [method]}],
        "counts": {"train": {LARGEST_PENALTY: {rule: 9 for rule in idle}} if idle else {}},
        "passport": {"rules": RULES},
    }


@pytest.mark.parametrize(
    ("bounds", "said"),
    [((0.2, 0.65), "not told from chance"), ((0.5, 0.7), "not told from chance"), ((0.2, 0.4), "less than chance")],
)
def test_a_model_no_better_than_chance_is_said_to_be(bounds, said):
    (line,) = chance_lines(run(*bounds))
    assert line.startswith("Warning: the model (ENCORE) is right on") and said in line
    assert chance_lines(run(0.51, 0.7)) == []


def test_heads_of_the_largest_penalty_are_named():
    (line,) = chance_lines(run(0.6, 0.7, idle=("a", "c")))
    assert "2 of 3 heads have learnt next to nothing" in line and ": a, c." in line
    assert len(chance_lines(run(0.2, 0.6, idle=("a",)))) == 2


def test_a_run_of_an_older_version_says_nothing_of_it():
    results = hand_made_results()
    for missing in ("counts", "passport"):
        results.pop(missing, None)
    assert all(line.startswith("Warning: ") for line in chance_lines(results)) and chance_lines({}) == []


def scored(n=200, seed=0):
    """By rule 0 people choose; the other rules know nothing."""
    scores = np.random.default_rng(seed).normal(size=(n, 2, 3))
    return scores, scores[..., 0].argmax(1)


def test_most_weight_on_rules_that_know_nothing_is_said():
    told = agreement_warning(RULES, np.array([0.1, 0.5, 0.4]), *scored(), np.ones(3))
    assert "90.0 % of the weight is on rules that are not told from chance" in told and "b (" in told and "c (" in told
    assert agreement_warning(RULES, np.array([0.8, 0.1, 0.1]), *scored(), np.ones(3)) == ""
    assert agreement_warning(RULES, np.array([0.1, 0.5, 0.4]), *scored(0), np.ones(3)) == "", "nobody knows"


def test_heads_that_agree_in_another_way_than_the_ratings_are_named():
    heads, ratings = np.array([0.9, 0.1, np.nan]), np.array([0.9, 0.1 + LOADINGS_DIFFER, 0.5])
    assert "loading of b (+0.10, not +0.60)" in agreement_warning(RULES, np.ones(3), *scored(0), heads, ratings)
    assert agreement_warning(RULES, np.ones(3), *scored(0), heads, heads) == ""
