"""Coverage beside an evaluation: the numbers of `encore_jax.coverage`, and what is said where there are none."""

import dataclasses

import numpy as np
import pytest

import encore_jax as enc
from encore_jax.data import Comparison, Message
from encore_jax.errors import InputError
from encore_jax.evaluation.coverage import ALL, BELOW, EVERY_RULE, REWARD
from tests.experiments import tiny_reward_model
from tests.reward.test_intervals import RULES, rated


def pairs(count=40, seed=5, rules=RULES, shift=0.0, subset="", start=0):
    """Labelled comparisons with ratings by the rater of `rated`."""
    rng = np.random.default_rng(seed)
    return [
        Comparison((Message("user", f"What of {i}?"),), (f"One {i}", f"Two {i}"), i % 2, rules,
                   rng.random((2, len(rules))) + shift, subset=subset)
        for i in range(start, start + count)
    ]  # fmt: skip


@pytest.fixture(scope="module")
def model():
    return tiny_reward_model.in_memory().calibrated(rated(prompts=60))


def evaluated(model, records):
    return enc.evaluate(model, records, probe=False, replicates=100)


def test_an_evaluation_has_the_coverage_that_the_ratings_alone_have(model, tmp_path):
    near, far = pairs(subset="near"), pairs(seed=6, shift=2.9, subset="far", start=100)
    found, alone = evaluated(model, near + far), enc.coverage(model, near + far)
    assert found.coverage == alone and found.coverage_note == ""
    assert {row.what for row in alone.rows if row.subset == ALL} == {REWARD, EVERY_RULE, *RULES}
    failed = {row.subset for row in alone.rows if row.verdict == BELOW and row.what == REWARD}
    assert "far" in failed and "near" not in failed
    said = repr(found)
    assert "Exchangeability fails for the reward on subset far: coverage 0.0 %" in said
    assert "the reward, near" in said and "wider" not in said.split("Exchangeability")[0]
    page = found.report(tmp_path / "page.html").read_text()
    assert "Coverage of every interval" in page and "what the intervals hold" in page and "Wilson" in page
    assert "the reward, near" in found._repr_html_()


def test_only_ratings_count_and_only_by_rules_of_the_model(model):
    unrated = [Comparison((Message("user", f"Bare {i}"),), ("a", "b"), 0) for i in range(3)]
    some = pairs(rules=(RULES[1], "odd", RULES[0]))
    found = evaluated(model, unrated + some)
    assert found.pairs == 43 and found.coverage_note == "Ratings by odd do not count: the model has no such rule."
    own = [enc.Comparison(c.prompt, c.responses, c.preferred, (RULES[1], RULES[0]), c.ratings[:, [0, 2]]) for c in some]
    assert found.coverage == enc.coverage(model, own) and found.coverage_note in repr(found)
    strange = evaluated(model, pairs(rules=("odd",)))
    assert strange.coverage is None and "odd do not count" in repr(strange)


def test_without_ratings_or_intervals_an_evaluation_says_nothing_of_them(model):
    bare = [Comparison(c.prompt, c.responses, c.preferred) for c in pairs()]
    for found in (evaluated(model, bare), evaluated(tiny_reward_model.in_memory(), pairs())):
        assert found.coverage is None and found.coverage_note == "" and "ntervals" not in repr(found)


def percent(records):
    return [dataclasses.replace(one, ratings=np.round(100 * one.ratings)) for one in records]


def test_ratings_on_another_scale_than_the_calibration_have_no_coverage(model):
    other = percent(pairs())
    with pytest.raises(InputError, match=f"rated, rule '{RULES[0]}': its ratings lie between .* two scales"):
        enc.coverage(model, other)
    with pytest.raises(InputError, match="they are on two scales"):
        model.calibrated(other)
    found = evaluated(model, other)
    assert found.coverage is None and "Coverage is not known: comparisons, rule" in repr(found)
    assert found.accuracy == evaluated(model, pairs()).accuracy


def test_two_scales_in_one_file_have_no_coverage(model):
    both = pairs() + percent(pairs(start=100))
    with pytest.raises(InputError, match=r"comparison \d+, rule|record \d+, rule"):
        enc.coverage(model, both)
    found = evaluated(model, both)
    assert found.coverage is None and f"rule '{RULES[0]}': this rating is" in found.coverage_note
