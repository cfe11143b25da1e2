"""The first contact: found or given up in bounded time, and within two seconds it is said what is waited for."""

import contextlib
import itertools
import socket
import threading
import time

import pytest

from encore_jax.errors import InputError
from encore_jax.http import contact
from encore_jax.http.client import Client
from encore_jax.http.endpoints import Endpoint
from encore_jax.http.settings import RetrySettings
from encore_jax.judge.prompts import YES_NO_IRRELEVANT
from encore_jax.judge.question import Status, rating_questions
from encore_jax.judge.request import request_format
from encore_jax.judge.server import ServerJudge
from tests.judge.faulty_server import FaultyServer, Running
from tests.raw_server import unused_port

ASKING = request_format(YES_NO_IRRELEVANT, "m")
WAIT = 2.0


@pytest.fixture
def ask(pool, comparisons, settings):
    """Answers of a judge that waits `WAIT` seconds for its first contact."""

    def run(*urls, wait=WAIT, count=6, **changes):
        retry = RetrySettings(first_wait=0.01, longest_wait=0.05, first_contact=wait)
        judge = ServerJudge(ASKING, settings(*urls, **({"retry": retry} | changes)))
        return list(judge.answers(itertools.islice(rating_questions(comparisons, pool), count)))

    return run


@pytest.fixture
def told(caplog):
    """(seconds since the test began, message) of every warning."""
    start = time.time()

    def messages():
        return [(record.created - start, record.getMessage()) for record in caplog.records]

    return messages


def nobody(*urls):
    """Makes no connection for as long as anybody waits: a host behind a firewall."""

    async def connect(url, timeout):
        await contact.asyncio.sleep(timeout)
        return contact.NO_CONNECTION, ""

    return connect


def lost(url, timeout):
    async def connect():
        return contact.NO_NAME, "Name or service not known"

    return connect()


@pytest.mark.parametrize(
    ("connect", "words"),
    [(None, "connection refused"), (lost, "the host's name is not known"), (nobody(), "waiting for a connection")],
    ids=["refused", "no such host", "no answer"],
)
def test_nobody_there_is_told_within_two_seconds_and_given_up(connect, words, ask, told, monkeypatch):
    if connect is not None:
        monkeypatch.setattr(contact, "_connect", connect)
    url, start = f"http://127.0.0.1:{unused_port()}", time.monotonic()
    with pytest.raises(InputError) as caught:
        ask(url)
    assert WAIT - 0.5 < time.monotonic() - start < WAIT + 3
    when, message = told()[0]
    assert when < 2.0 and words in message and url in message and "trying for 2 s in all" in message
    text = str(caught.value)
    assert "no contact after" in text and url in text and "first_contact=SECONDS" in text
    assert words in text or contact.NO_CONNECTION in text


def test_what_will_never_be_secure_is_given_up_at_once(ask, told):
    def refuse(listener):
        connection, _ = listener.accept()
        with connection:
            connection.recv(65536)
            connection.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=refuse, args=(listener,))
        thread.start()
        with pytest.raises(InputError, match="no contact after 1 try .*no secure connection.*http or https"):
            ask(f"https://127.0.0.1:{listener.getsockname()[1]}", wait=60.0)
        thread.join()


def test_one_endpoint_is_enough(ask, told):
    server = FaultyServer()
    with Running(server) as url:
        answers = ask(f"http://127.0.0.1:{unused_port()}", url, f"https://127.0.0.1:{unused_port()}")
    assert len(answers) == 6 and all(answer.status is Status.OK for _, answer in answers)


@pytest.mark.parametrize("well", list(itertools.product([False, True], repeat=2)))
def test_contact_is_made_if_any_endpoint_takes_it_whatever_another_says_at_the_same_moment(well, monkeypatch):
    async def look(endpoint, until):
        return well[int(endpoint.url)]

    monkeypatch.setattr(contact, "_look", look)
    made = contact.first_contact([Endpoint("0"), Endpoint("1")], WAIT)
    with contextlib.nullcontext() if any(well) else pytest.raises(InputError, match="no contact"):
        contact.asyncio.run(made)


def test_a_server_that_comes_late_is_found_by_looking_again_not_by_waiting_to_the_end(monkeypatch):
    async def connect(url, timeout):
        return ("", "") if endpoint.looks == 4 else (contact.REFUSED, "")

    monkeypatch.setattr(contact, "_connect", connect)
    monkeypatch.setattr(contact, "_LOOK_EVERY", 0.01)
    endpoint, start = Endpoint("http://late"), time.monotonic()
    contact.asyncio.run(contact.first_contact([endpoint], 60.0))
    assert endpoint.looks == 4 and time.monotonic() - start < 30


def test_a_client_that_was_never_opened_can_be_closed_and_closed_again(settings):
    async def close_twice():
        client = Client(settings("http://127.0.0.1:1"), "/v1")
        await client.close()
        await client.close()

    contact.asyncio.run(close_twice())


def test_nothing_to_ask_needs_no_server(ask):
    assert ask(f"http://127.0.0.1:{unused_port()}", count=0) == []


def test_a_server_that_takes_connections_and_never_answers_is_told_and_given_up(ask, told):
    listener = socket.create_server(("127.0.0.1", 0))  # connections are made, nobody reads
    url = f"http://127.0.0.1:{listener.getsockname()[1]}"
    start = time.monotonic()
    with listener, pytest.raises(InputError, match="no endpoint could be reached for 1 s; .*timed out"):
        ask(url, timeout=3.0, wait=1.0)
    assert time.monotonic() - start < 20
    when, message = told()[0]
    assert 1.5 < when < 4 and "waiting for the first answer" in message and "6 requests open" in message
    assert "one request may take 3 s" in message


@pytest.mark.parametrize(("throttled", "awaited"), [(1, "the first answer"), (3, "further answers")])
def test_long_silence_is_told_with_its_cause_and_only_answers_count_as_such(throttled, awaited, ask, told, monkeypatch):
    monkeypatch.setattr(contact, "LATER", 0.5)
    monkeypatch.setattr(contact, "FIRST", 0.5)
    seen = []

    class Resting(FaultyServer):
        async def answer(self, body):
            from aiohttp import web

            seen.append(time.monotonic())
            if len(seen) == throttled:
                return web.json_response({"error": "slow \x1b down"}, status=429, headers={"Retry-After": "1.6"})
            return await super().answer(body)

    with Running(Resting()) as url:
        assert len(ask(url, concurrency=1, count=3)) == 3
    messages = [message for _, message in told()]
    assert any("asked to be left alone" in m and "HTTP 429: slow \\x1b down" in m for m in messages)
    assert all(f"waiting for {awaited}" in m for m in messages)


def test_a_server_that_dies_is_told_and_asked_again(ask, told, monkeypatch):
    monkeypatch.setattr(contact, "LATER", 0.4)

    class Dying(FaultyServer):
        async def handle(self, request):
            if 3 <= sum(self.answered.values()) and not self.done["dead"] > 7:
                self.done["dead"] += 1
                request.transport.abort()
            return await super().handle(request)

    with Running(Dying()) as url:
        answers = ask(url, concurrency=2, count=12)
    assert len(answers) == 12 and all(answer.status is Status.OK for _, answer in answers)
    assert any("is down, and asked for its health" in message for _, message in told())


def test_no_thread_is_left(ask):
    with pytest.raises(InputError):
        ask(f"http://127.0.0.1:{unused_port()}", wait=0.3)
    assert not [thread for thread in threading.enumerate() if thread.name == "server-judge"]
