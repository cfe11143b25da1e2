"""From tokens and texts to ratings, against sums over a whole vocabulary."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from encore_jax.judge import reading
from encore_jax.judge.prompts import YES_NO_IRRELEVANT
from encore_jax.judge.question import Status
from encore_jax.judge.reading import answer_of, mostly_other, read_logprobs, read_number

ANSWERS = ("Yes", "No", "Irrelevant")
COUNTED = {
    "Yes": ["Yes", " Yes", "yes", "YES", " yes", "Ye", "\u0120Yes", "\u2581yes"],
    "No": ["No", " No", "no", "NO"],
    "Irrelevant": ["Irrelevant", " Ir", "irrelevant", "IR", "Irre", "irrel"],
}
OTHERS = ["I", "Y", "N", "Not", "Nope", "yES", "  Yes", "Yes.", "", " ", "Sure", "In", "Yesterday"]


@pytest.mark.parametrize(("answer", "token"), [(a, t) for a, tokens in COUNTED.items() for t in tokens])
def test_tokens_that_stand_for_an_answer(answer, token):
    assert answer_of(token, ANSWERS) == answer


@pytest.mark.parametrize("token", OTHERS)
def test_tokens_that_stand_for_none(token):
    assert answer_of(token, ANSWERS) is None


def test_a_piece_that_two_answers_begin_with_counts_for_neither():
    assert answer_of("Ir", ("Irrelevant", "Irregular")) is None
    assert answer_of("Irrelevant", ("Irrelevant", "Irrelevantly")) == "Irrelevant"


@pytest.mark.parametrize("answers", [("Yes",), ("A", "Yes"), ("Yes", "Irrelevant")])
def test_one_letter_stands_for_no_longer_answer_even_if_it_could_be_no_other(answers):
    assert [answer_of(token, answers) for token in ("Y", " y", "", "Ye", "A")] == [
        None, None, None, "Yes", "A" if "A" in answers else None,
    ]  # fmt: skip


VOCABULARY = [t for tokens in COUNTED.values() for t in tokens] + [f"word{i}" for i in range(60)]


@given(st.lists(st.floats(-8, 8), min_size=len(VOCABULARY), max_size=len(VOCABULARY)), st.integers(1, 20))
def test_a_truncated_list_is_off_by_no_more_than_what_it_leaves_out(logits, top):
    logits = np.array(logits)
    p = np.exp(logits - logits.max())
    p /= p.sum()
    true = {a: p[[VOCABULARY.index(t) for t in tokens]].sum() for a, tokens in COUNTED.items()}
    best = np.argsort(-p, kind="stable")[:top]
    listed = [(VOCABULARY[i], math.log(p[i])) for i in best]
    answer = read_logprobs(listed, ANSWERS, YES_NO_IRRELEVANT.rate, most_other=1.0)
    if answer.status == Status.UNPARSABLE:
        assert answer.problem == reading.NO_OFFERED_ANSWER
        return
    strict = read_logprobs(listed, ANSWERS, YES_NO_IRRELEVANT.rate, most_other=0.25)
    assert strict == answer if answer.evidence["other"] <= 0.25 else strict.problem == mostly_other(0.25)
    unlisted = answer.evidence["unlisted"]
    assert unlisted == pytest.approx(1 - p[best].sum(), abs=1e-8)
    counted = [i for i in best if any(VOCABULARY[i] in tokens for tokens in COUNTED.values())]
    assert answer.evidence["other"] == pytest.approx(1 - p[counted].sum(), abs=1e-8)
    assert abs(answer.rating - (true["Yes"] - true["No"])) <= unlisted + 1e-8
    assert abs(answer.relevance - (1 - true["Irrelevant"])) <= unlisted + 1e-8


@pytest.mark.parametrize(
    ("probabilities", "problem"),
    [
        ({"<think>": 0.9999, "Yes": 1e-6, "No": 5e-7}, mostly_other(0.5)),
        ({"**": 0.99, " Yes": 0.002, "No": 0.004}, mostly_other(0.5)),
        ({"Yes": 0.499, "Sure": 0.501}, mostly_other(0.5)),
        ({"Yes": 0.4}, mostly_other(0.5)),
        ({"Yes": 0.501}, ""),
        ({"Yes": 0.25, "no": 0.25, "Ir": 0.001}, ""),
        ({"Sure": 0.9}, reading.NO_OFFERED_ANSWER),
        ({"Yes": 1.0, "No": 1.0, "Irrelevant": 1.0}, reading.TOO_LIKELY),
        ({"Yes": 0.9, "No": 0.11, "Sure": 0.02}, ""),
        ({}, "no log-probabilities"),
    ],
)
def test_a_rating_needs_most_of_the_probability(probabilities, problem):
    listed = [(token, math.log(p)) for token, p in probabilities.items()]
    answer = read_logprobs(listed, ANSWERS, YES_NO_IRRELEVANT.rate, "raw")
    assert answer.problem == problem and (answer.rating is None) == bool(problem)
    if problem:
        assert answer.status is Status.UNPARSABLE and answer.evidence == {"raw": "raw"}


def test_a_token_that_cannot_come_has_no_probability():
    answer = read_logprobs([("Yes", 0.0), ("No", -9999.0), ("Ir", -math.inf)], ANSWERS, YES_NO_IRRELEVANT.rate)
    assert answer.rating == 1.0 and answer.relevance == 1.0 and answer.evidence["logprobs"][2] == ("Ir", None)


@pytest.mark.parametrize(
    ("text", "rating"),
    [("0.7", 0.7), (" 1", 1.0), ("0", 0.0), (".25", 0.25), ("Rating: 0.9.", 0.9), ("1.0\n", 1.0)]
    + [("**0.7**", 0.7), ("-0.0", 0.0), ('{"rating": 0.7}', 0.7), ("1e-1", 0.1), ("It is 0.5, fairly.", 0.5)],
)
def test_numbers(text, rating):
    read = read_number(text).rating
    assert read == rating and math.copysign(1, read) == 1


@pytest.mark.parametrize(
    "text",
    ["", "high", "0.2 or 0.3", "7/10", "80%", "1.2", "-0.5", "10", "0.7%", "1 %", "0.5 percent", "\u22120.5", "0,7"]
    + [
        "1. First, the response says",
        "1) It is kind",
        "- 1. Kind",
        "Thoughts:\n1. It is kind.",
        "0.7.1",
        "1\u00bd",
        "1e9",
    ]
    + ["9" * 5000, "0.5" * 1000, "nan", "1st", "V1", "0x1"],
)
def test_what_is_no_rating_keeps_its_text(text):
    answer = read_number(text)
    assert answer.status == Status.UNPARSABLE and answer.rating is None and answer.evidence == {"raw": text[:2000]}
