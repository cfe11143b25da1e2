"""Killed by SIGKILL again and again, at any moment, among faults: no rating is lost, and none that was given is asked
again.

What a kill can make a client ask twice are the requests in flight and the answers whose commit was under way; nothing
else. So a question that was in the journal when the client started again must never reach the server after that.
"""

import json
import os
import random
import signal
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import pytest
from aiohttp import web

from encore_jax.judge.calls.replies import NO_OBJECT
from encore_jax.judge.export import summary
from encore_jax.judge.journal import Journal
from encore_jax.judge.run import ask_all
from encore_jax.judge.server import LOOKAHEAD
from tests.judge import ask_and_die
from tests.judge.call_reply import call_reply, letters_in
from tests.judge.faulty_server import FAULTS, GOOD, FaultyServer, Running

REPOSITORY = Path(__file__).resolve().parents[2]
FORK = """
import os, sys
sys.path.insert(0, {root!r})
from tests.judge import ask_and_die
for line in sys.stdin:
    child = os.fork()
    if not child:
        ask_and_die.main(*line.split()[:2], *map(int, line.split()[2:]))
        os._exit(0)
    print(child, flush=True)
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
"""


class Client:
    """Starts clients as forks of a process that has imported everything."""

    def __init__(self):
        pipes = dict(stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        environment = os.environ | {"JAX_PLATFORMS": "cpu"}
        code = FORK.format(root=str(REPOSITORY))
        self.process = subprocess.Popen([sys.executable, "-c", code], env=environment, cwd=REPOSITORY, **pipes)

    def start(self, *arguments) -> int:
        print(*arguments, file=self.process.stdin, flush=True)
        return int(self.process.stdout.readline())

    def wait(self) -> int:
        return int(self.process.stdout.readline())

    def close(self):
        self.process.stdin.close()
        self.process.wait()
        self.process.stdout.close()


def rated(path: Path) -> int:
    if not path.exists():
        return 0
    reader = sqlite3.connect(path, timeout=60)
    try:
        return reader.execute("SELECT count(*) FROM rating WHERE status = 'ok'").fetchone()[0]
    except sqlite3.OperationalError:  # killed before there was a table
        return 0
    finally:
        reader.close()


def asked_of(question) -> str:
    """The question, or the call that asks it, as the server sees it."""
    return json.dumps(ask_and_die.ASKINGS[0 if question.call else 1].body(question)["messages"])


class TenRules(FaultyServer):
    """Answers every rule of a call."""

    async def answer(self, body):
        return web.json_response(call_reply(dict.fromkeys(letters_in(body), GOOD)))


@pytest.mark.parametrize(
    ("conversations", "share", "kills", "rules"),
    [
        pytest.param(30, 0.0, 4, 1, id="600 questions"),
        pytest.param(20, 0.2, 3, 1, id="400 questions among faults"),
        pytest.param(150, 0.2, 3, 0, id="300 calls about ten rules among faults"),
        pytest.param(500, 0.2, 6, 1, id="10000 questions among faults", marks=pytest.mark.slow),
    ],
)
def test_killed_anywhere_it_goes_on_and_asks_nothing_twice_that_was_given(conversations, share, kills, rules, tmp_path):
    server, path, chance = (
        (FaultyServer if rules else TenRules)(share=share, seed=3, slow=3.0),
        tmp_path / "journal",
        random.Random(conversations),
    )
    total, client = conversations * 20, Client()
    known: set[str] = set()
    try:
        with Running(server) as url:
            for kill in range(kills + 1):
                counted, before = server.asked.copy(), rated(path)
                child = client.start(url, path, conversations, rules)
                if kill == kills:
                    assert client.wait() == 0
                else:
                    goal = before + chance.uniform(0.3, 1.0) * (total - before) / (kills + 1 - kill)
                    while rated(path) < goal:
                        time.sleep(0.002)
                    os.kill(child, signal.SIGKILL)
                    assert client.wait() == -signal.SIGKILL
                asked = {question for question, n in server.asked.items() if n > counted[question]}
                assert not asked & known, "asked again though the answer was in the journal"
                known = known_now(path, conversations, rules)
    finally:
        client.close()
    assert len(known) == len(server.asked) == total // (1 if rules else 10), "every question has its rating"
    twice = sum(n - 1 for n in server.answered.values())
    assert twice <= kills * ask_and_die.CONCURRENCY * LOOKAHEAD, "asked twice: in flight, or not yet committed"
    with Journal(path, ask_and_die.ASKINGS[rules].identity, ask_and_die.POOL) as journal:
        told = summary(journal)
    assert told["questions"] == {"ok": total, "unparsable": 0, "failed": 0}
    print(f"\n{total} ratings, {kills} kills, {twice} answers asked for twice; faults made: {dict(server.done)}")
    print(f"faults reported: {told['faults']}")
    if share:
        assert set(server.done) == set(FAULTS)
        told["faults"][NO_OBJECT] = told["faults"].get(NO_OBJECT, 0) // 10  # of ten rules each
        made, reported = sum(server.done.values()), sum(told["faults"].values())
        # a fault met by a request that was then killed on its way to an answer is in nobody's report
        assert made - kills * ask_and_die.CONCURRENCY * LOOKAHEAD * 8 <= reported <= made


def known_now(path: Path, conversations: int, rules: int) -> set[str]:
    """The questions, as the server sees them, whose ratings are in the journal; of a call all of them, or none."""
    asked = list(ask_and_die.questions(conversations, rules))
    with Journal(path, ask_and_die.ASKINGS[rules].identity, ask_and_die.POOL) as journal:
        pending = {asked_of(question) for question in journal.pending(asked, ask_and_die.POLICY)}
        count = sum(1 for _ in journal.pending(asked, ask_and_die.POLICY))
    assert rules or count == 10 * len(pending), "a call was committed in part"
    return {asked_of(question) for question in asked} - pending


def test_a_complete_journal_asks_nothing(tmp_path):
    class Nobody:
        identity = ask_and_die.ASKINGS[1].identity

        def answers(self, questions):
            assert not list(questions)
            return iter(())

    server = FaultyServer()
    with Running(server) as url:
        ask_and_die.main(url, str(tmp_path / "journal"), 2, 1)
    with Journal(tmp_path / "journal", Nobody.identity, ask_and_die.POOL) as journal:
        assert not list(ask_all(Nobody(), lambda: ask_and_die.questions(2, 1), journal))
