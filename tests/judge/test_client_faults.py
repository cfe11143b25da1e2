"""Whatever a server sends, a question ends with an answer or the run with one line; nothing is read without bounds."""

import gzip
import json
import ssl
import time

import aiohttp
import pytest

from encore_jax.errors import InputError
from encore_jax.http import client as client_module
from encore_jax.http.client import FATAL, NOT_JSON, TOO_LONG
from encore_jax.http.contact import DROPPED, NO_NAME, NO_TLS, NOT_HTTP, REFUSED, TIMED_OUT, connection_problem
from encore_jax.http.replies import ERROR_BODY
from encore_jax.http.settings import RetrySettings
from encore_jax.judge.prompts import YES_NO_IRRELEVANT
from encore_jax.judge.question import Status, rating_questions
from encore_jax.judge.replies import BAD_LOGPROBS, NO_ANSWER, NO_LOGPROBS
from encore_jax.judge.request import request_format
from encore_jax.judge.server import ServerJudge
from tests.judge.faulty_server import GOOD, chat
from tests.peak_memory import peak_memory
from tests.raw_server import RawServer, forever, reply

ASKING = request_format(YES_NO_IRRELEVANT, "m")
SOUND = json.dumps(chat(GOOD)).encode()
VARIABLE = "ENCORE_TEST_JUDGE_KEY"
SECRET = "sk-sentinel/0123456789+abcdef"


@pytest.fixture
def ask(pool, comparisons, settings):
    """The answer to one question, of a server that is tried twice."""

    def run(url, **changes):
        retry = RetrySettings(tries=2, first_wait=0.01, longest_wait=0.02, first_contact=5.0)
        question = next(rating_questions(comparisons, pool))
        judge = ServerJudge(ASKING, settings(url, **({"retry": retry, "concurrency": 1} | changes)))
        ((_, answer),) = judge.answers([question])
        return answer

    return run


def deep(levels):
    return SOUND[:-1] + b', "x": ' + b"[" * levels + b"]" * levels + b"}"


PARTS = {
    "gzip": reply(gzip.compress(SOUND), Content_Encoding="gzip"),
    "byte order mark": reply(b"\xef\xbb\xbf" + SOUND),
    "no length": reply(SOUND, Content_Length=None),
    "HTTP/1.0": reply(SOUND).replace(b"HTTP/1.1", b"HTTP/1.0"),
    "chunked": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n%x\r\n%s\r\n0\r\n\r\n" % (len(SOUND), SOUND),
    "another type": reply(SOUND, Content_Type="text/html; charset=latin-1"),
    "no type": reply(SOUND, Content_Type=None),
    "half of a surrogate pair": reply(SOUND[:-1] + b', "x": "\\ud800"}'),
    "60 deep": reply(deep(60)),
    "repeated keys": reply(b'{"choices": [], ' + SOUND[1:]),
    "a second object by the way": reply(SOUND[:-1] + b', "error": null, "usage": {"completion_tokens": 1}}'),
}


@pytest.mark.parametrize("name", PARTS)
def test_sound_replies_in_odd_clothes_are_read(name, ask):
    with RawServer(PARTS[name]) as server:
        answer = ask(server.url)
    assert answer.status is Status.OK and answer.rating == pytest.approx(0.375)


HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"
FAULTS = {
    "endless": (forever(HEAD + b"\r\n", b" " * 65536), TOO_LONG),
    "endless chunks": (
        forever(HEAD + b"Transfer-Encoding: chunked\r\n\r\n", b"10000\r\n" + b" " * 65536 + b"\r\n"),
        TOO_LONG,
    ),
    "endless error": (forever(HEAD.replace(b"200", b"500") + b"\r\n", b"no " * 1000), "HTTP 500"),
    "endless header": (forever(b"HTTP/1.1 200 OK\r\nX: ", b"x" * 65536), NOT_HTTP),
    "endless headers": (forever(b"HTTP/1.1 200 OK\r\n", b"X-Again: x\r\n" * 1000), NOT_HTTP),
    "gzip bomb": (reply(gzip.compress(bytes(100 << 20), 1), Content_Encoding="gzip"), TOO_LONG),
    "gzip bomb of an error": (reply(gzip.compress(bytes(100 << 20), 1), 500, Content_Encoding="gzip"), "HTTP 500"),
    "no gzip": (reply(b"not gzip", Content_Encoding="gzip"), "body in a broken encoding"),
    "brotli": (reply(b"\x8b", Content_Encoding="br"), "body in an encoding that was not asked for"),
    "900 deep": (reply(deep(900)), NOT_JSON),
    "100,000 deep": (reply(deep(100_000)), NOT_JSON),
    "latin-1": (reply(SOUND[:-1] + b', "x": "\xe9"}'), NOT_JSON),
    "a page": (reply(b"<html><body>Please log in</body></html>"), NOT_JSON),
    "events": (reply(b'data: {"choices":[{"delta":{"content":"Yes"}}]}\n\ndata: [DONE]\n\n'), NOT_JSON),
    "cut JSON": (reply(b'{"choices": [{"mess'), NOT_JSON),
    "empty": (reply(b""), NOT_JSON),
    "a list": (reply([1, 2]), NOT_JSON),
    "null": (reply(None), NOT_JSON),
    "an integer of 5,000 digits": (reply(b'{"choices": ' + b"9" * 5000 + b"}"), NOT_JSON),
    "an error": (reply({"error": {"message": "Provider returned error", "code": 502}}), ERROR_BODY),
    "no choices": (reply({"choices": []}), NO_ANSWER),
    "no log-probabilities": (reply(chat({})), NO_LOGPROBS),
    "a log-probability of 400 digits": (reply(SOUND.replace(b"-2.0794415416798357", b"-" + b"9" * 400)), BAD_LOGPROBS),
    "a log-probability as text": (reply(SOUND.replace(b"-2.0794415416798357", b'"-2.0"')), BAD_LOGPROBS),
    "cut off": (reply(SOUND)[:-20], DROPPED),
    "a chunk cut off": (HEAD + b"Transfer-Encoding: chunked\r\n\r\n400\r\n{", DROPPED),
    "a bad chunk": (HEAD + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n{", None),
    "not HTTP": (b"SSH-2.0-server\r\n", NOT_HTTP),
    "nothing": (b"", DROPPED),
    "half a head": (b"HTTP/1.1 200 OK\r\nContent-", DROPPED),
    "a bad status": (b"HTTP/1.1 abc OK\r\n\r\n", NOT_HTTP),
    "two lengths": (HEAD + b"Content-Length: 2\r\nContent-Length: 3\r\n\r\n{}", None),
    "a negative length": (HEAD + b"Content-Length: -5\r\n\r\n{}", NOT_HTTP),
    "silence": (lambda connection: time.sleep(1.5), TIMED_OUT),
    "a drip": (lambda connection: [connection.sendall(b"x") or time.sleep(0.1) for _ in range(15)], None),
    "status 204": (b"HTTP/1.1 204 No\r\n\r\n", "HTTP 204"),
    "status 599": (reply(b"", 599), "HTTP 599"),
    "status 400": (reply({"error": {"message": "Use 'max_completion_tokens' instead."}}, 400), "HTTP 400"),
    "status 413": (reply(b"<h1>Too large</h1>", 413), "HTTP 413"),
    "status 422": (reply({"detail": [{"msg": "Field required"}]}, 422), "HTTP 422"),
}


@pytest.mark.parametrize("name", FAULTS)
def test_every_fault_is_an_answer_with_a_name_of_its_own(name, ask):
    script, problem = FAULTS[name]
    before = peak_memory(anew=True)
    with RawServer(script) as server:
        answer = ask(server.url, timeout=0.6)
    assert answer.rating is None and answer.status is not Status.OK
    assert problem is None or answer.problem == problem
    assert json.dumps(dict(answer.evidence)) and len(answer.evidence.get("raw", "")) <= 2000
    assert answer.evidence.get("words", "").isprintable()
    assert peak_memory() - before < 400 << 20
    once = (ERROR_BODY, NOT_JSON, DROPPED, NOT_HTTP, TIMED_OUT, TOO_LONG)
    assert len(answer.faults) == (
        1 if answer.problem in once or answer.problem in ("HTTP 500", "HTTP 599") else len(answer.faults)
    )


PACKED = gzip.compress(b'{"error": "packed"}')
FAULTS["a packed error"] = (reply(PACKED, 400, Content_Encoding="gzip"), "HTTP 400")


@pytest.mark.parametrize("name", ["status 400", "an error", "a page", "status 422", "status 413", "a packed error"])
def test_the_servers_own_words_are_kept(name, ask):
    words = {"an error": "Provider returned error", "a page": "Please log in", "status 422": "Field required"}
    words |= {
        "status 400": "Use 'max_completion_tokens' instead.",
        "status 413": "Too large",
        "a packed error": "packed",
    }
    with RawServer(FAULTS[name][0]) as server:
        assert ask(server.url).evidence["words"] == words[name]


@pytest.mark.parametrize("levels", [10, 60, 900, 5000, 100_000])
@pytest.mark.parametrize("status", [200, 400])
def test_a_key_is_taken_out_of_replies_of_any_depth(levels, status, ask, monkeypatch):
    monkeypatch.setenv(VARIABLE, SECRET)
    body = deep(levels).replace(b'"x"', json.dumps(SECRET).replace("/", "\\/").encode())
    with RawServer(reply(body, status)) as server:
        answer = ask(server.url, key_variable=VARIABLE)
    assert "sentinel" not in json.dumps([answer.evidence, answer.problem])


@pytest.mark.parametrize("status", FATAL)
def test_what_no_further_request_can_change_ends_the_run_at_once(status, ask):
    moved = {"Location": "https://elsewhere/v1?key=secret"} if status < 400 else {}
    with RawServer(reply({"error": {"message": "go \x1b[31m away"}}, status, **moved)) as server:
        with pytest.raises(InputError, match=rf"HTTP {status}: .*it says .*go .*away.*Fix: .*run again") as caught:
            ask(server.url)
    assert len(server.requests) == 1 and "\x1b" not in str(caught.value) and "secret" not in str(caught.value)
    assert status >= 400 or "https://elsewhere/v1" in str(caught.value)


def test_a_404_says_what_may_be_wrong(ask):
    with RawServer(reply({"detail": "Not Found"}, 404)) as server:
        with pytest.raises(InputError, match="Not Found.*model's name.*before /v1"):
            ask(server.url)


def test_a_used_up_quota_is_not_waited_for(ask):
    body = {"error": {"message": "You exceeded your current quota", "code": "insufficient_quota"}}
    with RawServer(reply(body, 429)) as server:
        with pytest.raises(InputError, match="HTTP 429: it wants to be paid.*exceeded your current quota"):
            ask(server.url)
    assert len(server.requests) == 1


@pytest.mark.parametrize(
    "header", ["0", "0.01", "Wed, 21 Oct 2020 07:28:00 GMT", "soon", "Thu, 01 Jan 99999999999 12:00:30 GMT"]
)
@pytest.mark.parametrize("status", [429, 503])
def test_being_throttled_uses_up_no_tries(header, status, ask):
    throttled = reply({"error": "later"}, status, Retry_After=header)
    with RawServer(*[throttled] * 12, reply(SOUND)) as server:
        answer = ask(server.url)
    usable = status == 429 or header[:1] in "0W"
    if usable:
        assert answer.status is Status.OK and answer.faults == (f"HTTP {status}",) * 12, "of two tries none is used up"
        assert len(server.requests) == 13
    else:
        assert answer.problem == "HTTP 503" and len(server.requests) == 2, "it did not say until when"


def test_a_header_that_makes_no_sense_harms_no_answer(ask):
    for name in ("Retry_After", "retry_after_ms"):
        with RawServer(reply(SOUND, **{name: "Thu, 01 Jan 2026 12:00:30 +99999999999999999"})) as server:
            assert ask(server.url).status is Status.OK


def test_only_identity_is_asked_for_and_no_cookie_goes_back(ask):
    with RawServer(reply(b"", 500, Set_Cookie="a=b"), reply(SOUND)) as server:
        ask(server.url)
    assert all(b"Accept-Encoding: identity" in request and b"Cookie" not in request for request in server.requests)


def test_connection_problems_have_names():
    dns = aiohttp.ClientConnectorDNSError(_connection_key(), OSError(-2, "Name or service not known"))
    refused = aiohttp.ClientConnectorError(_connection_key(), ConnectionRefusedError(111, "Connect call failed"))
    bad = ssl.SSLCertVerificationError("certificate verify failed: self-signed certificate")
    certificate = aiohttp.ClientConnectorCertificateError(_connection_key(), bad)
    secure = aiohttp.ClientConnectorSSLError(_connection_key(), ssl.SSLError(1, "wrong version number"))
    assert connection_problem(dns)[0] == NO_NAME and connection_problem(refused) == (REFUSED, "Connect call failed")
    assert connection_problem(certificate)[0] == NO_TLS and "self-signed" in connection_problem(certificate)[1]
    assert connection_problem(secure) == (NO_TLS, "wrong version number")
    assert connection_problem(aiohttp.ServerTimeoutError())[0] == TIMED_OUT
    assert connection_problem(aiohttp.ServerDisconnectedError())[0] == DROPPED
    assert connection_problem(MemoryError())[0] == DROPPED


def _connection_key():
    return aiohttp.client_reqrep.ConnectionKey("host", 80, False, True, None, None, None)


def test_a_body_that_is_just_not_too_long_is_read(ask, monkeypatch):
    monkeypatch.setattr(client_module, "MOST_BODY", len(SOUND) + 10)
    with RawServer(reply(SOUND + b" " * 10)) as server:
        assert ask(server.url).status is Status.OK
    with RawServer(reply(SOUND + b" " * 11)) as server:
        assert ask(server.url).problem == TOO_LONG
