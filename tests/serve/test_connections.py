"""Rude clients at real sockets: none keeps another one out, and no request can be read in two ways."""

import json
import resource
import socket
import threading
import time

import pytest

from encore_jax.serve.connections import Connections, affordable
from tests.serve.running import connect, health, read_all, read_answer, running, status, until

BODY = json.dumps({"prompt": "Hi", "responses": ["No.", "Yes, yes."]}).encode()
CLOSE = b"Connection: close\r\n"


def post(body: bytes = BODY, headers: bytes = b"", length: bytes | None = None, path: bytes = b"/v1/score") -> bytes:
    declared = b"Content-Length: %s\r\n" % (b"%d" % len(body) if length is None else length)
    return b"POST %s HTTP/1.1\r\nHost: x\r\n%s%s\r\n%s" % (path, declared, headers, body)


def raw(headers: bytes, body: bytes = BODY, first: bytes = b"POST /v1/score HTTP/1.1") -> bytes:
    return first + b"\r\n" + headers + b"\r\n" + body


def chunked(body: bytes) -> bytes:
    return raw(b"Host: x\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n", body)


CHUNKS = b"%x\r\n%s\r\n0\r\n\r\n" % (len(BODY), BODY)
LENGTH = b"Content-Length: %d\r\n" % len(BODY)
SENT = {
    "as it should be": (post(headers=CLOSE), 200),
    "in chunks": (chunked(CHUNKS), 200),
    "chunks with an extension": (chunked(CHUNKS.replace(b"\r\n", b";a=b\r\n", 1)), 200),
    "HTTP/1.0": (raw(LENGTH, first=b"POST /v1/score HTTP/1.0"), 200),
    "an empty line first": (b"\r\n" + post(headers=CLOSE), 200),
    "length and chunks": (raw(b"Host: x\r\n" + LENGTH + b"Transfer-Encoding: chunked\r\n", CHUNKS), 400),
    "chunks and length": (raw(b"Host: x\r\nTransfer-Encoding: chunked\r\n" + LENGTH, CHUNKS), 400),
    "length 0 and chunks": (raw(b"Host: x\r\nContent-Length: 0\r\nTransfer-Encoding: chunked\r\n", CHUNKS), 400),
    "two lengths": (raw(b"Host: x\r\nContent-Length: 3\r\n" + LENGTH), 400),
    "twice the same length": (raw(b"Host: x\r\n" + LENGTH + LENGTH), 400),
    "a list of lengths": (post(length=b"5, 5"), 400),
    "negative length": (post(length=b"-1"), 400),
    "length with a sign": (post(length=b"+5"), 400),
    "length in hexadecimal": (post(length=b"0x10"), 400),
    "length with an underscore": (post(length=b"1_0"), 400),
    "no length": (post(length=b""), 400),
    "a length of a thousand digits": (post(length=b"9" * 1000), 400),
    "blank before the colon": (raw(b"Host: x\r\nContent-Length : 5\r\n"), 400),
    "a folded line": (raw(b"Host: x\r\nX-A: b\r\n c\r\n" + LENGTH), 400),
    "a folded length": (raw(b"Host: x\r\nContent-Length:\r\n 5\r\n"), 400),
    "a folded coding": (raw(b"Host: x\r\nTransfer-Encoding:\r\n chunked\r\n", CHUNKS), 400),
    "lines without CR": (post().replace(b"\r\n", b"\n"), 400),
    "one line without CR": (raw(b"Host: x\nX: y\r\n" + LENGTH), 400),
    "CR in a value": (raw(b"Host: x\r\nX-A: b\rc\r\n" + LENGTH), 400),
    "NUL in a value": (raw(b"Host: x\r\nX-A: \0\r\n" + LENGTH), 400),
    "no colon": (raw(b"Host: x\r\nX-A\r\n" + LENGTH), 400),
    "no name": (raw(b"Host: x\r\n: b\r\n" + LENGTH), 400),
    "two codings": (raw(b"Host: x\r\nTransfer-Encoding: gzip, chunked\r\n", CHUNKS), 501),
    "coding twice": (raw(b"Host: x\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n", CHUNKS), 501),
    "a misspelt coding": (raw(b"Host: x\r\nTransfer-Encoding: xchunked\r\n", CHUNKS), 501),
    "coding in HTTP/1.0": (raw(b"Transfer-Encoding: chunked\r\n", CHUNKS, b"POST /v1/score HTTP/1.0"), 400),
    "no host": (raw(LENGTH), 400),
    "two hosts": (raw(b"Host: x\r\nHost: y\r\n" + LENGTH), 400),
    "HTTP/2": (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 505),
    "HTTP/0.9": (b"GET /health\r\n\r\n", 400),
    "TLS": (b"\x16\x03\x01\x02\x00\x01\x00", 400),
    "nonsense": (b"nonsense\r\n\r\n", 400),
    "a blank first": (b" GET /health HTTP/1.1\r\nHost: x\r\n\r\n", 400),
    "a strange expectation": (post(headers=b"Expect: tea\r\n"), 417),
    "a head without end": (b"GET /health HTTP/1.1\r\nX: " + b"y" * 40_000, 431),
    "a long head": (raw(b"Host: x\r\nX: " + b"y" * 20_000 + b"\r\n" + LENGTH), 431),
    "many lines": (raw(b"Host: x\r\n" + b"X: y\r\n" * 200 + LENGTH), 431),
    "no chunk size": (chunked(b"\r\n{}\r\n0\r\n\r\n"), 400),
    "negative chunk size": (chunked(b"-5\r\n{}\r\n0\r\n\r\n"), 400),
    "chunk size in words": (chunked(b"five\r\n{}\r\n0\r\n\r\n"), 400),
    "chunk size with 0x": (chunked(b"0x2\r\n{}\r\n0\r\n\r\n"), 400),
    "chunk size of 30 digits": (chunked(b"f" * 30 + b"\r\n{}\r\n0\r\n\r\n"), 400),
    "chunk longer than its size": (chunked(b"1\r\n{}\r\n0\r\n\r\n"), 400),
    "an endless chunk size": (chunked(b"0" * 40_000), 400),
    "a huge chunk": (chunked(b"ffffffff\r\n" + b"x" * 100_000), 413),
    "a huge length": (post(length=b"9" * 15), 413),
    "compressed": (post(headers=b"Content-Encoding: gzip\r\n" + CLOSE), 415),
    "an upgrade": (post(headers=b"Upgrade: h2c\r\nConnection: upgrade, close\r\n"), 200),
    "another page, body unread": (post(path=b"/nothing", length=b"1000000", headers=CLOSE), 404),
}


def test_what_two_readers_could_read_in_two_ways_is_refused():
    with running("--read_timeout=5", "--max_body_mib=0.05") as server:
        got = {name: status(server.port, sent) for name, (sent, _) in SENT.items()}
        assert got == {name: right for name, (_, right) in SENT.items()}
        assert health(server.port) == 200


def test_a_refused_request_ends_its_connection_and_what_follows_is_not_read():
    with running() as server:
        smuggled = b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n"
        sent = raw(b"Host: x\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\n", b"0\r\n\r\n" + smuggled)
        with connect(server.port, sent) as client:
            received = read_all(client)
        assert received.startswith(b"HTTP/1.1 400 ") and received.count(b"HTTP/1.1 ") == 1
        assert json.loads(received.partition(b"\r\n\r\n")[2])["error"]["where"].startswith("Content-Length and")


def test_connections_are_kept_but_requests_are_not_pipelined():
    with running() as server, connect(server.port) as client:
        for _ in range(3):
            client.sendall(post())
            assert b"[3.0,9.0]" in read_answer(client)
        client.sendall(post() + post())
        received = read_all(client)
        assert received.count(b"HTTP/1.1 200") == 1  # the second one is not read; whoever pipelines sends it again


def test_heads_that_do_not_end_and_silent_connections_are_closed_in_time():
    with running("--read_timeout=0.3", "--idle_timeout=0.3") as server:
        silent, half = connect(server.port), connect(server.port, b"GET /health HT")
        slow = connect(server.port)
        kept = connect(server.port, b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n")
        assert b" 200 " in read_answer(kept)
        start = time.monotonic()
        with pytest.raises(OSError):
            while time.monotonic() < start + 20:  # a byte now and then is no progress
                slow.sendall(b"G")
                time.sleep(0.02)
        assert read_all(silent) == b"" and read_all(kept) == b""
        assert read_all(half).startswith(b"HTTP/1.1 408 ")
        for client in (silent, half, slow, kept):
            client.close()
        page = server.metrics.text().decode()
        assert 'encore_connections_closed_total{reason="(no request)"} 1.0' in page
        assert 'encore_connections_closed_total{reason="(idle)"} 1.0' in page


def test_a_body_that_does_not_come_is_given_up():
    with running("--read_timeout=0.3") as server:
        assert status(server.port, post(b"{", length=b"100")) == 408
        assert status(server.port, chunked(b"5\r\n{")) == 408
        assert server.front.app.open == 0


@pytest.mark.parametrize("sent", [b"", b"P", post(b"{", length=b"100")[:-3]])
def test_more_connections_than_are_allowed_keep_nobody_out(sent):
    with running("--max_connections=8") as server:
        rude = [connect(server.port, sent) for _ in range(40)]
        assert [health(server.port) for _ in range(5)] == [200] * 5
        assert until(lambda: len(server.server._connections) <= 8)
        assert status(server.port, post(headers=CLOSE)) == 200
        for client in rude:
            client.close()


def test_clients_that_hold_many_connections_give_way_to_those_that_hold_few():
    with running("--max_connections=8") as server:
        polite = connect(server.port, b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n", source="127.0.0.2")
        assert b" 200 " in read_answer(polite)
        rude = [connect(server.port) for _ in range(40)]
        assert until(lambda: len(server.server._connections) <= 8)
        polite.sendall(b"GET /health HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        assert b" 200 " in read_all(polite)
        for client in (polite, *rude):
            client.close()


def test_full_of_requests_it_says_so_and_health_is_reachable():
    with running("--max_connections=8", "--timeout=20") as server:
        server.service.hold.clear()
        busy = [connect(server.port, post(headers=CLOSE)) for _ in range(7)]
        assert until(lambda: server.front.app.open == 7)
        silent = [connect(server.port) for _ in range(20)]
        assert status(server.port, post(headers=CLOSE)) == 429
        assert health(server.port) == 200
        server.service.hold.set()
        assert [b" 200 " in read_all(client) for client in busy] == [True] * 7  # none of them had to give way
        for client in (*busy, *silent):
            client.close()


def test_an_answer_that_nobody_reads_is_thrown_away():
    patience = ("--read_timeout=0.3", "--idle_timeout=0.3")
    with running("--max_connections=4", *patience, rule="r" * 8_000) as server:
        body = json.dumps({"prompt": "Hi", "responses": ["x"] * 1000, "explain": True}).encode()
        deaf = []
        for _ in range(6):
            client = socket.socket()
            client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            client.connect(("127.0.0.1", server.port))
            client.sendall(post(body))
            deaf.append(client)
            assert health(server.port) == 200
            assert until(lambda: server.front.app.open == 0)
            assert any(len(client.recv(1, socket.MSG_PEEK)) for client in deaf)  # answers are on their way
        assert until(lambda: len(server.server._connections) == 0)
        assert all(len(read_all(client)) < 7_900_000 for client in deaf)  # and were cut off
        for client in deaf:
            client.close()


def test_who_is_not_authorised_is_told_before_sending_and_cannot_stay():
    with running("--read_timeout=0.3", token="secret") as server:
        with connect(server.port, post(b"{", length=b"1000000")) as client:
            assert client.recv(12) == b"HTTP/1.1 401"
            start = time.monotonic()
            with pytest.raises(OSError):
                while time.monotonic() < start + 20:
                    client.sendall(b"x")
                    time.sleep(0.02)
        big = post(b"x" * 3_000_000)
        for _ in range(5):
            with connect(server.port, big) as client:  # all of it is sent: the answer must not be lost to a reset
                assert client.recv(12) == b"HTTP/1.1 401"


def test_a_hundred_continue_is_given_only_to_who_may_send():
    with running(token="secret") as server:
        expecting = post(b"", length=b"%d" % len(BODY), headers=b"Expect: 100-continue\r\n" + CLOSE)
        assert status(server.port, expecting) == 401
        with connect(server.port, expecting.replace(CLOSE, CLOSE + b"Authorization: Bearer secret\r\n")) as client:
            assert client.recv(25) == b"HTTP/1.1 100 Continue\r\n\r\n"
            client.sendall(BODY)
            assert b"[3.0,9.0]" in read_all(client)


def test_only_allowed_hosts_are_served_but_probes_always():
    with running("--allowed-hosts=localhost,*.example.com,::1") as server:

        def named(host: bytes, path: bytes = b"/v1/models") -> int:
            return status(server.port, b"GET %s HTTP/1.1\r\nHost: %s\r\nConnection: close\r\n\r\n" % (path, host))

        for host in (b"localhost", b"LOCALHOST:80", b"a.example.com", b"a.b.Example.com.:1", b"[::1]:8000"):
            assert named(host, b"/v2") == 404, host  # past the guard
        for host in (
            b"evil.com",
            b"example.com",
            b"localhost.evil.com",
            b"xlocalhost",
            b"evilexample.com",
            b"127.0.0.1",
        ):
            assert named(host, b"/v2") == 421, host
        assert named(b"10.0.0.1:8000", b"/health") == named(b"x", b"/live") == 200


def test_while_it_starts_it_says_what_it_does():
    go, started = threading.Event(), threading.Event()

    def load(say):
        say("compiling 3 of 9 shapes: 1x128")
        started.set()
        assert go.wait(20)

    with running(load=load) as server:
        assert started.wait(20)
        with connect(server.port, b"GET /health HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n") as client:
            head, _, body = read_all(client).partition(b"\r\n\r\n")
        assert b" 503 " in head
        assert json.loads(body) == {"status": "starting", "doing": "compiling 3 of 9 shapes: 1x128"}
        assert status(server.port, b"GET /live HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n") == 200
        with connect(server.port, post(headers=CLOSE)) as client:
            answer = read_all(client)
        assert b" 503 " in answer and b"retry-after: 1" in answer and b"compiling 3 of 9" in answer
        go.set()
        assert until(lambda: health(server.port) == 200)
        assert status(server.port, post(headers=CLOSE)) == 200


def test_when_nothing_is_scored_any_more_the_server_ends():
    with running() as server:
        server.service.batcher.alive = False
        server.thread.join(20)
        assert not server.thread.is_alive() and "batcher has stopped" in str(server.server.error)


def test_one_line_tells_of_many_closed_connections():
    connections = Connections(limit=4)
    for _ in range(100):
        connections.closed("to make room")
    assert connections.report() == "closed connections: 100 to make room; 0 of at most 4 are open"
    connections.closed("to make room")
    assert connections.report() == ""  # not again at once


def test_connections_are_no_more_than_the_system_allows(monkeypatch):
    limits, changed = (1024, 1200), []
    monkeypatch.setattr(resource, "getrlimit", lambda kind: limits)
    monkeypatch.setattr(resource, "setrlimit", lambda kind, pair: changed.append(pair))
    assert affordable(500) == 500 and not changed
    assert affordable(1000) == 1000 and changed == [(1128, 1200)]
    assert affordable(5000) == 1200 - 128 and changed[-1] == (1200, 1200)
