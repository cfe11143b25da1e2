"""Replies of HTTP servers: waits, words, addresses and encodings; whatever comes, one of the declared outcomes."""

import datetime
import gzip
import html
import json
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from encore_jax.errors import InputError
from encore_jax.http.replies import (
    LONGEST_WAIT,
    BadBody,
    checked_url,
    error_words,
    retry_after,
    unpacked,
    wait_asked,
)
from encore_jax.terminal_text import one_line

NOW = datetime.datetime(2026, 10, 21, 7, 28, tzinfo=datetime.UTC)


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("0", 0.0),
        ("2.5", 2.5),
        (" 3 ", 3.0),
        ("-7", 0.0),
        ("99999999", LONGEST_WAIT),
        ("Wed, 21 Oct 2026 07:28:30 GMT", 30.0),
        ("Wed, 21 Oct 2026 07:28:30", 30.0),
        ("Wed, 21 Oct 2026 09:29:00 +0200", 60.0),
        ("Wednesday, 21-Oct-26 07:28:40 GMT", 40.0),
        ("Wed, 21 Oct 2020 07:28:00 GMT", 0.0),
        ("Wed, 21 Oct 2999 07:28:00 GMT", LONGEST_WAIT),
        *((value, None) for value in ("", "soon", "nan", "inf", "1e999", "1,5", ",", "\x00", "[]", None)),
        *((f"Thu, 01 Jan {year} 12:00:30 GMT", None) for year in ("99999999999", "10000")),
        *((f"Thu, 01 Jan 2026 12:00:30 {zone}", None) for zone in ("+99999999999999999", "+9999")),
        ("Thu, 99 Jan 2026 12:00:30 GMT", None),
        ("Thu, 01 Jan 0001 00:00:00 +2359", 0.0),
        ("Thu, 01 Jan 0 12:00:30 GMT", 0.0),
    ],
)
def test_waits_that_servers_ask_for(value, seconds):
    assert retry_after(value, NOW) == seconds


@given(st.text())
def test_no_header_makes_waiting_fail(value):
    for name in ("Retry-After", "retry-after-ms"):
        wait = wait_asked({name: value})
        assert wait is None or 0 <= wait <= LONGEST_WAIT


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ('{"error": {"message": "Use \'x\' instead.", "type": "t", "code": 3}}', "Use 'x' instead."),
        ('{"error": "Unauthorized"}', "Unauthorized"),
        ('{"object": "error", "message": "too long", "type": "BadRequest"}', "too long"),
        ('{"detail": "Not Found"}', "Not Found"),
        ('{"detail": [{"msg": "a"}, {"msg": "b"}]}', "a; b"),
        ('{"errors": [{"title": "no"}, {"title": "no"}]}', "no"),
        ('[{"error": {"message": "in a list"}}]', "in a list"),
        ('{"error": {"metadata": {}}, "message": "outer"}', "outer"),
        ('{"error": null}', '{"error": null}'),
        ('"text"', "text"),
        ("17", "17"),
        ("", ""),
        ("plain\nwords\t here", "plain words here"),
        ("<html><style>p{}</style><body><h1>502</h1><p>Bad &amp; gone</body>", "502 Bad & gone"),
        ("<script>while(1)", ""),
        (b"\xff\xfe\x00", "\ufffd\ufffd\\x00"),
        (b'\xef\xbb\xbf{"error": "marked"}', "marked"),
        ('{"error": "a\\u001b[31m\\u202eb\\ud800"}', None),
        ("[" * 5000, None),
        ('{"error": ' * 900 + "1" + "}" * 900, None),
        (b"x" * 10_000_000, None),
    ],
)
def test_words_of_a_reply_are_one_short_printable_line(body, words):
    said = error_words(body)
    assert said == one_line(said) and len(said) <= 300
    if words is not None:
        assert said == words


@given(st.binary(max_size=300))
def test_any_bytes_have_words(body):
    said = error_words(body)
    assert said == one_line(said)


def test_secrets_are_taken_out_before_anything_is_cut():
    secret = "sk-" + "s" * 400
    assert (
        error_words(json.dumps({"error": f"key {secret}!"}), lambda text: text.replace(secret, "[key]")) == "key [key]!"
    )


@pytest.mark.parametrize("encoding", ["gzip", "x-gzip", "GZIP", " deflate", "deflate", "", "identity"])
def test_bodies_come_out_of_their_encoding(encoding):
    body = b'{"choices": []}' * 50
    kind = encoding.strip().lower()
    packed = {"gzip": gzip.compress, "x-gzip": gzip.compress, "deflate": zlib.compress}.get(kind, bytes)(body)
    assert unpacked(packed, encoding, len(body)) == body
    if kind == "deflate":
        raw = zlib.compressobj(wbits=-15)
        assert unpacked(raw.compress(body) + raw.flush(), encoding, len(body)) == body
    if kind == "gzip":
        assert unpacked(packed + packed, encoding, 2 * len(body)) == 2 * body


@pytest.mark.parametrize(
    ("body", "encoding", "problem"),
    [
        (gzip.compress(bytes(50_000_000), 1), "gzip", "longer than 1,000 bytes"),
        (gzip.compress(bytes(900), 1) * 2, "gzip", "longer"),
        (gzip.compress(b"") * 100_000, "gzip", "broken"),
        (gzip.compress(b"a" * 999)[:-9], "gzip", "broken"),
        (b"no gzip at all", "gzip", "broken"),
        (b"", "gzip", "broken"),
        (b"\x01", "deflate", "broken"),
        (b"x", "br", "not asked for"),
        (b"x", "gzip, gzip", "not asked for"),
        (b"x", "\x00", "not asked for"),
    ],
    ids=range(10),  # gzip's bytes hold the time, and every process must give a test the same name
)
def test_bodies_that_cannot_be_unpacked_are_told_and_no_bomb_explodes(body, encoding, problem):
    with pytest.raises(BadBody, match=problem):
        unpacked(body, encoding, 1000)


@pytest.mark.parametrize(
    "url", ["http://h", "https://h:8000/", "http://h/v1", "http://h/v1/", "http://[::1]:80/prefix/v1"]
)
def test_addresses(url):
    assert checked_url(url) == url.rstrip("/").removesuffix("/v1")


BAD = [
    "",
    "h:8000",
    "127.0.0.1:8000",
    "ftp://h",
    "http://",
    "http://h:0",
    "http://h:99999",
    "http://h:port",
    "http://[::1",
]
BAD += ["http://a b", "http://h\n/x", "//h", "http:h", "http://h/\u202e", "http://h/\ud800", 3, None, b"http://h"]
BAD += ["http://me@h", "http://me:secret@h", "https://h/v1?api-key=secret", "https://h/#secret", "http://h:secret@[::1"]


@pytest.mark.parametrize("url", BAD, ids=repr)
def test_what_is_no_address_is_refused_without_its_secrets(url):
    with pytest.raises(InputError, match="urls.0.*(no address|credentials)") as caught:
        checked_url(url, "urls[0]")
    assert "secret" not in str(caught.value)


def test_pages_are_read_without_their_marks_in_time():
    page = "<" * 60_000 + html.escape("<b>") + "<script>" * 5000
    said = error_words(page)
    assert said == one_line(said)
