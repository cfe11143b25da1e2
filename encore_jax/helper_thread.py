"""A thread that works for a caller, who never waits for one that has died."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable
from typing import Any

from encore_jax.errors import InputError

LOOK_EVERY = 0.5
"""Seconds after which somebody who waits looks whether the thread still lives."""

_ENDED = object()


class HelperThread:
    """Runs a function; whatever ends it too early is raised wherever the caller waits for it.

    Args:
      work: takes nothing; to be over when the caller says so in a way of its own.
      name: of the thread, as messages call it.
      results: what `get` reads; its end wakes whoever waits there.

    >>> results = queue.SimpleQueue()
    >>> helper = HelperThread(lambda: results.put(1 / 0), "example", results)
    >>> helper.get(results)
    Traceback (most recent call last):
    ZeroDivisionError: division by zero
    """

    def __init__(self, work: Callable[[], None], name: str, results: queue.SimpleQueue | None = None):
        self._work, self._name, self._results = work, name, results
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        try:
            self._work()
        except BaseException as error:  # even what only ends a process ends this thread alone, and must be told
            self._error = error
        if self._results is not None:
            self._results.put(_ENDED)

    @property
    def ended(self) -> bool:
        """Whether it works no more."""
        return not self._thread.is_alive()

    def check(self) -> None:
        """Raises what ended the thread, or an InputError if it has ended without a word; it must still be needed."""
        if self.ended:
            raise self._error or InputError("ended early", where=f"thread {self._name}", fix="run the command again")

    def get(self, results: queue.SimpleQueue) -> Any:
        """The next result, waited for as long as the thread lives.

        Raises:
          BaseException: what ended the thread, once everything that it had put is handed out.
        """
        while True:
            ended = self.ended  # before looking: what it put last must not be missed
            try:
                item = results.get_nowait() if ended else results.get(timeout=LOOK_EVERY)
            except queue.Empty:
                if ended:
                    self.check()
            else:
                if item is not _ENDED:
                    return item
                self._thread.join()

    def put(self, work: queue.Queue, item: Any) -> None:
        """Hands over an item, waiting for room as long as the thread lives.

        Raises:
          BaseException: what ended the thread.
        """
        while True:
            self.check()
            try:
                return work.put(item, timeout=LOOK_EVERY)
            except queue.Full:
                pass

    def wait(self, event: threading.Event) -> None:
        """Waits for an event that the thread sets.

        Raises:
          BaseException: what ended the thread before it did.
        """
        while not event.wait(LOOK_EVERY):
            if self.ended and not event.is_set():
                self.check()

    def join(self) -> None:
        """Waits until it has ended, for whatever reason."""
        self._thread.join()
