"""A server with sockets in a thread, without a model: every text's score is its number of characters."""

from __future__ import annotations

import asyncio
import contextlib
import re
import socket
import threading
import time
from types import SimpleNamespace

import numpy as np

from encore_jax.reward.scored import Scored
from encore_jax.serve import flags
from encore_jax.serve.app import App, Limits
from encore_jax.serve.dialects import Served
from encore_jax.serve.listening import listen
from encore_jax.serve.metrics import Metrics
from encore_jax.serve.server import make_server


class Lengths:
    """Stands for a `Service`."""

    def __init__(self, rule: str):
        self.served = Served("lengths", (rule,), np.ones(1, np.float32))
        self.batcher = SimpleNamespace(alive=True, waiting_tokens=0)
        self.hidden_texts, self.hold = 0, threading.Event()
        self.hold.set()

    async def scored(self, texts, partial):
        while not self.hold.is_set():
            await asyncio.sleep(0.005)
        lengths = [len(text if isinstance(text, str) else text[1]) for text in texts]
        return Scored(np.array(lengths, np.float32)[:, None], np.ones((len(texts), 1), np.float32)), lengths

    def close(self, timeout=None):
        pass


@contextlib.contextmanager
def running(*arguments: str, token: str = "", rule: str = "length", load=None):
    """A server for these flags: its port, its service, and what it is made of."""
    given = flags.parse(["--model=lengths", "--port=0", *arguments], "")
    given.token = token
    metrics, service, ready = Metrics(), Lengths(rule), threading.Event()

    def make(say):
        if load:
            load(say)
        limits = Limits(
            int(given.max_body_mib * 2**20), given.max_texts, given.timeout, given.read_timeout,
            requests=given.max_connections - max(1, given.max_connections // 16),
        )  # fmt: skip
        return App(service, metrics, token, limits)

    sockets = listen(given.host, given.port)
    server, front = make_server(given, metrics, make, lambda app: ready.set())
    thread = threading.Thread(target=server.run, args=(sockets,), daemon=True)
    thread.start()
    made = SimpleNamespace(
        port=sockets[0].getsockname()[1], service=service, server=server, front=front, metrics=metrics, thread=thread
    )
    try:
        assert load or ready.wait(20)
        yield made
    finally:
        server.should_exit = True
        service.hold.set()
        thread.join(20)
    assert not thread.is_alive()


def connect(port: int, sent: bytes = b"", source: str = "127.0.0.1") -> socket.socket:
    """A client that has sent something."""
    client = socket.create_connection(("127.0.0.1", port), timeout=20, source_address=(source, 0))
    if sent:
        client.sendall(sent)
    return client


def read_all(client: socket.socket) -> bytes:
    """What comes until the server closes."""
    received = b""
    with contextlib.suppress(ConnectionResetError):
        while piece := client.recv(65536):
            received += piece
    return received


def read_answer(client: socket.socket) -> bytes:
    """One answer with a length; nothing more than it may have come."""
    received = b""
    while b"\r\n\r\n" not in received:
        received += client.recv(65536)
    length = int(re.search(rb"content-length: (\d+)", received, re.I)[1])
    while len(received) < received.index(b"\r\n\r\n") + 4 + length:
        received += client.recv(65536)
    return received


def status(port: int, sent: bytes) -> int:
    """Of the one answer to what is sent, after which the server closes; 0 if it closes without a word."""
    with connect(port, sent) as client:
        received = read_all(client)
    assert len(re.findall(rb"HTTP/1\.1 \d\d\d ", received)) <= 1, received
    return int(received.split(b" ", 2)[1]) if received else 0


def health(port: int, source: str = "127.0.0.1") -> int:
    """The status of /health, by a connection of its own."""
    with connect(port, b"GET /health HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", source) as client:
        return int(read_all(client).split(b" ", 2)[1])


def until(condition, seconds: float = 20) -> bool:
    """Whether it becomes true."""
    end = time.monotonic() + seconds
    while not condition() and time.monotonic() < end:
        time.sleep(0.01)
    return bool(condition())
