"""Says what a client waits for whenever it has waited for a while: nobody watches a silent run."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Iterator

from encore_jax.judge.endpoints import Endpoints

FIRST, LATER = 2.0, 30.0
"""Seconds of silence before the first answer, and between two, after which it says so; then twice as long each time."""

_LONGEST = 600.0
_say = logging.getLogger(__name__).warning


class Patience:
    """Watches a client's requests.

    Args:
      endpoints: whose state it tells.
      timeout: seconds that one request may take.
    """

    def __init__(self, endpoints: Endpoints, timeout: float):
        self._endpoints, self._timeout = endpoints, timeout
        self._open = self._answers = 0
        self._since, self._next = 0.0, FIRST
        self._task: asyncio.Task | None = None

    def start(self) -> None:
        """Begins to watch; within a running loop."""
        self._task = asyncio.get_running_loop().create_task(self._watch())

    async def close(self) -> None:
        """Ends it."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    @contextlib.contextmanager
    def waiting(self) -> Iterator[None]:
        """Around everything that somebody waits for."""
        if not self._open:
            self._begin()
        self._open += 1
        try:
            yield
        finally:
            self._open -= 1

    def heard(self, *, answer: bool) -> None:
        """A request has ended; with an answer or not."""
        if answer:
            self._answers += 1
            self._begin()

    def states(self) -> str:
        """What every endpoint does, in words."""
        now, told = time.monotonic(), []
        for e in self._endpoints.all[:4]:
            rests = e.rests_until - now
            doing = f"asked to be left alone for {rests:.0f} s more" if rests > 0.5 else f"{e.in_flight} requests open"
            doing = "is down, and asked for its health" if e.down else doing
            told.append(f"{e.url} {doing}{e.last and f'; the last time: {e.last}'}")
        more = len(self._endpoints.all) - 4
        return "; ".join(told) + (f"; and {more} more" if more > 0 else "")

    def _begin(self) -> None:
        self._since, self._next = time.monotonic(), LATER if self._answers else FIRST

    async def _watch(self) -> None:
        while True:
            await asyncio.sleep(0.25)
            silent = time.monotonic() - self._since
            if (
                self._open
                and silent >= self._next
                and any(e.in_flight or e.down or e.last for e in self._endpoints.all)
            ):
                what = "the first answer" if not self._answers else "further answers"
                _say(
                    "waiting for %s for %.0f s (one request may take %.0f s): %s",
                    what, silent, self._timeout, self.states(),
                )  # fmt: skip
                self._next = min(max(LATER, 2 * self._next), self._next + _LONGEST)
