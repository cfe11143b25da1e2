"""Rewards from a server: waited for while it is busy, and whatever else it sends becomes one line."""

import gzip
import json
import ssl

import pytest

from encore_jax.errors import InputError
from encore_jax.reward import rewards_client
from encore_jax.reward.rewards_client import RewardsClient
from encore_jax.reward.rl import remote_reward_function
from tests.raw_server import RawServer, bodies, forever, reply, unused_port

GOOD = reply({"rewards": [1.5, None]})
TOKEN = "token-0123456789"


@pytest.fixture(autouse=True)
def waits(monkeypatch):
    """Nobody really waits; how long it would have been."""
    waits = []
    monkeypatch.setattr(rewards_client.time, "sleep", waits.append)
    monkeypatch.setattr(rewards_client, "TIMEOUT", 5.0)
    return waits


def ask(url, **options):
    return remote_reward_function(url, **options)(prompts=["a", "b"], completions=["c", "d"], completion_ids=[[1], [2]])


def test_rewards_are_the_servers():
    with RawServer(GOOD) as server:
        assert ask(server.url + "/", token=TOKEN, too_long=-1.0) == [1.5, -1.0]
    (body,) = bodies(server.requests)
    assert body == {"prompts": ["a", "b"], "completions": ["c", "d"]}
    assert server.requests[0].startswith(b"POST /rewards ") and f"Bearer {TOKEN}".encode() in server.requests[0]


@pytest.mark.parametrize("status", rewards_client.BUSY)
@pytest.mark.parametrize(
    ("after", "wait"),
    [("0", 0.0), ("7", 7.0), ("Wed, 21 Oct 2020 07:28:00 GMT", 0.0), ("later", 1.0), (None, 1.0), ("999999", 60.0)],
)
def test_a_busy_server_or_proxy_is_asked_again(status, after, wait, waits):
    with RawServer(reply(b"<html>Bad gateway</html>", status, Retry_After=after), GOOD) as server:
        assert ask(server.url) == [1.5, None]
    assert len(server.requests) == 2 and waits == [wait]


CUT_OFF = [
    b"",
    b"HTTP/1.1 200 OK\r\n",
    b"SSH-2.0-server\r\n",
    GOOD[:-5],
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n{",
]


@pytest.mark.parametrize("cut_off", CUT_OFF)
def test_a_connection_that_breaks_is_made_again(cut_off, waits):
    with RawServer(cut_off, GOOD) as server:
        assert ask(server.url) == [1.5, None]
    assert len(server.requests) == 2


def test_a_server_that_stays_away_is_given_up_with_its_last_words(waits, caplog):
    with RawServer(reply({"error": {"message": "still \x1b loading"}}, 503)) as server:
        with pytest.raises(
            ConnectionError, match=r"did not answer 8 times; the last time: HTTP 503: still \\x1b loading"
        ):
            ask(server.url)
    assert waits == [1, 2, 4, 8, 16, 32, 60] and "try 2 of 8 in 1 s" in caplog.text
    with pytest.raises(ConnectionError, match="8 times; the last time: .*refused"):
        ask(f"http://127.0.0.1:{unused_port()}")


WRONG = {
    "text": (reply(b"<html>Please log in</html>"), "is not valid JSON.*it says 'Please log in'"),
    "list": (reply([1.0]), "expected `object`, got `array`"),
    "no rewards": (reply({"scores": [1.0]}), "missing required field `rewards`"),
    "words": (reply({"rewards": ["1.0", "2"]}), "expected `float | null`"),
    "truth": (reply({"rewards": [True, False]}), "expected `float | null`"),
    "too few": (reply({"rewards": [1.0]}), "1 rewards for 2 completions"),
    "too many": (reply({"rewards": [1.0] * 3}), "3 rewards for 2 completions"),
    "NaN": (reply({"rewards": [1.0, float("nan")]}), "is not finite"),
    "beyond floats": (reply(b'{"rewards": [1e999, 1]}'), "is not finite"),
    "huge integer": (reply(b'{"rewards": [' + b"9" * 400 + b", 1]}"), "."),
    "deep": (reply(b"[" * 100_000), "nested more than"),
    "latin-1": (reply(b'{"rewards": [1.0, 2.0], "x": "\xe9"}'), "is not UTF-8"),
    "broken gzip": (reply(b"?", Content_Encoding="gzip"), "body in a broken encoding"),
    "bomb": (reply(gzip.compress(bytes(30_000_000), 1), Content_Encoding="gzip"), "body longer than"),
    "endless": (forever(b"HTTP/1.1 200 OK\r\n\r\n", b" " * 65536), "body longer than"),
    "string error": (reply({"error": "Unauthorized"}, 401), "HTTP 401: Unauthorized"),
    "page": (reply(b"<html>no</html>", 400), "HTTP 400: no"),
    "empty": (reply(b"", 500), "HTTP 500"),
    "odd error": (reply({"error": {"message": 3}}, 400), r"HTTP 400: .*message.*3"),
    "error list": (reply([{"error": {"message": "in a list"}}], 422), "HTTP 422: in a list"),
    "elsewhere": (reply(b"", 302, Location="http://127.0.0.1:9/"), "HTTP 302"),
    "endless error": (forever(b"HTTP/1.1 400 No\r\n\r\n", b" " * 65536), "HTTP 400"),
}


@pytest.mark.parametrize("name", WRONG)
def test_whatever_else_a_server_sends_is_one_line(name, waits):
    script, problem = WRONG[name]
    with RawServer(script) as server, pytest.raises(InputError, match=problem) as caught:
        ask(server.url)
    assert not waits and "\n" not in str(caught.value) and server.url in str(caught.value)


def test_a_refusal_by_this_projects_server_is_told_as_it_is():
    refused = {"error": {"message": "no", "where": "prompts[0]", "fix": "better ones"}}
    with (
        RawServer(reply(refused, 400)) as server,
        pytest.raises(InputError, match=r"prompts\[0\]: no. Fix: better ones"),
    ):
        ask(server.url)


def test_the_token_is_shown_nowhere_and_goes_nowhere_else(caplog):
    with RawServer(GOOD) as other:
        elsewhere = [reply(f"wrong {TOKEN}".encode(), status, Location=other.url) for status in (301, 307, 401, 500)]
        elsewhere += [reply({"error": {"message": TOKEN, "where": TOKEN, "fix": TOKEN}}, 400), reply(TOKEN.encode())]
        for script in elsewhere:
            with RawServer(script) as server, pytest.raises(InputError, match=r"\[token\]") as caught:
                ask(server.url, token=TOKEN)
            assert TOKEN not in str(caught.value)
    assert not other.requests and TOKEN not in caplog.text
    with pytest.raises(InputError, match="what no token can hold") as caught:
        remote_reward_function("http://h", token=TOKEN + "\n")
    assert TOKEN not in str(caught.value)


def test_what_cannot_be_asked_is_refused_before_asking():
    for url in ("127.0.0.1:8000", "http://", ""):
        with pytest.raises(InputError, match="address"):
            remote_reward_function(url)
    client = RewardsClient(f"http://127.0.0.1:{unused_port()}")
    with pytest.raises(InputError, match="no JSON"):
        client.rewards([b"bytes"], ["c"])
    with pytest.raises(InputError, match="1 completions for 2"):
        remote_reward_function("http://127.0.0.1:9")(prompts=["a", "b"], completions=["c"])


def test_a_certificate_that_does_not_hold_is_told_at_once(monkeypatch, waits):
    def refused(*args, **options):
        raise rewards_client.urllib.error.URLError(
            ssl.SSLCertVerificationError("certificate verify failed: self-signed")
        )

    client = RewardsClient("https://127.0.0.1:1")
    monkeypatch.setattr(client._opener, "open", refused)
    with pytest.raises(InputError, match="certificate verify failed"):
        client.rewards(["a"], ["b"])
    assert not waits


def test_numbers_of_any_kind_are_floats():
    with RawServer(reply(json.loads('{"rewards": [1, -0.5]}'))) as server:
        assert ask(server.url) == [1.0, -0.5]
