"""An API key never reaches anything that is written or shown, not even when the server repeats it."""

import contextlib
import json
import logging
import pickle
import traceback

import pytest

from encore_jax.errors import InputError
from encore_jax.http.replies import checked_url
from encore_jax.http.settings import ApiKey, RetrySettings, check_keyless
from encore_jax.judge.journal import Journal
from encore_jax.judge.prompts import NUMERIC, YES_NO_IRRELEVANT
from encore_jax.judge.question import rating_questions
from encore_jax.judge.request import request_format
from encore_jax.judge.run import ask_all
from encore_jax.judge.server import ServerJudge
from encore_jax.judge.settings import RetryPolicy
from tests.judge.faulty_server import FaultyServer, Running, chat

SENTINEL = "sk-sentinel/0123456789+abcdef"
VARIABLE = "ENCORE_TEST_JUDGE_KEY"


class Parrot(FaultyServer):
    """Repeats the key in every way it can: in errors, in broken JSON, with escapes, in answers and as a token."""

    async def answer(self, body):
        from aiohttp import web

        escaped = SENTINEL.replace("/", "\\/").replace("s", "\\u0073")
        kinds = [
            web.Response(status=500, text=f"no, {SENTINEL}!"),
            web.Response(status=400, text=f'{{"error": "wrong key {escaped}"}}'),
            web.Response(text=f'{{"broken": "{SENTINEL}'),
            web.Response(text=f'{{"broken": "{escaped}'),
            web.json_response(chat({SENTINEL: 0.9}, f"your key is {SENTINEL}")),
            web.json_response({"choices": [{"text": SENTINEL}], SENTINEL: SENTINEL}),
            web.json_response(chat({"Yes": 0.5, "No": 0.1}, "0.5")),
        ]
        return kinds[sum(self.asked.values()) % len(kinds)]


def everything_in(folder) -> bytes:
    return b"".join(path.read_bytes() for path in folder.rglob("*") if path.is_file())


@pytest.mark.parametrize("prompt", [YES_NO_IRRELEVANT, NUMERIC], ids=lambda prompt: prompt.name)
def test_it_is_sent_and_never_kept_or_shown(prompt, pool, comparisons, settings, tmp_path, monkeypatch, caplog, capfd):
    monkeypatch.setenv(VARIABLE, SENTINEL)
    caplog.set_level(logging.DEBUG)
    server, requests = Parrot(), request_format(prompt, "m")
    with Running(server) as url, Journal(tmp_path / "journal", requests.identity, pool) as journal:
        retry = RetrySettings(tries=3, first_wait=0.01, longest_wait=0.02)
        judge = ServerJudge(requests, settings(url, key_variable=VARIABLE, concurrency=4, retry=retry))
        answers = list(ask_all(judge, lambda: rating_questions(comparisons, pool), journal, RetryPolicy(2, 2)))
        print(judge, vars(judge), [answer for _, answer in answers])
    assert set(server.headers) == {f"Bearer {SENTINEL}"}, "it is sent"
    printed = capfd.readouterr()
    written = everything_in(tmp_path)
    assert b"[API key]" in written, "what the server repeated is in the journal, without it"
    for where, text in {"log": caplog.text, "output": printed.out + printed.err}.items():
        assert SENTINEL not in text, where
    for part in (SENTINEL, SENTINEL.replace("/", "\\/"), "sentinel"):
        assert part.encode() not in written


@pytest.mark.parametrize("status", [401, 403, 404])
def test_it_is_in_no_exception(status, pool, comparisons, settings, monkeypatch):
    monkeypatch.setenv(VARIABLE, SENTINEL)

    class Closed(FaultyServer):
        async def answer(self, body):
            from aiohttp import web

            return web.json_response({"error": f"Incorrect API key provided: {SENTINEL}"}, status=status)

    with Running(Closed()) as url, pytest.raises(InputError, match=r"\[API key\]") as caught:
        list(
            ServerJudge(request_format(NUMERIC, "m"), settings(url, key_variable=VARIABLE)).answers(
                rating_questions(comparisons, pool)
            )
        )
    shown = "".join(traceback.format_exception(caught.value)) + repr(caught.value) + str(caught.value.args)
    assert "sentinel" not in shown


def test_it_does_not_show_itself(monkeypatch):
    monkeypatch.setenv(VARIABLE, SENTINEL)
    key = ApiKey(VARIABLE)
    assert SENTINEL not in repr(key) + str(key) + f"{key}"
    assert SENTINEL.encode() not in pickle.dumps(key)
    assert pickle.loads(pickle.dumps(key)).headers == key.headers == {"Authorization": f"Bearer {SENTINEL}"}
    nested = key.hide({"a": [SENTINEL, {SENTINEL: f"x{SENTINEL}y"}], "n": 1.5})
    assert json.dumps(nested) == json.dumps({"a": ["[API key]", {"[API key]": "x[API key]y"}], "n": 1.5})


@pytest.mark.parametrize("name", [SENTINEL, "sk-live-123456", "judge key", "lower_case", "A" * 65, "HF_abc"])
def test_a_key_in_place_of_a_variable_is_refused_and_not_repeated(name, settings):
    for act in (lambda: ApiKey(name), lambda: settings("http://localhost", key_variable=name).check()):
        with pytest.raises(InputError, match="not the name of an environment variable") as caught:
            act()
        assert name not in str(caught.value)


@pytest.mark.parametrize("url", ["http://me:secret@host", "https://host/v1?api-key=secret", "https://host/#secret"])
def test_an_address_with_a_secret_is_refused_and_not_repeated(url):
    with pytest.raises(InputError) as caught:
        checked_url(url)
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ("sk-12345", None), ("  sk-12345\n", None), ("sk-1234", "holds no key"), ("sk-1234\x07", "holds no key"),
        ("sk-12345é", "holds no key"), ("sk-12\n345", "holds no key"), (" ", "is not set"),
    ],
)  # fmt: skip
def test_what_is_too_short_or_odd_for_a_header_is_no_key(value, words, monkeypatch):
    """A shorter one could not be hidden in texts without hiding much else."""
    monkeypatch.setenv(VARIABLE, value)
    with contextlib.nullcontext() if words is None else pytest.raises(InputError, match=words):
        assert ApiKey(VARIABLE).headers == {"Authorization": "Bearer sk-12345"}


@pytest.mark.parametrize("value", ["sk-1234", "sk-12345"])
def test_only_what_may_be_a_key_is_looked_for_in_texts_that_are_written_down(value, monkeypatch):
    monkeypatch.setenv(VARIABLE, value)
    with contextlib.nullcontext() if len(value) < 8 else pytest.raises(InputError, match="holds the API key"):
        check_keyless(f"a header {value}", VARIABLE, "extra")


def test_a_variable_that_is_not_set_is_told_before_anything_is_asked(pool, comparisons, settings, monkeypatch):
    monkeypatch.delenv(VARIABLE, raising=False)
    server = FaultyServer()
    with Running(server) as url, pytest.raises(InputError, match=f"{VARIABLE}: is not set.*export {VARIABLE}=") as _:
        list(
            ServerJudge(request_format(NUMERIC, "m"), settings(url, key_variable=VARIABLE)).answers(
                rating_questions(comparisons, pool)
            )
        )
    assert not server.asked
