"""Whatever kills a helper thread, at whatever step, ends its caller soon and with the cause; nobody waits for ever."""

import concurrent.futures
import contextlib
import itertools
import queue
import sqlite3
import threading
import time

import pytest

from encore_jax import helper_thread
from encore_jax.errors import InputError
from encore_jax.helper_thread import HelperThread
from encore_jax.http import client, contact, endpoints
from encore_jax.judge import journal_file, server
from encore_jax.judge.journal import Journal
from encore_jax.judge.prompts import YES_NO_IRRELEVANT
from encore_jax.judge.question import Answer, Identity, Status, rating_questions
from encore_jax.judge.request import request_format
from encore_jax.judge.run import ask_all
from encore_jax.judge.server import ServerJudge
from tests.judge.faulty_server import FaultyServer, Running

SOON = 10.0
OK = Answer(Status.OK, rating=0.25, relevance=0.5)
IDENTITY = Identity("server", "m", scale=(-1.0, 1.0))


@pytest.fixture(autouse=True)
def quickly(monkeypatch):
    monkeypatch.setattr(helper_thread, "LOOK_EVERY", 0.02)


class Gone(BaseException):
    """Of no kind that anybody expects."""


CAUSES = [
    MemoryError("no memory is left"),
    RuntimeError("a mistake"),
    KeyboardInterrupt("a key"),
    SystemExit("an exit"),
    Gone("gone"),
    OSError(28, "No space left on device"),
    UnicodeEncodeError("utf-8", "\ud800", 0, 1, "surrogates not allowed"),
    OverflowError("Python int too large to convert to SQLite INTEGER"),
    sqlite3.OperationalError("database or disk is full"),
    sqlite3.InterfaceError("bad parameter"),
    RecursionError("maximum recursion depth exceeded"),
    StopIteration("stop"),
    queue.Empty("empty"),
]


def raising(cause, after=0, then=None):
    """A function that raises, the first calls but so many excepted."""
    calls = itertools.count()

    def act(*args, **options):
        if next(calls) >= after:
            raise cause
        return then(*args, **options)

    return act


def soon(work):
    """What a function raises, of which there must be something, within `SOON` seconds."""
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        error = pool.submit(work).exception(timeout=SOON)
    assert error is not None
    return error


def causes_of(error):
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


@pytest.mark.parametrize("step", ["_connect", "_arrived", "_commit", "second commit", "last answers"])
@pytest.mark.parametrize("cause", CAUSES, ids=lambda cause: type(cause).__name__)
def test_a_journal_whose_writer_dies(step, cause, pool, comparisons, tmp_path, monkeypatch):
    questions = list(rating_questions(comparisons, pool))
    writer = journal_file.JournalWriter
    after = {"second commit": 1, "last answers": 2}.get(step, 0)
    name = {"_connect": "_run", "second commit": "_commit", "last answers": "_arrived"}.get(step, step)
    monkeypatch.setattr(writer, name, raising(cause, after, getattr(writer, name)))
    monkeypatch.setattr(journal_file, "MOST", 8)

    def work():
        with Journal(tmp_path / "j", IDENTITY, pool) as journal:
            for question in itertools.cycle(questions):
                journal.record(question.key, OK)
                journal.flush()

    error = soon(work)
    assert isinstance(error, InputError) and "could not be written" in str(error) and str(tmp_path / "j") in str(error)
    assert cause in causes_of(error) and (str(cause) in str(error) or type(cause).__name__ in str(error))
    assert not [thread for thread in threading.enumerate() if thread.name == "journal"]
    monkeypatch.undo()
    with Journal(tmp_path / "j", IDENTITY, pool) as again:
        kept = len(questions) - len(list(again.pending(questions)))
        assert kept == {"second commit": 1, "last answers": 2}.get(step, 0), "what was committed is kept"


def test_a_full_queue_of_a_dead_writer_holds_nobody(pool, comparisons, tmp_path, monkeypatch):
    monkeypatch.setattr(journal_file, "MOST", 4)
    stuck = threading.Event()

    def slowly(self, connection, rows):
        stuck.wait(SOON)
        raise MemoryError("no memory is left")

    monkeypatch.setattr(journal_file.JournalWriter, "_commit", slowly)
    questions = list(rating_questions(comparisons, pool))

    def work():
        with Journal(tmp_path / "j", IDENTITY, pool) as journal:
            threading.Timer(0.3, stuck.set).start()
            for question in questions:
                journal.record(question.key, OK)

    assert "no memory is left" in str(soon(work))


STEPS = {
    "the question's body": (None, "body"),
    "reading the reply": (None, "read"),
    "the client's start": (client.Client, "__aenter__"),
    "the client": (client.Client, "ask"),
    "the first contact": (contact, "_look"),
    "what says what it waits for": (contact.Patience, "heard"),
    "choosing an endpoint": (endpoints.Endpoints, "acquire"),
    "giving an endpoint back": (endpoints.Endpoints, "release"),
    "the rate limit": (endpoints.RateLimit, "wait"),
    "parsing": (client.Client, "_parsed"),
    "the loop's thread": (server.asyncio, "set_event_loop"),
    "the loop's work": (server._Lane, "_work"),
    "one worker": (server._Lane, "_answers"),
}


@pytest.mark.parametrize("after", [0, 7])
@pytest.mark.parametrize("step", STEPS)
def test_a_server_judge_whose_helper_dies(step, after, pool, comparisons, settings, monkeypatch, tmp_path):
    requests = request_format(YES_NO_IRRELEVANT, "m")
    where, name = STEPS[step]
    once = name in ("__aenter__", "_look", "set_event_loop", "_work")
    first = list(STEPS).index(step) + after
    for cause in (CAUSES[first % 5], CAUSES[(first + 2) % 5]):  # every kind at some step, and two at each
        with monkeypatch.context() as patch, Running(FaultyServer()) as url:
            if where is None:
                broken = raising(cause, after, getattr(requests, name))
                judge = ServerJudge(requests.__class__(**(vars(requests) | {name: broken})), settings(url))
            else:
                patch.setattr(where, name, raising(cause, 0 if once else after, getattr(where, name)))
                judge = ServerJudge(requests, settings(url))

            def work(judge=judge):
                with Journal(tmp_path / "j", requests.identity, pool) as journal:
                    for _ in ask_all(judge, lambda: rating_questions(comparisons, pool), journal):
                        pass

            error = soon(work)
            assert cause in causes_of(error) or str(cause) in str(error), (step, cause, error)
        assert not [thread for thread in threading.enumerate() if thread.name in ("server-judge", "journal")]
        (tmp_path / "j").unlink()


def test_a_thread_that_ends_without_a_word_is_noticed(pool, comparisons, settings, monkeypatch):
    monkeypatch.setattr(server._Lane, "_run", lambda self: self._loop.close())
    with Running(FaultyServer()) as url:
        judge = ServerJudge(request_format(YES_NO_IRRELEVANT, "m"), settings(url))
        error = soon(lambda: list(judge.answers(rating_questions(comparisons, pool))))
    assert isinstance(error, InputError) and "server-judge: ended early" in str(error)


def test_connections_are_closed_even_where_closing_them_fails_at_first(pool, comparisons, settings, monkeypatch):
    sessions, calls, close, make = [], itertools.count(), contact.Patience.close, client.aiohttp.ClientSession

    def opened(**options):
        sessions.append(make(**options))
        return sessions[-1]

    async def closed(self):
        if next(calls) == 0:
            raise OSError("not now")
        await close(self)

    monkeypatch.setattr(client.aiohttp, "ClientSession", opened)
    monkeypatch.setattr(contact.Patience, "close", closed)
    with Running(FaultyServer()) as url:
        judge = ServerJudge(request_format(YES_NO_IRRELEVANT, "m"), settings(url))
        assert len(list(judge.answers(itertools.islice(rating_questions(comparisons, pool), 2)))) == 2
    assert [session.closed for session in sessions] == [True] and next(calls) > 1


def test_its_end_wakes_whoever_waits_for_results(monkeypatch):
    monkeypatch.setattr(helper_thread, "LOOK_EVERY", 60.0)
    results, waiting, start = queue.SimpleQueue(), threading.Event(), time.monotonic()

    def work():
        waiting.wait(60)
        raise ZeroDivisionError

    helper = HelperThread(work, "example", results)
    threading.Timer(0.3, waiting.set).start()
    with pytest.raises(ZeroDivisionError):
        helper.get(results)
    assert time.monotonic() - start < 30


def test_results_put_before_the_end_are_handed_out_first():
    results = queue.SimpleQueue()

    def work():
        for number in range(100):
            results.put(number)
        raise MemoryError("then")

    helper = HelperThread(work, "worker", results)
    time.sleep(0.05)
    assert [helper.get(results) for _ in range(100)] == list(range(100))
    for _ in range(2):
        with pytest.raises(MemoryError, match="then"):
            helper.get(results)
    with pytest.raises(MemoryError):
        helper.put(queue.Queue(1), "more")
    with pytest.raises(MemoryError):
        helper.wait(threading.Event())
    helper.join()


def test_a_caller_that_is_interrupted_leaves_no_thread(pool, comparisons, settings, tmp_path):
    class Stuck(FaultyServer):
        async def answer(self, body):
            import asyncio

            await asyncio.sleep(30)

    def questions():
        yield from itertools.islice(rating_questions(comparisons, pool), 20)
        raise KeyboardInterrupt

    with Running(Stuck()) as url, Journal(tmp_path / "j", IDENTITY, pool) as journal:
        judge = ServerJudge(request_format(YES_NO_IRRELEVANT, "m"), settings(url))
        start = time.monotonic()
        with pytest.raises(KeyboardInterrupt):
            list(ask_all(judge, questions, journal))
        assert time.monotonic() - start < SOON
    assert not [thread for thread in threading.enumerate() if thread.name in ("server-judge", "journal")]


def test_every_thread_of_judges_and_commands_is_one_that_is_watched():
    """No thread, pool or process is started in these rooms but by what tells its caller how it ended."""
    import re
    from pathlib import Path

    root = Path(__file__).parents[2]
    starts = re.compile(
        r"threading\.(Thread|Timer)\(|multiprocessing|ProcessPoolExecutor|ThreadPoolExecutor|os\.fork\("
    )
    watched = {"encore_jax/helper_thread.py", "encore_jax/cli/score.py"}  # score reads every future's result
    found = set()
    for room in ("encore_jax/judge", "encore_jax/http", "encore_jax/cli", "experiments"):
        for path in (root / room).rglob("*.py"):
            with contextlib.suppress(OSError):
                if starts.search(path.read_text()) and "benchmarks" not in path.parts:
                    found.add(path.relative_to(root).as_posix())
    assert found <= watched
