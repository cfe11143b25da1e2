"""Makes the helpers of the tests importable, and what most of these tests ask about."""

import sqlite3
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from encore_jax.data import Comparison, Message
from encore_jax.http.settings import RetrySettings, ServerSettings
from encore_jax.judge.question import rating_questions
from encore_jax.rules import Rule, RulePool


@pytest.fixture(autouse=True)
def every_database_is_closed(monkeypatch):
    """Fails a test that leaves an SQLite connection open: garbage collection is no way to close a file."""
    opened, connect = [], sqlite3.connect

    def watched(*args, **options):
        opened.append(connect(*args, **options))
        return opened[-1]

    monkeypatch.setattr(sqlite3, "connect", watched)
    yield
    left = []
    for connection in opened:
        try:
            connection.total_changes  # noqa: B018
        except sqlite3.ProgrammingError:
            continue
        left.append(connection)
        connection.close()
    assert not left, f"{len(left)} of {len(opened)} connections were left open"


@pytest.fixture(scope="session")
def pool():
    return RulePool(
        [Rule("kind", "The response is kind."), Rule("rude", "It is rude.", -1), Rule("brief", "It is brief.")]
    )


@pytest.fixture(scope="session")
def comparisons():
    """Twenty of them, forty different responses."""
    return [
        Comparison((Message("user", f"Question {i}"),), (f"Answer {i}", f"Another {i}"), i % 2, id=f"c{i}")
        for i in range(20)
    ]


@pytest.fixture
def settings():
    """Of a client, for one local server: impatient."""

    def make(*urls, **changes):
        retry = RetrySettings(first_wait=0.01, longest_wait=0.05, patience=20.0)
        return ServerSettings(urls=urls, **({"concurrency": 16, "timeout": 5.0, "retry": retry} | changes))

    return make


@pytest.fixture
def questions(comparisons, pool):
    """All rules about all responses."""
    return list(rating_questions(comparisons, pool))
