"""Ratings per second of the server judge against a server that answers at once, on the same two cores.

    python -m experiments.benchmarks.server_judge [--ratings 10000] [--rounds 5]

The server is a process of its own that sends the same small reply to every request, so this measures the client, its
JSON and, in the second line, the journal (every answer synced to disk). Questions are the shipped safety_10 rules about
made-up conversations of some 600 characters. The last line is one JSON object with the median over rounds.
"""

from __future__ import annotations

import asyncio
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from encore_jax.command_line import Parser, one_line_errors
from encore_jax.data import Comparison, Message
from encore_jax.http.settings import ServerSettings
from encore_jax.judge.journal import Journal
from encore_jax.judge.prompts import YES_NO_IRRELEVANT
from encore_jax.judge.question import Question, rating_questions
from encore_jax.judge.request import request_format
from encore_jax.judge.run import ask_all
from encore_jax.rules import RulePool

CORES = 2
CONCURRENCY = 128
POOL = RulePool.shipped("safety_10")
_TOP = [
    {"token": t, "logprob": p, "bytes": None} for t, p in (("Yes", -0.3), ("No", -1.6), ("Ir", -3.2), ("Maybe", -5))
]
_REPLY = json.dumps(
    {
        "choices": [
            {
                "index": 0,
                "message": {"role": "assistant", "content": "Yes"},
                "logprobs": {"content": [{"token": "Yes", "logprob": -0.3, "top_logprobs": _TOP}]},
            }
        ]
    }
).encode()
_HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n" % len(_REPLY)


def main() -> None:
    """Starts the server, asks, and prints a table and the JSON line."""
    parser = Parser(description=__doc__.splitlines()[0])
    parser.add_argument("--ratings", type=int, default=10_000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--serve", action="store_true", help="be the server")
    given = parser.parse_args()
    if given.serve:
        asyncio.run(serve())
        return
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:CORES])  # the server inherits it
    command = [sys.executable, "-m", "experiments.benchmarks.server_judge", "--serve"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as server:
        url = server.stdout.readline().strip()
        rounds = [(plain(url, given.ratings), journaled(url, given.ratings)) for _ in range(given.rounds)]
        server.stdin.close()
    alone, kept = (statistics.median(side) for side in zip(*rounds, strict=True))
    print(f"{alone:,.0f} ratings/s by the client alone, {kept:,.0f} ratings/s into a journal, {CORES} cores")
    print(json.dumps({"ratings": given.ratings, "client_per_second": alone, "journal_per_second": kept}))


def questions(ratings: int) -> Iterator[Question]:
    """Ten per response, two responses per conversation."""
    for i in range(-(-ratings // (2 * len(POOL)))):
        texts = (f"The first response, number {i}. " * 8, f"The second response, number {i}. " * 8)
        yield from rating_questions([Comparison((Message("user", f"Question {i}? " * 20),), texts, 0)], POOL)


def judge(url: str):
    """The one that is measured."""
    from encore_jax.judge.server import ServerJudge

    return ServerJudge(
        request_format(YES_NO_IRRELEVANT, "instant"), ServerSettings(urls=(url,), concurrency=CONCURRENCY)
    )


def plain(url: str, ratings: int) -> float:
    """Ratings per second without a journal."""
    started = time.monotonic()
    answered = sum(1 for _ in judge(url).answers(questions(ratings)))
    return answered / (time.monotonic() - started)


def journaled(url: str, ratings: int) -> float:
    """Ratings per second into a new journal, until the last one is on the disk."""
    with tempfile.TemporaryDirectory(prefix="journal-") as folder:
        started, asked = time.monotonic(), judge(url)
        with Journal(Path(folder) / "journal", asked.identity, POOL) as journal:
            answered = sum(1 for _ in ask_all(asked, lambda: questions(ratings), journal))
            return answered / (time.monotonic() - started)


class Instant(asyncio.Protocol):
    """Answers every request with the same reply, as soon as its body is complete."""

    def connection_made(self, transport):
        self.transport, self.received = transport, b""

    def data_received(self, data):
        self.received += data
        while (end := self.received.find(b"\r\n\r\n")) >= 0:
            head = self.received[:end].lower()
            length = int(head.split(b"content-length:")[1].split(b"\r\n")[0]) if b"content-length:" in head else 0
            if len(self.received) < end + 4 + length:
                return
            self.received = self.received[end + 4 + length :]
            self.transport.write(_HEAD + _REPLY)


async def serve() -> None:
    """Prints the address, and serves until standard input ends."""
    server = await asyncio.get_running_loop().create_server(Instant, "127.0.0.1", 0)
    print(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}", flush=True)
    await asyncio.to_thread(sys.stdin.read)


if __name__ == "__main__":
    with one_line_errors():
        main()
