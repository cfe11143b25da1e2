"""Several rules in one call: each rule's answer is read by itself, and kept apart from those to isolated questions."""

import json
import math
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import encore_jax as enc
from encore_jax.data import Comparison, Message
from encore_jax.errors import InputError
from encore_jax.judge.calls import replies as call_replies
from encore_jax.judge.calls.call import asked_text, by_call, letter, rule_calls
from encore_jax.judge.calls.prompts import NUMERIC_CALL, SCHEMAS, YES_NO_CALL, call_prompt
from encore_jax.judge.calls.replies import (
    MORE_ENTRIES,
    MORE_OBJECTS,
    NO_ENTRY,
    NO_OBJECT,
    NOT_OFFERED,
    OTHER_TOKENS,
    read_entries,
)
from encore_jax.judge.calls.request import call_request_format
from encore_jax.judge.pairwise import LETTER
from encore_jax.judge.prompts import NUMERIC, YES_NO_IRRELEVANT
from encore_jax.judge.question import Question, Status, rating_questions
from encore_jax.judge.reading import NO_NUMBER, OUT_OF_RANGE, mostly_other, read_logprobs
from encore_jax.judge.replies import BAD_LOGPROBS, NO_LOGPROBS, OPEN_REASONING, REFUSED
from encore_jax.judge.request import request_format
from encore_jax.rules import Rule, RulePool
from tests.judge.call_reply import call_reply

ASKING = {prompt.name: call_request_format(prompt, "m") for prompt in (YES_NO_CALL, NUMERIC_CALL)}
YES_NO, NUMBERS = ASKING[YES_NO_CALL.name], ASKING[NUMERIC_CALL.name]
LIKELY = {"A": {"Yes": 0.75, "No": 0.125}, "B": {" no": 0.5, "Yes": 0.25}, "C": {"Ir": 0.5, "Yes": 0.25, "No": 0.125}}


def read(asking, body, rules=3):
    return asking.read_call(json.loads(json.dumps(body)), rules)


def problems(answers):
    return [answer.problem for answer in answers]


@pytest.mark.parametrize("api", ["chat", "completions"])
def test_every_rule_has_the_rating_of_its_own_token(api):
    answers = read(YES_NO, call_reply(LIKELY, api))
    for answer, likely in zip(answers, LIKELY.values(), strict=True):
        alone = read_logprobs([(t, math.log(p)) for t, p in likely.items()], YES_NO_CALL.answers, YES_NO_CALL.rate)
        assert answer.status is Status.OK
        assert (answer.rating, answer.relevance) == pytest.approx((alone.rating, alone.relevance))
    assert [answer.rating for answer in answers] == pytest.approx([0.625, -0.25, 0.125])
    assert answers[2].relevance == pytest.approx(0.5)


def test_a_server_that_does_not_write_the_likeliest_answer_is_told_of_once(caplog):
    asking = call_request_format(YES_NO_CALL, "m", most_other=1.0)
    likely = {
        "A": {"Yes": 0.45, "No": 0.5},  # as near as rounding
        "B": {"No": 0.25, "Yes": 0.75},
        "C": {"Ir": 0.2, "Yes": 0.4},
    }
    written = [answer.evidence.get("written") for answer in read(asking, call_reply(likely))]
    assert written == [None, "No", "Irrelevant"]
    assert [answer.rating for answer in read(asking, call_reply(likely))] == pytest.approx([-0.05, 0.5, 0.4])
    (said,) = [record.getMessage() for record in caplog.records]
    assert "wrote 'No' (rule B of a call)" in said and '{"repeat_penalty": 1.0}' in said
    assert not any("written" in answer.evidence for answer in read(YES_NO, call_reply(LIKELY)))


@pytest.mark.parametrize("quote", ['"', ' "', '": "'])
def test_a_value_that_shares_a_token_with_what_stands_before_it_is_read_behind_that(quote):
    body = call_reply(LIKELY, quote=quote)
    assert [answer.rating for answer in read(YES_NO, body)] == pytest.approx([0.625, -0.25, 0.125])


def test_alternatives_that_cannot_stand_behind_what_was_written_count_for_no_answer():
    body = call_reply({"A": {"Yes": 0.5}}, quote=' "')
    (listed,) = [entry for entry in body["choices"][0]["logprobs"]["content"] if entry["token"] == ' "Yes']
    listed["top_logprobs"] += [
        {"token": "No", "logprob": math.log(0.25)},
        {"token": ' "No', "logprob": math.log(0.125)},
    ]
    (answer,) = read(YES_NO, body, 1)
    assert answer.rating == pytest.approx(0.375) and answer.evidence["other"] == pytest.approx(0.375)


def test_numbers_are_read_as_they_are_of_one_rule():
    text = '{"A": 0.7, "B": "0.25", "C": 7, "D": null, "E": 1e-1, "F": "high"}'
    answers = read(NUMBERS, call_reply(text=text), 6)
    assert [answer.rating for answer in answers] == [0.7, 0.25, None, None, 0.1, None]
    assert problems(answers) == ["", "", OUT_OF_RANGE, NO_NUMBER, "", NO_NUMBER]


BROKEN = {
    "": [NO_OBJECT] * 3,
    "Yes, no, irrelevant.": [NO_OBJECT] * 3,
    "[0.1, 0.2, 0.3]": [NO_OBJECT] * 3,
    '{"A": 0.5, "B": 0.5}': ["", "", NO_ENTRY],
    '{"A": 0.5, "B": 0.5, "C": 0.5, "D": 0.5, "note": {"A": 0.1}}': ["", "", ""],
    '{"A": 0.5, "A": 0.5, "B": 0.5, "C": 0.1}': [MORE_ENTRIES, "", ""],
    '{"A": 0.5, "a": 0.6, "B": 0.5, "C": 0.1}': [MORE_ENTRIES, "", ""],
    '{"A": 0.5, "B": [0.5], "C": {"C": 0.5}}': ["", NO_NUMBER, NO_NUMBER],
    'Sure! ```json\n{ "A" : 0.5 ,\n "B" : 0.25 , "C":1 }\n``` I hope {this} helps.': ["", "", ""],
    '{"A": 0.5, "B": 0.5, "C": 0.5} {"A": 0.1, "B": 0.1, "C": 0.1}': [MORE_OBJECTS] * 3,
    '{"A": 0.5, "B": 0.5, "C": 0': ["", "", NO_ENTRY],
    '{"A": 0.5, "B" 0.5, "C": 0.5}': ["", NO_ENTRY, NO_ENTRY],
    '{"A": 0.5; "B": 0.5}': [NO_OBJECT] * 3,
    '{"A": NaN, "B": Infinity, "C": true}': [NO_NUMBER] * 3,
    '{"A": "0.5", "B": "1/2", "C": ""}': ["", call_replies.read_number("1/2").problem, NO_NUMBER],
}


@pytest.mark.parametrize("text", BROKEN, ids=lambda text: text[:40] or "nothing")
def test_one_rules_bad_answer_costs_no_other_rule_its_own(text):
    answers = read(NUMBERS, call_reply(text=text or " "))
    assert problems(answers) == BROKEN[text]
    for answer, problem in zip(answers, BROKEN[text], strict=True):
        assert (answer.status is Status.OK) == (not problem) == (answer.rating is not None)
        assert problem == "" or len(answer.evidence["raw"]) <= 2000


def test_what_was_complete_before_a_cut_counts_and_the_rest_is_cut_off():
    body = call_reply(text='{"A": 0.5, "B": 0.2', finish_reason="length")
    assert problems(read(NUMBERS, body)) == ["", "cut off after 80 tokens", "cut off after 80 tokens"]
    assert problems(read(NUMBERS, call_reply(text="{", finish_reason="length"))) == ["cut off after 80 tokens"] * 3


@pytest.mark.parametrize(
    ("text", "choice", "problem"),
    [
        ('{"A": 0.5}', {"finish_reason": "refusal"}, REFUSED),
        ('<think>{"A": 0.5, "B": 0.5, "C": 0.5}', {}, OPEN_REASONING),
    ],
)
def test_what_is_no_answer_to_one_rule_is_none_to_several(text, choice, problem):
    assert problems(read(NUMBERS, call_reply(text=text, **choice))) == [problem] * 3


@pytest.mark.parametrize("asking", ASKING.values(), ids=list(ASKING))
def test_reasoning_before_the_object_is_not_read(asking):
    likely = LIKELY if asking is YES_NO else {name: {"0.5": 0.9} for name in "ABC"}
    sound = call_reply(likely)
    before = '<think>{"A": 0.1, "B": "No"}</think>'
    choice = sound["choices"][0]
    choice["message"]["content"] = before + choice["message"]["content"]
    choice["logprobs"]["content"].insert(0, {"token": before, "logprob": -0.1, "top_logprobs": []})
    assert read(asking, sound) == read(asking, call_reply(likely))


def test_without_the_tokens_of_its_text_no_rating_is_made_of_probabilities():
    none, other, bad = (call_reply(LIKELY) for _ in range(3))
    del none["choices"][0]["logprobs"]
    other["choices"][0]["logprobs"]["content"].pop(0)
    bad["choices"][0]["logprobs"]["content"][1]["token"] = 3
    assert problems(read(YES_NO, none)) == [NO_LOGPROBS] * 3
    assert problems(read(YES_NO, other)) == [OTHER_TOKENS] * 3
    assert problems(read(YES_NO, bad)) == [BAD_LOGPROBS] * 3
    one = call_reply(LIKELY)
    (value,) = [entry for entry in one["choices"][0]["logprobs"]["content"] if entry["token"] == " no"]
    value["top_logprobs"] = "much"
    assert problems(read(YES_NO, one)) == ["", BAD_LOGPROBS, ""]


def test_a_value_that_was_not_offered_and_probability_elsewhere_are_no_ratings():
    likely = {"A": {"Maybe": 0.9, "Yes": 0.1}, "B": {"Yes": 0.3, "Well": 0.6}, "C": {"No": 0.9}}
    answers = read(YES_NO, call_reply(likely))
    assert problems(answers) == [NOT_OFFERED, mostly_other(0.5), ""]
    loose = call_request_format(YES_NO_CALL, "m", most_other=1.0)
    assert problems(read(loose, call_reply(likely))) == [NOT_OFFERED, "", ""]


@settings(max_examples=300, deadline=None)
@given(st.text(alphabet='{}[]":,ABab01.\\ YesNo\n', max_size=60), st.booleans())
def test_any_text_is_read_without_an_error_and_no_rule_is_made_up(text, numbers):
    answers = read(NUMBERS if numbers else YES_NO, call_reply(text=text or " "), 2)
    entries, _ = read_entries(text)
    for i, answer in enumerate(answers):
        stated = [entry for entry in entries if entry.name == letter(i)]
        assert answer.status is not Status.OK or len(stated) == 1
    try:
        truth = json.loads(text)
    except ValueError:
        return
    if isinstance(truth, dict) and set(truth) <= {"A", "B"} and all(type(v) in (int, float) for v in truth.values()):
        assert {entry.name: float(entry.value) for entry in entries} == {k: float(v) for k, v in truth.items()}


@pytest.mark.parametrize("piece", ['{"', "{", '{"a":', '"a":[],', '{"A": 1, ', '\\"', '{"a":{', '[{"'])
def test_reading_takes_time_in_proportion_to_the_length(piece):
    start = time.perf_counter()
    read_entries("{" + piece * (200_000 // len(piece)))
    assert time.perf_counter() - start < 5.0


def test_what_is_asked_names_every_rule_once_and_the_conversation_first():
    pool = RulePool.shipped("safety_10")
    pair = Comparison((Message("user", "Hi"),), ("Hello!", "Go."), 0)
    first, second = by_call(rating_questions([pair], pool, 0))
    text = YES_NO.body(first[0])["messages"][-1]["content"]
    assert all(text.count(f"\n{letter(i)}: {rule.text}") == 1 for i, rule in enumerate(pool))
    assert text.index("Hello!") < text.index(pool.rules[0].text) and len(first) == len(second) == 10
    assert [YES_NO.body(question) for question in first] == [YES_NO.body(first[0])] * 10


@pytest.mark.parametrize("how", SCHEMAS)
def test_the_shape_is_told_in_the_servers_own_way(how):
    asking = call_request_format(YES_NO_CALL, "m", structured=how)
    rules = tuple(RulePool.shipped("safety_10").rules[:3])
    body = asking.body(Question(None, (), "Hello!", rules[0], rules))
    schema = YES_NO_CALL.schema(3)
    assert schema["required"] == ["A", "B", "C"] and schema["properties"]["B"]["enum"] == ["Yes", "No", "Irrelevant"]
    assert (json.dumps(schema) in json.dumps(body)) == (how != "none")
    assert ("response_format" in body) == (how in SCHEMAS[:2]) and ("guided_json" in body) == (how == SCHEMAS[2])
    assert body["temperature"] == 0.0 and body["max_tokens"] == 80 and body["top_logprobs"] == 20
    without = call_request_format(YES_NO_CALL, "m", structured=how, extra={"response_format": None, "max_tokens": 9})
    body = without.body(Question(None, (), "Hello!", rules[0], rules))
    assert "response_format" not in body and body["max_tokens"] == 9


def test_identities_and_texts_tell_calls_from_isolated_questions_and_from_each_other():
    made = [
        request_format(YES_NO_IRRELEVANT, "m"),
        YES_NO,
        NUMBERS,
        call_request_format(YES_NO_CALL, "m", rules_per_call=5),
        call_request_format(YES_NO_CALL, "m", structured="none"),
        call_request_format(YES_NO_CALL.in_user_turn(), "m"),
        call_request_format(YES_NO_CALL, "m", extra={"max_tokens": 80}),
        call_request_format(YES_NO_CALL, "m", most_other=0.9),
        call_request_format(YES_NO_CALL, "m", revision="2"),
    ]
    assert len({asking.identity.digest for asking in made}) == len(made)
    a, b, c = (Rule(name, f"It is {name}.") for name in "abc")
    texts = [
        asked_text(a, call) for call in ((), (a,), (a, b), (b, a), (a, c), (a, b, c), (a, Rule("b", "It is big.")))
    ]
    assert len(set(texts)) == len(texts)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"rules_per_call": -1}, "rules_per_call: got -1"),
        ({"rules_per_call": 2.5}, "rules_per_call: got 2.5"),
        ({"rules_per_call": 0, "structured": "xml"}, "structured: 'xml' is unknown"),
        ({"rules_per_call": 0, "prompt": LETTER.name}, "asks about one thing at a time"),
        ({"rules_per_call": 0, "api": "grpc"}, "api: 'grpc' is unknown"),
        ({"rules_per_call": 0, "top": 99}, "top: got 99"),
    ],
)
def test_options_that_cannot_be_are_refused(change, told):
    with pytest.raises(InputError, match=told):
        enc.judges.server("http://127.0.0.1:9", model="m", **change)


def test_there_is_a_wording_of_lists_for_every_wording_of_ratings():
    for prompt in (YES_NO_IRRELEVANT, NUMERIC):
        several = call_prompt(prompt)
        assert (several.answers, several.scale, several.head) == (prompt.answers, prompt.scale, prompt.head)
        assert call_prompt(prompt.in_user_turn()) == several.in_user_turn()


@pytest.mark.parametrize(("rules", "size"), [(1, 0), (7, 0), (7, 3), (7, 7), (7, 99), (100, 26)])
def test_calls_hold_every_rule_once_in_the_pools_order(rules, size):
    pool = [Rule(f"r{i}", f"Number {i}.") for i in range(rules)]
    calls = rule_calls(pool, size)
    assert [rule for call in calls for rule in call] == pool and max(map(len, calls)) <= (size or rules)
    assert len({letter(i) for i in range(rules)}) == rules
