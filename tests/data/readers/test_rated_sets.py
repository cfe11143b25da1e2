"""Readers of rated single responses: HelpSteer2, UltraFeedback, OpenAI rule-based rewards."""

import numpy as np
import pytest

from encore_jax.data import Message, SkipCounter, read_attribute_columns, read_openai_rbr, read_ultrafeedback
from encore_jax.errors import InputError
from encore_jax.rules.rule import Rule, RulePool


def make_pool(*names, worse=()):
    return RulePool(tuple(Rule(name, f"About {name}.", direction=-1 if name in worse else 1) for name in names))


@pytest.mark.parametrize("suffix", [".jsonl", ".jsonl.gz", ".parquet"])
def test_helpsteer2(fixtures, as_format, suffix):
    path = as_format(fixtures / "helpsteer2" / "train.jsonl", suffix)
    pool = make_pool("correctness", "verbosity", "helpfulness", worse=["verbosity"])
    skips = SkipCounter()
    one, two = read_attribute_columns(path, pool=pool, scale=(0, 4), skips=skips)
    assert one.rules == pool.names and one.prompt == (Message("user", "Name a spice."),)
    np.testing.assert_array_equal(one.ratings, np.float32([4, 4, 4]))  # verbosity 0 is the best
    np.testing.assert_array_equal(two.ratings, np.float32([0, 1, 1]))
    np.testing.assert_array_equal(two.mask, [False, True, True])
    assert two.prompt == (
        Message("user", "Name a spice."),
        Message("assistant", "Cumin."),
        Message("user", "Another one,\nplease."),
    )
    assert skips.reasons == {"with a blank response": 1}


def test_attribute_errors(fixtures):
    path = fixtures / "helpsteer2" / "train.jsonl"
    with pytest.raises(InputError, match="missing field; this row has prompt, response") as caught:
        list(read_attribute_columns(path, pool=make_pool("honesty"), scale=(0, 4), skips=SkipCounter()))
    assert caught.value.where == f"{path}:1, field 'honesty'"
    with pytest.raises(InputError, match="scale from 0 to 1") as caught:
        list(read_attribute_columns(path, pool=make_pool("coherence"), scale=(0, 1), skips=SkipCounter()))
    assert caught.value.where == f"{path}:1, field 'ratings['coherence']'"


@pytest.mark.parametrize("suffix", [".jsonl", ".parquet"])
def test_ultrafeedback(fixtures, as_format, suffix):
    path = as_format(fixtures / "ultrafeedback" / "rows.jsonl", suffix)
    pool = make_pool("helpfulness", "honesty", "truthfulness")
    skips = SkipCounter()
    a, b = read_ultrafeedback(path, pool=pool, skips=skips)
    np.testing.assert_array_equal(a.ratings, np.float32([4, 4, 5]))
    np.testing.assert_array_equal(b.ratings, np.float32([1, 0, 0]))
    np.testing.assert_array_equal(b.mask, [True, False, False])  # "N/A" and absent
    assert a.prompt == b.prompt and b.response == "Nobody knows."
    assert b.extra == {"model": "b"} and b.subset == "handmade" and b.id.endswith("#1")
    assert skips.kept == 2


@pytest.mark.parametrize(
    ("rating", "where"),
    [("good", "completion 0, honesty, field 'Rating'"), ("7", "completion 0, field 'ratings['honesty']'")],
)
def test_ultrafeedback_errors(fixtures, edited, rating, where):
    completion = {"response": "Yes.", "annotations": {"honesty": {"Rating": rating}}}
    path = edited(fixtures / "ultrafeedback" / "rows.jsonl", completions=[completion])
    with pytest.raises(InputError) as caught:
        list(read_ultrafeedback(path, pool=make_pool("honesty"), skips=SkipCounter()))
    assert caught.value.where == f"{path}:1, {where}" and caught.value.fix
    with pytest.raises(InputError, match="no aspect 'honest'"):
        list(read_ultrafeedback(path, pool=make_pool("honest"), skips=SkipCounter()))


def test_openai_rbr(fixtures):
    path = fixtures / "openai_rbr" / "rows.jsonl"
    pool = make_pool("judgement", "apology", "fully_complies", worse=["judgement"])
    skips = SkipCounter()
    walk, neighbour = read_openai_rbr(path, pool=pool, skips=skips)
    assert [message.role for message in walk.prompt] == ["user", "assistant", "user"]
    assert walk.response == "Follow the coast path north." and walk.subset == "Comply"
    np.testing.assert_array_equal(walk.ratings, np.float32([1, 0, 1]))
    np.testing.assert_array_equal(neighbour.ratings, np.float32([1, 1, 0]))
    assert walk.mask.all() and neighbour.extra == {"category": "None"}
    assert skips.reasons == {"with a blank response": 1}


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"propositions": {"apology": 2}}, "apology"),
        ({"propositions": {"sorry": True}}, "ratings['sorry']"),
        ({"propositions": ...}, "propositions"),
        ({"completion": []}, "completion"),
        ({"completion": [{"role": "user", "content": "Hm"}]}, "completion"),
        ({"response_type": ...}, "response_type"),
    ],
)
def test_openai_rbr_errors(fixtures, edited, changes, field):
    path = edited(fixtures / "openai_rbr" / "rows.jsonl", **changes)
    pool = make_pool("judgement", "apology", "fully_complies")
    with pytest.raises(InputError) as caught:
        list(read_openai_rbr(path, pool=pool, skips=SkipCounter()))
    assert caught.value.where == f"{path}:1, field '{field}'"


@pytest.mark.parametrize(("split", "rows", "blank"), [("train", 351, 7), ("test", 167, 1)])
def test_openai_rbr_is_a_complete_matrix(shared_data, split, rows, blank):
    """351 and 167 responses x 23 propositions; eight of the published completions are blank."""
    pool, skips = RulePool.shipped("openai_rbr_23"), SkipCounter()
    rated = list(read_openai_rbr(shared_data / "openai-rbr" / f"{split}.jsonl", pool=pool, skips=skips))
    assert skips.kept + skips.skipped == rows and skips.reasons == {"with a blank response": blank}
    assert np.stack([r.mask for r in rated]).all() and rated[0].ratings.shape == (23,)
    assert set(np.unique(np.stack([r.ratings for r in rated]))) == {0, 1}
