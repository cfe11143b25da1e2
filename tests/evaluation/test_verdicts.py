"""Verdicts of a judge become rewards: every order, ties and errors as RewardBench counts them."""

import dataclasses
import json

import numpy as np
import pytest

from encore_jax.data import Comparison, Message
from encore_jax.errors import InputError
from encore_jax.evaluation.verdicts import verdict_rewards
from encore_jax.judge.question import conversation_id

COMPARISONS = [Comparison((Message("user", "Hi"),), ("a", "b"), 0, id=name) for name in ("one", "two", "three", "four")]


def write(path, *rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def test_every_verdict_counts(tmp_path):
    path = write(
        tmp_path / "verdicts.jsonl",
        {"id": "one", "verdict": "[[A]]"},
        {"id": "two", "verdict": "A", "first": 1},
        {"id": "three", "verdict": "error"},
        {"id": "four", "verdict": "A", "first": 0},
        {"id": "four", "verdict": "A", "first": 1},
    )
    rewards, said = verdict_rewards(path, COMPARISONS)
    np.testing.assert_array_equal(rewards, [[1, 0], [0, 1], [0.5, 0.5], [0.5, 0.5]])
    assert said == {"A": 4, "error": 1}


def test_a_conversation_names_a_comparison_whatever_its_id(tmp_path):
    one = Comparison((Message("user", "Hi"),), ("a", "b"), 0, id="here")
    name = conversation_id(one.prompt, one.responses)
    path = write(
        tmp_path / "verdicts.jsonl",
        {"id": "there", "conversation": name, "first": 1, "verdict": "B"},
        {"id": "here", "conversation": "another", "first": 0, "verdict": "B"},
    )
    np.testing.assert_array_equal(verdict_rewards(path, [one])[0], [[1, 0]])


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"id": "one", "verdict": "C"}, "verdict 'C'"),
        ({"id": "one", "verdict": "A", "first": 2}, "first 2"),
        ({"id": "one", "verdict": "A", "first": True}, "first True"),
        ({"id": "one", "verdict": "A", "first": 1.0}, "first 1.0"),
        ({"id": "one", "verdict": "A", "first": [0]}, "first .0."),
        ({"id": "one", "verdict": "A" * 10**6}, "verdict 'AAA"),
        ({"id": "", "verdict": "A"}, "field 'id': is empty"),
        ({"id": [3], "verdict": "A"}, "field 'id'"),
        ({"conversation": "", "verdict": "A"}, "field 'conversation': is empty"),
        ({"id": "one", "verdict": None}, "field 'verdict'"),
        ({"id": "one", "verdict": ["A"]}, "field 'verdict'"),
        ({"id": "one", "verdict": "A"}, "no verdict on comparison two"),
    ],
)
def test_what_cannot_be_read_is_refused(tmp_path, row, message):
    with pytest.raises(InputError, match=message):
        verdict_rewards(write(tmp_path / "verdicts.jsonl", row), COMPARISONS)


def test_one_verdict_is_not_two_comparisons(tmp_path):
    path = write(tmp_path / "verdicts.jsonl", {"id": "one", "verdict": "A"}, {"id": "two", "verdict": "A"})
    with pytest.raises(InputError, match="2 comparisons have the id 'one'"):
        verdict_rewards(path, [COMPARISONS[0], COMPARISONS[0], COMPARISONS[1]])


def test_ids_may_be_numbers(tmp_path):
    numbered = [dataclasses.replace(comparison, id=str(i)) for i, comparison in enumerate(COMPARISONS)]
    rows = [{"id": float(i), "verdict": "B"} for i in range(len(numbered))]
    rewards, _ = verdict_rewards(write(tmp_path / "verdicts.jsonl", *rows), numbered)
    np.testing.assert_array_equal(rewards, [[0, 1]] * len(numbered))
