"""Replies of every dialect: what was said, why it ended, and that no malformed one is read as an answer."""

import copy
import dataclasses
import json
import math
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from encore_jax.http.replies import ERROR_BODY
from encore_jax.judge import replies
from encore_jax.judge.pairwise import LETTER, SAFE_AND_HELPFUL
from encore_jax.judge.prompts import NUMERIC, YES_NO_IRRELEVANT
from encore_jax.judge.question import Status
from encore_jax.judge.replies import (
    BAD_LOGPROBS,
    NO_ANSWER,
    NO_LOGPROBS,
    NO_TEXT,
    ONLY_REASONING,
    OPEN_REASONING,
    without_reasoning,
)
from encore_jax.judge.request import request_format
from encore_jax.judge.token_logprobs import reply_logprobs

TOP = (("Yes", -0.25), ("No", -2.0), ("Ir", -3.0))
KINDS = {
    "chat": request_format(YES_NO_IRRELEVANT, "m"),
    "completions": request_format(YES_NO_IRRELEVANT, "m", api="completions"),
    "number": request_format(NUMERIC, "m"),
    "number, completions": request_format(NUMERIC, "m", api="completions"),
    "verdict": request_format(SAFE_AND_HELPFUL, "m"),
    "letter": request_format(LETTER, "m"),
}
TEXTS = {"number": "0.7", "verdict": "A is careful. [[A]]"}
FIRST = ("chat", "completions", "letter")


def reply(kind, text=None, **choice):
    """A sound reply to a question of this kind; `choice` adds to it."""
    text = text if text is not None else TEXTS.get(kind.split(",")[0], "Yes")
    top = (("A", -0.25), ("B", -2.0)) if kind == "letter" else TOP
    listed = [{"token": t, "logprob": p, "bytes": None} for t, p in top]
    if "completions" in kind:
        logprobs = {"tokens": [top[0][0]], "top_logprobs": [dict(top)]}
        return {"choices": [{"index": 0, "text": text, "logprobs": logprobs} | choice]}
    logprobs = {"content": [dict(listed[0], top_logprobs=listed)]}
    return {"choices": [{"index": 0, "message": {"role": "assistant", "content": text}, "logprobs": logprobs} | choice]}


def read(kind, body):
    return KINDS[kind].read(json.loads(json.dumps(body)))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    "reason",
    ["absent", None, "", "stop", "STOP", " Stop ", "eos", "eos_token", "end_turn", "stop_sequence", "COMPLETE"]
    + [{"type": "stop"}],
)
def test_an_answer_that_ended_by_itself_is_read(kind, reason):
    answer = read(kind, reply(kind, **({} if reason == "absent" else {"finish_reason": reason})))
    assert answer.status is Status.OK
    assert answer.rating == pytest.approx({"number": 0.7, "verdict": 1.0, "letter": 1.0}.get(
        kind.split(",")[0], math.exp(-0.25) - math.exp(-2.0)
    ))  # fmt: skip


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    "reason", ["length", "LENGTH", "max_tokens", "MAX_TOKENS", "model_length", {"type": "length", "length": 8}]
)
def test_an_answer_that_was_cut_off_is_no_rating_but_one_token_is_all_that_a_first_token_needs(kind, reason):
    answer = read(kind, reply(kind, finish_reason=reason))
    if kind in FIRST:
        assert answer.status is Status.OK
    else:
        tokens = {"number": 8, "verdict": 256}[kind.split(",")[0]]
        assert (answer.status, answer.problem) == (Status.UNPARSABLE, f"cut off after {tokens} tokens")
        assert answer.rating is None and answer.evidence["raw"]


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind not in FIRST])
@pytest.mark.parametrize("text", ["", "0.7 and"])
def test_the_evidence_of_a_text_without_a_rating_is_the_text_or_where_there_is_none_the_reply(kind, text):
    body = reply(kind, text, finish_reason="length")
    raw = read(kind, body).evidence["raw"]
    assert raw == text if text else json.loads(raw) == body


STOPS = {
    "content_filter": replies.FILTERED,
    "SAFETY": replies.FILTERED,
    "tool_calls": replies.CALLED_TOOL,
    "function_call": replies.CALLED_TOOL,
    "refusal": replies.REFUSED,
    "error": "ended for 'error'",
    "abort": "ended for 'abort'",
    "a\x1b[31m": "ended for 'a\\\\x1b[31m'",
    "x" * 5000: "ended for 'xxxx",
    7: "ended for '7'",
    True: "ended for 'True'",
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("reason", STOPS, ids=lambda reason: str(reason)[:20])
def test_an_answer_that_ended_otherwise_is_unparsable_by_name(kind, reason):
    answer = read(kind, reply(kind, finish_reason=reason))
    assert answer.status is Status.UNPARSABLE and answer.problem.startswith(STOPS[reason])
    assert answer.problem.isprintable() and len(answer.problem) < 80


def test_where_no_reason_is_given_the_tokens_used_tell():
    body = reply("number")
    assert read("number", body | {"usage": {"completion_tokens": 7}}).rating == 0.7
    assert read("number", body | {"usage": {"completion_tokens": 8}}).problem == "cut off after 8 tokens"
    body["choices"][0]["finish_reason"] = "stop"
    assert read("number", body | {"usage": {"completion_tokens": 8}}).rating == 0.7
    for usage in (None, [], {"completion_tokens": "8"}, {"completion_tokens": None}):
        assert read("number", reply("number") | {"usage": usage}).rating == 0.7


def test_a_limit_by_another_name_and_none_at_all():
    body = reply("number", finish_reason="length")
    longer = request_format(NUMERIC, "m", extra={"max_completion_tokens": 4096})
    assert longer.read(body).problem == "cut off after 4,096 tokens"
    unlimited = request_format(NUMERIC, "m", extra={"max_tokens": None})
    assert unlimited.read(body).problem == "cut off at the server's limit of tokens"


MESSAGES = {
    "refusal": ({"content": None, "refusal": "I cannot help with that"}, replies.REFUSED),
    "tool calls": ({"content": None, "tool_calls": [{"id": "1"}]}, replies.CALLED_TOOL),
    "tool calls beside text": ({"content": "0.7", "tool_calls": [{"id": "1"}]}, replies.CALLED_TOOL),
    "reasoning field": ({"content": None, "reasoning_content": "I think 0.3"}, ONLY_REASONING),
    "reasoning and empty": ({"content": "", "reasoning": "0.3"}, ONLY_REASONING),
    "reasoning and blank": ({"content": " \n", "thinking": "0.3"}, ONLY_REASONING),
    "null": ({"content": None}, NO_TEXT),
    "absent": ({}, NO_TEXT),
    "number": ({"content": 0.7}, NO_TEXT),
    "object": ({"content": {"text": "0.7"}}, NO_TEXT),
    "no parts": ({"content": []}, NO_TEXT),
    "image part": ({"content": [{"type": "text", "text": "0.7"}, {"type": "image_url"}]}, NO_TEXT),
    "part without text": ({"content": [{"type": "text"}]}, NO_TEXT),
    "only thinking part": ({"content": [{"type": "thinking", "thinking": "0.3"}]}, ONLY_REASONING),
    "text part": ({"content": [{"type": "text", "text": "0.7"}]}, ""),
    "two parts": ({"content": [{"type": "text", "text": "0."}, {"type": "text", "text": "7"}]}, ""),
    "thinking and text": ({"content": [{"type": "thinking", "thinking": "0.3"}, {"type": "text", "text": "0.7"}]}, ""),
    "reasoning beside text": ({"content": "0.7", "reasoning_content": "0.3"}, ""),
    "empty reasoning": ({"content": "0.7", "reasoning_content": "", "tool_calls": [], "refusal": None}, ""),
}


@pytest.mark.parametrize("name", MESSAGES)
def test_messages_of_every_form(name):
    message, problem = MESSAGES[name]
    answer = read("number", {"choices": [{"index": 0, "message": message, "finish_reason": "stop"}]})
    assert answer.problem == problem and answer.rating == (None if problem else 0.7)


THOUGHTS = [
    "<think>Maybe 0.3 or so</think>\n{}",
    "<think>a 0.3 <think>b</think> c</think>{}",
    "Maybe 0.3 it is\n</think>\n\n{}",
    "<thinking>0.3</thinking>{}",
    "<Reasoning>0.3</Reasoning> {}",
    "<reasoning effort='low'>0.3</reasoning>{}",
    "<seed:think>0.3</seed:think>{}",
    "< think >0.3</ think >{}",
    "[THINK]0.3[/THINK]{}",
    "◁think▷0.3◁/think▷{}",
    "<|START_THINKING|>0.3<|END_THINKING|>{}",
    "<|begin_of_thought|>0.3<|end_of_thought|>{}",
    "<|channel|>analysis<|message|>I think 0.3<|end|><|start|>assistant<|channel|>final<|message|>{}",
    "<think>0.3</thinking>{}",
    "<think></think>{}",
    "<think>1</think>{}<think>0</think>",
]


@pytest.mark.parametrize("thought", THOUGHTS)
@pytest.mark.parametrize(("kind", "text", "rating"), [("number", "0.7", 0.7), ("verdict", "So: [[B]]", 0.0)])
def test_reasoning_is_no_answer(thought, kind, text, rating):
    thought = thought.replace("0.3", "0.3 [[A]]") if kind == "verdict" else thought
    assert read(kind, reply(kind, thought.format(text), finish_reason="stop")).rating == rating
    inside = thought.split("{}")[0].split("</")[0].split("[/")[0].split("◁/")[0].split("<|END")[0].split("<|end")[0]
    if inside.lstrip().startswith(("<", "[", "◁")):
        cut = read(kind, reply(kind, inside + text, finish_reason="stop"))
        assert cut.problem == OPEN_REASONING and cut.rating is None, "reasoning that never ends is none either"
        assert read(kind, reply(kind, inside, finish_reason="length")).problem.startswith("cut off after")
    alone = read(kind, reply(kind, thought.format("").removesuffix("<think>0</think>"), finish_reason="stop"))
    assert alone.problem == ONLY_REASONING


@pytest.mark.parametrize(
    "text", ["0.7", "<b>0.7</b>", "I think 0.7", "the [analysis] says", "<thinker>", "", "a < b > c"]
)
def test_text_without_marks_is_all_answer(text):
    assert without_reasoning(text) == (text, False)


@given(
    st.lists(
        st.sampled_from(["<think>", "</think>", "<thinking>", "x", " ", "\n", "<", ">", "[THINK]", "0.5"]), max_size=30
    )
)
def test_nothing_between_marks_survives(parts):
    text, is_open = without_reasoning("".join(parts) + "<think>secret</think>")
    assert "secret" not in text


def test_reasoning_in_a_field_of_its_own_spoils_the_first_token_unless_the_text_begins_with_it():
    body = reply("chat", "")
    body["choices"][0]["message"] |= {"content": "", "reasoning_content": "Yes"}
    assert read("chat", body).problem == ONLY_REASONING
    body["choices"][0]["message"] |= {"content": "Yes", "reasoning_content": "It is kind, so"}
    assert read("chat", body).status is Status.OK
    body["choices"][0]["message"]["content"] = "No"
    assert read("chat", body).problem == ONLY_REASONING


# Log-probabilities


def test_both_shapes_of_reply_hold_the_same_log_probabilities():
    assert reply_logprobs(reply("chat")) == reply_logprobs(reply("completions")) == (list(TOP), "")


def listed(*pairs):
    return {"choices": [{"message": {"content": "Yes"}, "logprobs": {"content": [{"token": "Yes", "top_logprobs": [
        {"token": token, "logprob": value} for token, value in pairs
    ]}]}}]}  # fmt: skip


@pytest.mark.parametrize(
    "bad", [None, "-2.5", True, [], {}, math.nan, 0.5, 1.0, math.inf, 10**400, -(10**400)], ids=repr
)
def test_one_malformed_entry_spoils_the_list(bad):
    body = listed(("Yes", -0.2), ("No", bad))
    assert reply_logprobs(body) == ([], BAD_LOGPROBS)
    assert KINDS["chat"].read(body).problem == BAD_LOGPROBS
    plain = {"choices": [{"text": "Yes", "logprobs": {"top_logprobs": [{"Yes": -0.2, "No": bad}]}}]}
    assert reply_logprobs(plain) == ([], BAD_LOGPROBS)


@pytest.mark.parametrize("token", [None, 3, b"Yes", ["Yes"], True], ids=repr)
def test_a_token_that_is_no_text_spoils_the_list(token):
    assert reply_logprobs(listed(("Yes", -0.2), (token, -1.0))) == ([], BAD_LOGPROBS)


def test_sound_numbers_of_every_kind():
    pairs, problem = reply_logprobs(listed(("No", -9999.0), ("Yes", 1e-6), ("Ir", -math.inf), ("Sure", -7)))
    assert not problem and pairs == [("Yes", 0.0), ("Sure", -7.0), ("No", -9999.0), ("Ir", -math.inf)]
    twice = KINDS["chat"].read(listed(("Yes", -0.5), ("Yes", -0.5), ("No", -1.0)))
    assert twice.rating == pytest.approx(math.exp(-0.5) - math.exp(-1.0)), "listed twice is one token"
    assert KINDS["chat"].read(listed(("Yes", -0.5), ("Yes", -1.5))).rating == pytest.approx(
        math.exp(-0.5) + math.exp(-1.5)
    )
    alone = {"choices": [{"logprobs": {"content": [{"token": "Yes", "logprob": -0.25, "top_logprobs": []}]}}]}
    assert KINDS["chat"].read(alone).rating == pytest.approx(math.exp(-0.25))
    assert KINDS["chat"].read(listed(*((f"t{i}", -9.0) for i in range(1001)))).problem == BAD_LOGPROBS


@pytest.mark.parametrize(
    ("logprobs", "problem"),
    [
        (None, NO_LOGPROBS),
        ({}, NO_LOGPROBS),
        ({"content": None}, NO_LOGPROBS),
        ({"content": []}, NO_LOGPROBS),
        ({"top_logprobs": []}, NO_LOGPROBS),
        ({"top_logprobs": [{}]}, NO_LOGPROBS),
        ({"tokens": ["Yes"]}, NO_LOGPROBS),
        ([], NO_LOGPROBS),
        ("text", BAD_LOGPROBS),
        (True, BAD_LOGPROBS),
        ({"content": [None]}, BAD_LOGPROBS),
        ({"content": {"0": {}}}, BAD_LOGPROBS),
        ({"content": [{"token": "Yes", "logprob": None}]}, BAD_LOGPROBS),
        ({"content": [{"token": "Yes", "top_logprobs": "Yes"}]}, BAD_LOGPROBS),
        ({"content": [{"token": "Yes", "top_logprobs": [["Yes", -1]]}]}, BAD_LOGPROBS),
        ({"top_logprobs": [None]}, BAD_LOGPROBS),
        ({"top_logprobs": [["Yes"]]}, BAD_LOGPROBS),
        ({"top_logprobs": {"Yes": -1.0}}, BAD_LOGPROBS),
    ],
)
def test_absent_and_malformed_log_probabilities_have_names_of_their_own(logprobs, problem):
    body = {"choices": [{"message": {"content": "Yes"}, "logprobs": logprobs}]}
    assert KINDS["chat"].read(body).problem == problem


# Whole bodies


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"choices": []},
        {"choices": None},
        {"choices": [None]},
        {"choices": {"0": 1}},
        {"choices": "x"},
        [],
        None,
        "x",
        3,
    ],
)
@pytest.mark.parametrize("kind", KINDS)
def test_a_body_without_an_answer(kind, body):
    answer = KINDS[kind].read(body)
    assert answer.problem == NO_ANSWER and answer.rating is None


def test_the_answer_of_index_0_is_read_wherever_it_stands():
    body = reply("number", "0.7")
    other = copy.deepcopy(body["choices"][0]) | {"index": 1}
    other["message"] = {"content": "0.1"}
    body["choices"].insert(0, other)
    assert read("number", body).rating == 0.7


@pytest.mark.parametrize(
    "error", [{"message": "Provider returned error", "code": 502}, "overloaded", ["a"], {"error": {"message": "deep"}}]
)
@pytest.mark.parametrize("choices", [{}, {"choices": []}, {"choices": None}])
def test_an_error_in_place_of_an_answer_failed_with_its_words(error, choices):
    answer = read("number", {"error": error, **choices})
    assert (answer.status, answer.problem) == (Status.FAILED, ERROR_BODY) and answer.evidence["words"]
    assert read("number", reply("number") | {"error": None}).rating == 0.7


ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)


def places(value, path=()):
    yield path
    if isinstance(value, dict | list):
        for key in value if isinstance(value, dict) else range(len(value)):
            yield from places(value[key], (*path, key))


@settings(max_examples=60, deadline=None)
@given(st.sampled_from(sorted(KINDS)), ANYTHING, st.integers(0, 10**6))
def test_whatever_stands_anywhere_in_a_reply_reading_it_never_raises(kind, value, seed):
    body = reply(kind, finish_reason="stop")
    body |= {"usage": {"completion_tokens": 1}, "error": None}
    path = random.Random(seed).choice(list(places(body)))
    holder = [body]
    target, key = holder, 0
    for step in path:
        target, key = target[key], step
    target[key] = value
    answer = KINDS[kind].read(holder[0])
    assert (answer.rating is not None) == (answer.status is Status.OK)
    if answer.rating is not None:
        low, high = KINDS[kind].identity.scale
        assert low <= answer.rating <= high and answer.relevance in (
            None,
            pytest.approx(answer.relevance, nan_ok=False),
        )
    json.dumps(dataclasses.asdict(answer))
    assert answer.problem == "" or len(answer.problem) < 100
