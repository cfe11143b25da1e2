"""From tokens and texts to ratings, against sums over a whole vocabulary."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from encore_jax.judge import reading
from encore_jax.judge.prompts import YES_NO_IRRELEVANT
from encore_jax.judge.question import Status
from encore_jax.judge.reading import answer_of, read_logprobs, read_number, reply_logprobs, reply_text

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


VOCABULARY = [t for tokens in COUNTED.values() for t in tokens] + [f"word{i}" for i in range(60)]


@given(st.lists(st.floats(-8, 8), min_size=len(VOCABULARY), max_size=len(VOCABULARY)), st.integers(1, 20))
def test_a_truncated_list_is_off_by_no_more_than_what_it_leaves_out(logits, top):
    logits = np.array(logits)
    p = np.exp(logits - logits.max())
    p /= p.sum()
    true = {a: p[[VOCABULARY.index(t) for t in tokens]].sum() for a, tokens in COUNTED.items()}
    best = np.argsort(-p, kind="stable")[:top]
    answer = read_logprobs([(VOCABULARY[i], math.log(p[i])) for i in best], ANSWERS, YES_NO_IRRELEVANT.rate)
    if answer.status == Status.UNPARSABLE:
        assert answer.problem == reading.NO_OFFERED_ANSWER
        return
    unlisted = answer.evidence["unlisted"]
    assert unlisted == pytest.approx(1 - p[best].sum(), abs=1e-8)
    counted = [i for i in best if any(VOCABULARY[i] in tokens for tokens in COUNTED.values())]
    assert answer.evidence["other"] == pytest.approx(1 - p[counted].sum(), abs=1e-8)
    assert abs(answer.rating - (true["Yes"] - true["No"])) <= unlisted + 1e-8
    assert abs(answer.relevance - (1 - true["Irrelevant"])) <= unlisted + 1e-8


def test_both_shapes_of_reply_hold_the_same_log_probabilities():
    listed = {"Yes": -0.1, " no": -3.0, "Ir": -4.5}
    chat = [{"token": t, "logprob": p, "bytes": []} for t, p in listed.items()]
    in_chat = {"choices": [{"logprobs": {"content": [{"token": "Yes", "logprob": -0.1, "top_logprobs": chat}]}}]}
    plain = {"choices": [{"text": "Yes", "logprobs": {"tokens": ["Yes"], "top_logprobs": [listed]}}]}
    assert reply_logprobs(in_chat) == reply_logprobs(plain) == list(listed.items())


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"choices": []},
        {"choices": None},
        {"choices": [None]},
        {"choices": [{"logprobs": None}]},
        {"choices": [{"logprobs": {"content": []}}]},
        {"choices": [{"logprobs": {"content": [None]}}]},
        {"choices": [{"logprobs": {"content": [{"token": "Yes", "logprob": None}]}}]},
        {"choices": [{"logprobs": {"content": [{"top_logprobs": [{"token": 3, "logprob": -1}]}]}}]},
        {"choices": [{"logprobs": {"top_logprobs": [{"Yes": float("nan")}]}}]},
        {"choices": [{"logprobs": {"top_logprobs": [{"Yes": 0.5}]}}]},
        {"choices": [{"message": {"content": None}}]},
        {"choices": {"0": 1}},
    ],
)
def test_whatever_a_server_sends_reading_it_never_raises(body):
    assert reply_logprobs(body) == []
    assert reply_text(body) is None
    assert read_logprobs(reply_logprobs(body), ANSWERS, YES_NO_IRRELEVANT.rate, body).problem == reading.NO_LOGPROBS


@pytest.mark.parametrize(
    ("text", "rating"), [("0.7", 0.7), (" 1", 1.0), ("0", 0.0), (".25", 0.25), ("Rating: 0.9.", 0.9), ("1.0\n", 1.0)]
)
def test_numbers(text, rating):
    assert read_number(text).rating == rating


@pytest.mark.parametrize("text", ["", "high", "0.2 or 0.3", "7/10", "80%", "1.2", "-0.5", "10"])
def test_what_is_no_rating_keeps_its_text(text):
    answer = read_number(text)
    assert answer.status == Status.UNPARSABLE and answer.rating is None and answer.evidence == {"raw": text}
