"""The one thread that writes a journal: whatever has arrived goes into one transaction, at once."""

from __future__ import annotations

import queue
import sqlite3
import threading
from collections.abc import Callable
from pathlib import Path

from encore_jax.errors import InputError

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

    Args:
      path: of the journal.
      connect: opens it.
    """

    def __init__(self, path: Path, connect: Callable[[Path], sqlite3.Connection]):
        self._path, self._connect = path, connect
        self._rows: queue.Queue = queue.Queue(maxsize=MOST)
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name="journal", daemon=True)
        self._thread.start()

    def put(self, attempt: tuple, rating: tuple) -> None:
        """Queues one answer's rows, waiting if the disk is far behind.

        Raises:
          InputError: the writer could not write.
        """
        self._check()
        self._rows.put((attempt, rating))

    def flush(self) -> None:
        """Returns when all rows put before are on the disk."""
        done = threading.Event()
        self._rows.put(done)
        done.wait()
        self._check()

    def close(self) -> None:
        """Flushes and ends the thread."""
        try:
            self.flush()
        finally:
            self._rows.put(None)
            self._thread.join()

    def _check(self) -> None:
        if self._error is not None:
            raise InputError(
                f"could not be written: {self._error}",
                where=str(self._path),
                fix="make room on the disk and run the same command again; what was committed is kept",
            )

    def _run(self) -> None:
        connection = self._connect(self._path)
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
            if rows and self._error is None:
                try:
                    with connection:
                        for attempt, rating in rows:
                            cursor = connection.execute(_ATTEMPT, attempt)
                            connection.execute(_RATING, (*rating, cursor.lastrowid))
                except sqlite3.Error as error:
                    self._error = error  # the rows after it are dropped: `put` and `flush` raise from now on
            for event in waiting:
                event.set()
        connection.close()

    def _arrived(self) -> list:
        """All that waits, at least one item."""
        items = [self._rows.get()]
        while len(items) < MOST:
            try:
                items.append(self._rows.get_nowait())
            except queue.Empty:
                break
        return items
