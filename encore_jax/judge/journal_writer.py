"""The one thread that writes a journal: whatever has arrived goes into one transaction, at once."""

from __future__ import annotations

import contextlib
import queue
import sqlite3
import threading
from collections.abc import Callable
from pathlib import Path

from encore_jax.errors import InputError
from encore_jax.judge.helper_thread import HelperThread
from encore_jax.judge.journal_file import database_error

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


class JournalWriter:
    """Commits rows in a thread of its own, each as soon as the commit before it is done.

    Whatever ends the thread is raised by the next call; nobody waits for it any longer.

    Args:
      path: of the journal.
      connect: opens it.
    """

    def __init__(self, path: Path, connect: Callable[[Path], sqlite3.Connection]):
        self._path, self._connect = path, connect
        self._rows: queue.Queue = queue.Queue(maxsize=MOST)
        self._helper = HelperThread(self._run, "journal")

    def put(self, attempt: tuple, rating: tuple) -> None:
        """Queues one answer's rows, waiting if the disk is far behind.

        Raises:
          InputError: the writer could not write.
        """
        with self._told():
            self._helper.put(self._rows, (attempt, rating))

    def flush(self) -> None:
        """Returns when all rows put before are on the disk."""
        done = threading.Event()
        with self._told():
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
    def _told(self):
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
        with contextlib.closing(self._connect(self._path)) as connection:
            ended = False
            while not ended:
                rows, waiting = [], []
                for item in self._arrived():
                    if item is None:
                        ended = True
                    elif isinstance(item, threading.Event):
                        waiting.append(item)
                    else:
                        rows.append(item)
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
