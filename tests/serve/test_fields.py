"""No field of a request is ignored that could change a score: it is read, or refused by name."""

import asyncio
import json

import pytest

from encore_jax.serve.app import Limits
from encore_jax.serve.fields import IN_MESSAGE, NOT_DONE, SILENT
from encore_jax.serve.metrics import Metrics
from tests.serve.asgi import request
from tests.serve.conftest import Made
from tests.serve.running import Lengths

CHAT = [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "No."}]
BODIES = {
    "/v1/score": {"prompt": "Hi", "responses": ["No."]},
    "/classify": {"messages": CHAT},
    "/v1/classify": {"input": "No."},
    "/pooling": {"input": ["No."]},
    "/get_reward": {"query": ["No."], "prompts": [""], "labels": [""]},
    "/rewards": {"prompts": ["Hi"], "completions": ["No."]},
}
OTHER = {
    "add_generation_prompt": True, "add_special_tokens": True, "continue_final_message": True,
    "chat_template": "{{ messages[0].content }}", "chat_template_kwargs": {"enable_thinking": False},
    "dimensions": 1, "documents": [{"text": "x"}], "embed_dtype": "bfloat16", "encoding_format": "base64",
    "endianness": "big", "images": ["x.png"], "media_io_kwargs": {"image": {}}, "mm_processor_kwargs": {"a": 1},
    "normalize": True, "padding": "max_length", "priority": 5, "softmax": True, "stream": True,
    "task": "token_classify", "tools": [{"type": "function"}], "truncate_prompt_tokens": 5, "truncation": True,
    "truncation_side": "left",
}  # fmt: skip
"""A value of every field that is not done which would change something."""

OTHER_IN_MESSAGE = {
    "annotations": [1], "audio": {"id": "x"}, "function_call": {"name": "f"}, "name": "Bob", "reasoning": "hm",
    "reasoning_content": "hm", "refusal": "no", "tool_call_id": "1", "tool_calls": [{"id": "1"}],
}  # fmt: skip


@pytest.fixture(scope="module")
def ask():
    app = Made(Lengths("length"), Metrics(), "", (), Limits())

    def ask(path, body, **options):
        return asyncio.run(request(app, path, body, **options))

    return ask


def refused(reply, name):
    assert reply.status == 400, reply
    where = reply.json()["error"]["where"]
    assert name in where, (name, reply)
    return reply.json()["error"]


@pytest.mark.parametrize("path", BODIES)
def test_what_is_not_done_is_refused_by_name_and_its_absence_is_taken(ask, path):
    assert OTHER.keys() == NOT_DONE.keys()
    body = BODIES[path]
    right = ask(path, body)
    assert right.status == 200
    numbers = {k: v for k, v in right.json().items() if k not in ("id", "created")}
    for name, (harmless, _) in NOT_DONE.items():
        refused(ask(path, body | {name: OTHER[name]}), name)
        for value in (None, *harmless):
            reply = ask(path, body | {name: value})
            assert reply.status == 200, (name, value, reply)
            assert {k: v for k, v in reply.json().items() if k not in ("id", "created")} == numbers
    for name in SILENT:
        assert ask(path, body | {name: "anything"}).status == 200
    assert refused(ask(path, body | {"temperature": 0}), "temperature")
    assert "chat_template?" in refused(ask(path, body | {"chat_templat": "x"}), "chat_templat")["fix"]
    assert refused(ask(path, body | {"model": "another"}), "model")
    assert ask(path, body | {"model": "lengths"}).status == 200
    assert refused(ask(path, body, query=b"softmax=true"), "query")
    assert refused(ask(path, body, query=b"prompts=pliain"), "query")


@pytest.mark.parametrize("value", [0, 0.0, "", "false", [], {}])
def test_a_value_of_another_type_is_not_the_harmless_one(ask, value):
    refused(ask("/classify", BODIES["/classify"] | {"softmax": value}), "softmax")


def places(message):
    """Wherever a request may have messages."""
    answer = {"role": "assistant", "content": "No."}
    yield "/classify", {"messages": [message, answer]}
    yield "/v1/score", {"prompt": [message], "responses": ["No."]}
    yield "/v1/score", {"items": [{"prompt": [message], "responses": ["No."]}]}
    yield "/rewards", {"prompts": [[message]], "completions": ["No."]}
    said = message | {"role": "assistant"}
    yield "/classify", {"messages": [{"role": "user", "content": "Hi"}, said]}
    yield "/rewards", {"prompts": ["Hi"], "completions": [[said]]}


def test_what_a_message_holds_besides_its_text_is_refused_by_name(ask):
    assert OTHER_IN_MESSAGE.keys() == IN_MESSAGE.keys()
    user = {"role": "user", "content": "Hi"}
    for name, (harmless, _) in IN_MESSAGE.items():
        for path, body in places(user | {name: OTHER_IN_MESSAGE[name]}):
            refused(ask(path, body), name)
        for value in (None, *harmless):
            for path, body in places(user | {name: value}):
                assert ask(path, body).status == 200, (path, name)
    for path, body in places(user | {"weight": 1}):
        refused(ask(path, body), "weight")


def part(text):
    return {"type": "text", "text": text}


def test_text_parts_are_joined_and_others_refused_by_name(ask):
    """The stub's score is the answer's length; the prompt's text is looked at by the real tokenizer's tests."""
    for parts in ([part("No.")], [part("N"), part("o.")], [part(""), part("No."), part("") | {"cache_control": {}}]):
        reply = ask("/classify", {"messages": [CHAT[0], {"role": "assistant", "content": parts}]})
        assert reply.json()["data"][0]["probs"] == [3.0]
        reply = ask("/rewards", {"prompts": [[CHAT[0] | {"content": parts}]], "completions": ["Yes."]})
        assert reply.json()["rewards"] == [4.0]
    for odd, name in (
        ({"type": "image_url", "image_url": {"url": "x"}}, "image_url"), ({"type": "input_audio"}, "input_audio"),
        ({"type": "video"}, "video"), ({"type": "text"}, "text"), ("No.", "part"),
        (part("x") | {"weight": 2}, "weight"),
        (part(3), "text"),
    ):  # fmt: skip
        for path, body in places({"role": "user", "content": [part("Hi"), odd]}):
            reply = ask(path, body)
            assert reply.status == 400 and ".content[1]" in reply.json()["error"]["where"], reply
            assert name in reply.body.decode()


def test_fields_that_contradict_each_other_are_refused(ask):
    base = BODIES["/classify"]
    refused(ask("/classify", base | {"use_activation": True, "activation": False}), "activation")
    assert ask("/classify", base | {"use_activation": True, "activation": True}).status == 200
    refused(ask("/classify", base | {"input": "x"}), "body")
    item = BODIES["/v1/score"]
    refused(ask("/v1/score", item | {"items": [item]}), "prompt")
    refused(ask("/v1/score", {"items": [item | {"explain": True}]}), "items[0].explain")


def test_a_field_given_twice_is_refused(ask):
    reply = ask("/v1/score", b'{"prompt": "Hi", "responses": ["No."], "responses": ["Yes."]}')
    assert reply.status == 400 and "responses" in reply.json()["error"]["message"]


@pytest.mark.parametrize(
    ("headers", "expected"),
    [({"Content-Encoding": "gzip"}, 415), ({"Content-Encoding": "identity"}, 200), ({"Content-Type": "text/x"}, 200)],
)
def test_encodings_that_are_not_understood_are_refused(ask, headers, expected):
    assert ask("/v1/score", json.dumps(BODIES["/v1/score"]).encode(), headers=headers).status == expected
