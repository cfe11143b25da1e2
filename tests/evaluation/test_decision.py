"""One decision on what to use: properties, and the same words wherever it is told."""

import numpy as np
import pytest

from encore_jax.composition.settings import COMPOSED_BY
from encore_jax.evaluation.decision import COMPOSES, SPEAKS_FOR, about, decide, how_for_model
from encore_jax.evaluation.first_line import first_line, model_line
from encore_jax.evaluation.fit_advice import Rated, how_for_ratings
from encore_jax.evaluation.recommendation import recommendation
from encore_jax.evaluation.reliability import reliability
from encore_jax.reward.weighting import named_weights

RANK = {"uniform": 0, "agreement": 1}
LOW = np.array([0.3, 0.2, 0.1, -0.1, -0.2])
HIGH = LOW + 0.5


def use(low=LOW, high=HIGH, better=None, gain=0.01, justified=True):
    better = {} if better is None else {"agreement": better, "entropy": 0.4}
    accuracy = {"uniform": 0.6, "agreement": 0.6 + gain, "entropy": 0.5} if better else {}
    return decide(low, high, justified=justified, accuracy=accuracy, better=better)


def test_more_evidence_for_agreement_never_takes_it_back():
    for shift in np.linspace(-0.4, 0.4, 9):
        told = [RANK[use(better=p, low=LOW + shift, high=HIGH + shift).use] for p in np.linspace(0, 1, 41)]
        assert told == sorted(told), "labels"
    for p in (None, 0.2, 0.6, 0.97):
        told = [RANK[use(low=np.minimum(LOW + shift, HIGH), better=p).use] for shift in np.linspace(-0.6, 0.5, 23)]
        assert told == sorted(told), "narrower intervals"


def test_labels_that_do_not_speak_for_agreement_leave_equal_weights():
    assert use().use == "agreement" and use(better=SPEAKS_FOR + 0.01).use == "agreement"
    for p in (0.0, 0.25, SPEAKS_FOR):
        assert use(better=p, gain=0.0)[:2] == ("uniform", "labels against")
    assert use(justified=False)[:2] == ("uniform", "refused")


def test_where_most_intervals_contain_0_it_cannot_tell_unless_labels_do():
    unsure = np.array([0.1, -0.1, -0.1, -0.2, -0.2])
    assert use(unsure)[:2] == ("uniform", "loadings unsure") and use(unsure, better=0.75).use == "uniform"
    assert use(unsure, better=0.96)[:2] == ("agreement", "labels")
    half = np.array([0.1, 0.1, -0.1, -0.1, np.nan])
    assert use(half, np.where(np.isnan(half), np.nan, HIGH)) == ("agreement", "loadings", 2, 4)
    turned = use(-HIGH, -LOW)
    assert (turned.unsure, turned.known) == (2, 5), "a rule that surely runs the other way is no unsure one"


def test_the_order_of_the_rules_changes_no_decision():
    rng = np.random.default_rng(0)
    for _ in range(100):
        low = rng.normal(0, 0.3, 6)
        high, order = low + rng.uniform(0, 0.8, 6), rng.permutation(6)
        assert use(low, high) == use(low[order], high[order])


def test_the_order_of_the_rules_changes_no_recommendation():
    rng = np.random.default_rng(1)
    ratings = rng.normal(size=(150, 2, 1)) * [1, 1, 0.8, 0] + rng.normal(size=(150, 2, 4))
    names, order = np.array(["a", "b", "c", "coin"]), [3, 1, 0, 2]
    one = reliability(ratings, rules=names.tolist(), draws=100)
    other = reliability(ratings[..., order], rules=names[order].tolist(), draws=100)
    assert one.decision == other.decision and one.recommended == "agreement"
    assert "3 of 4 rules follow one common factor (not: coin)" in recommendation(one)
    assert recommendation(one).split(" rules;")[0] == recommendation(other).split(" rules;")[0]


def told(name, use, words, weighting="ENCORE"):
    return {"name": name, "weighting": weighting, "agreement": {"use": use, "recommendation": words}}


def test_a_run_says_what_its_model_and_what_its_ratings_should_use():
    ratings = told("ratings", "agreement", "Use agreement weights. R.")
    views = [ratings, told("heads", "uniform", "Use equal weights. H.")]
    line = first_line({"views": views}, "runs/mine")
    assert line.startswith(model_line(views[1]["agreement"], "ENCORE", "runs/mine"))
    assert line.startswith("This model: use equal weights. H. Its weights are by ENCORE; to change that: encore export")
    assert line.endswith("Your ratings: use agreement weights. R.")
    assert "--workdir=RUN " in first_line({"views": views})
    same = first_line({"views": [told("heads", "uniform", "Use equal weights.", "uniform")]})
    assert same == "This model: use equal weights. Its weights are these."
    asked = {"summary": {}, "advice": {"use": "uniform", "recommendation": "Use equal weights."}}
    assert first_line(asked, "runs/mine") == "Your ratings: use equal weights. " + how_for_ratings(
        "uniform", Rated("run", "runs/mine")
    )
    unlabelled = asked | {"advice": asked["advice"] | {"labelled_prompts": 0}}
    assert "encore fit PAIRS runs/mine/rate/rated.jsonl --config.compose.method=uniform" in first_line(
        unlabelled, "runs/mine"
    )


def test_an_ablation_ends_with_the_decision_on_all_weightings():
    full = {
        "best": {"values": {"tau": "1", "grid": "2 bins"}, "accuracy": {"value": 0.6, "low": None, "high": None}},
        "alike": {}, "comparisons": 9, "settings": 3, "prompts": 9,
    }  # fmt: skip
    decided = about("This model", "Use agreement weights.")
    line = first_line({"found": {}, "full": full, "advice": {"use": "agreement", "line": decided}})
    assert line.endswith(decided) and "Use equal weights" not in line and "Of entropy weights" in line


@pytest.mark.parametrize("use", COMPOSES)
def test_the_commands_that_follow_a_decision_exist(use):
    flag = how_for_ratings(use).rpartition("--config.compose.method=")[2].split()[0]
    assert flag in COMPOSED_BY
    if use == "uniform":
        assert f"--weights={use}" in how_for_model(use, "ENCORE") and named_weights(use, ("a", "b")) == (0.5, 0.5)
