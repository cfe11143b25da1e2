"""A journal as an SQLite file: its tables, the one thread that writes them, and one line for whatever is wrong."""

from __future__ import annotations

import contextlib
import queue
import sqlite3
import threading
from collections.abc import Iterator
from pathlib import Path

from encore_jax.errors import InputError
from encore_jax.helper_thread import HelperThread

SCHEMA = """
CREATE TABLE IF NOT EXISTS judge (id INTEGER PRIMARY KEY, digest TEXT NOT NULL UNIQUE, identity TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS rule (id INTEGER PRIMARY KEY, name TEXT NOT NULL, text TEXT NOT NULL, UNIQUE (name, text));
CREATE TABLE IF NOT EXISTS attempt (
  id INTEGER PRIMARY KEY, judge INTEGER NOT NULL, conversation BLOB NOT NULL, response INTEGER NOT NULL,
  rule INTEGER NOT NULL, at REAL NOT NULL, status TEXT NOT NULL, problem TEXT, faults TEXT, evidence TEXT);
CREATE INDEX IF NOT EXISTS unanswered ON attempt (judge, conversation, response, rule) WHERE status <> 'ok';
CREATE TABLE IF NOT EXISTS rating (
  judge INTEGER NOT NULL, conversation BLOB NOT NULL, response INTEGER NOT NULL, rule INTEGER NOT NULL,
  status TEXT NOT NULL, rating REAL, relevance REAL, problem TEXT, attempts INTEGER NOT NULL, attempt INTEGER NOT NULL,
  PRIMARY KEY (judge, conversation, response, rule)) WITHOUT ROWID;
"""
VERSION = 1

_COLUMNS = {
    "judge": "id digest identity",
    "rule": "id name text",
    "attempt": "id judge conversation response rule at status problem faults evidence",
    "rating": "judge conversation response rule status rating relevance problem attempts attempt",
}
_OTHER_FILE = "name another file"
_LOCKED = "another program keeps the file locked: end it and run again; what was committed is kept"
_FIXES = {
    "locked": _LOCKED,
    "busy": _LOCKED,
    "full": "make room on the disk and run the same command again; what was committed is kept",
    "readonly": f"make the file and its folder writable, or {_OTHER_FILE}",
    "unable to open": f"give a file in a folder that can be written to, or {_OTHER_FILE}",
    "malformed": "it is damaged: move it away together with FILE-wal and FILE-shm, or bring back a copy",
    "disk i/o": "see to the disk and run the same command again; what was committed is kept",
}

MOST = 2000
"""Answers in one transaction, and waiting for the next."""

_ATTEMPT = (
    "INSERT INTO attempt (judge, conversation, response, rule, at, status, problem, faults, evidence) "
    "VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)"
)
_RATING = """
INSERT INTO rating (judge, conversation, response, rule, status, rating, relevance, problem, attempts, attempt)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, 1, ?)
ON CONFLICT DO UPDATE SET attempts = attempts + 1, status = excluded.status, rating = excluded.rating,
  relevance = excluded.relevance, problem = excluded.problem, attempt = excluded.attempt
WHERE status <> 'ok'
"""


def open_journal(path: Path) -> sqlite3.Connection:
    """A connection with this file's tables, made if they are not there. Another program's file is never touched.

    Raises:
      InputError: it is no journal, of another version, damaged, locked, or cannot be written to.
    """
    path = Path(path)
    if path.exists() and not path.is_file():
        raise InputError("this is no journal: it is no ordinary file", where=str(path), fix=_OTHER_FILE)
    with sqlite_errors(path, "this is no journal"):
        connection = sqlite3.connect(path, timeout=60.0, check_same_thread=False)
        try:
            connection.execute("PRAGMA trusted_schema = OFF")
            new = _is_new(connection, path)
            connection.execute("PRAGMA journal_mode = WAL")
            connection.execute("PRAGMA synchronous = FULL")
            connection.execute("PRAGMA cache_size = -65536")  # 64 MiB
            if new:
                _make_tables(connection)
        except BaseException:
            connection.close()
            raise
    return connection


def _is_new(connection: sqlite3.Connection, path: Path) -> bool:
    """Whether the tables are yet to be made.

    Raises:
      InputError: the file holds something else than a journal.
    """
    version = connection.execute("PRAGMA user_version").fetchone()[0]
    entries = connection.execute("SELECT type, name FROM sqlite_master WHERE name NOT LIKE 'sqlite_%'").fetchall()
    tables = {name for kind, name in entries if kind == "table"}
    known = {("index", "unanswered"), *(("table", name) for name in _COLUMNS)}
    others = set(entries) - known
    wrong = [
        name
        for name in tables & _COLUMNS.keys()
        if " ".join(row[1] for row in connection.execute(f"PRAGMA table_info({name})")) != _COLUMNS[name]
    ]
    if others or wrong or (version == VERSION and tables != _COLUMNS.keys()):
        what = "this is no journal: it is a database of another program"
        raise InputError(what, where=str(path), fix=_OTHER_FILE)
    if version not in (0, VERSION):
        raise InputError(f"a journal of version {version}", where=str(path), fix="use the version that wrote it")
    return version == 0


def _make_tables(connection: sqlite3.Connection) -> None:
    """All of them or none, at whatever moment the process is killed."""
    with connection:
        connection.execute("BEGIN IMMEDIATE")
        for statement in SCHEMA.split(";"):
            connection.execute(statement)
        connection.execute(f"PRAGMA user_version = {VERSION}")


@contextlib.contextmanager
def sqlite_errors(path: Path, problem: str = "cannot be used") -> Iterator[None]:
    """Turns what SQLite complains of into an InputError."""
    try:
        yield
    except sqlite3.Error as error:
        raise database_error(error, path, problem) from error
    except (UnicodeError, OverflowError) as error:  # half a surrogate pair, a number beyond 64 bits
        raise InputError(f"cannot be kept: {error}", where=str(path), fix="correct the text or number") from error


@contextlib.contextmanager
def row_errors(path: Path) -> Iterator[None]:
    """Turns what rows of other types and values make of a query's result into an InputError."""
    try:
        yield
    except InputError:
        raise
    except (LookupError, TypeError, ValueError, OverflowError, AttributeError) as error:
        cause = f"{type(error).__name__}: {error}"[:200]
        raise InputError(
            f"a row holds what no journal writes ({cause})", where=str(path), fix=_FIXES["malformed"]
        ) from None


def database_error(error: sqlite3.Error, path: Path, problem: str = "cannot be used") -> InputError:
    """What SQLite complains of, as a user can read it."""
    message = str(error)
    fix = next((fix for word, fix in _FIXES.items() if word in message.lower()), _OTHER_FILE)
    return InputError(f"{problem}: {message}", where=str(path), fix=fix)


class JournalWriter:
    """Commits rows in a thread of its own, each as soon as the commit before it is done.

    Whatever ends the thread is raised by the next call; nobody waits for it any longer.

    Args:
      path: of the journal.
    """

    def __init__(self, path: Path):
        self._path = path
        self._rows: queue.Queue = queue.Queue(maxsize=MOST)
        self._helper = HelperThread(self._run, "journal")

    def put(self, rows: list[tuple[tuple, tuple]]) -> None:
        """Queues answers' rows (attempt, rating), which are committed together; waits if the disk is far behind.

        Raises:
          InputError: the writer could not write.
        """
        with self._errors():
            self._helper.put(self._rows, rows)

    def flush(self) -> None:
        """Returns when all rows put before are on the disk."""
        done = threading.Event()
        with self._errors():
            self._helper.put(self._rows, done)
            self._helper.wait(done)

    def close(self) -> None:
        """Flushes and ends the thread."""
        try:
            self.flush()
        finally:
            with contextlib.suppress(BaseException):  # it has ended already, and `flush` said why
                self._helper.put(self._rows, None)
            self._helper.join()

    @contextlib.contextmanager
    def _errors(self):
        """What ended the thread, in one line."""
        try:
            yield
        except InputError as error:
            raise InputError(f"could not be written: {error.problem}", where=str(self._path), fix=error.fix) from error
        except sqlite3.Error as error:
            raise database_error(error, self._path, "could not be written") from error
        except BaseException as error:
            if self._helper.ended:
                what = f"could not be written: {type(error).__name__}: {error}"
                raise InputError(what, where=str(self._path), fix="run again; what was committed is kept") from error
            raise  # the caller's own interruption

    def _run(self) -> None:
        with contextlib.closing(open_journal(self._path)) as connection:
            ended = False
            while not ended:
                rows, waiting = [], []
                for item in self._arrived():
                    if item is None:
                        ended = True
                    elif isinstance(item, threading.Event):
                        waiting.append(item)
                    else:
                        rows += item
                if rows:
                    self._commit(connection, rows)
                for event in waiting:
                    event.set()

    def _commit(self, connection: sqlite3.Connection, rows: list) -> None:
        with connection:
            for attempt, rating in rows:
                cursor = connection.execute(_ATTEMPT, attempt)
                connection.execute(_RATING, (*rating, cursor.lastrowid))

    def _arrived(self) -> list:
        """All that waits, at least one item."""
        items = [self._rows.get()]
        while len(items) < MOST:
            try:
                items.append(self._rows.get_nowait())
            except queue.Empty:
                break
        return items
