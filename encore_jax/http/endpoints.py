"""Several servers of one model: which is asked next, which rests, which is down, and how fast they are asked."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

from encore_jax.errors import InputError
from encore_jax.http.replies import checked_url

DOWN_AFTER = 5
"""Failures in a row after which an endpoint is only asked for its health."""

PROBE_EVERY = 1.0
"""Seconds between two questions for its health, at first; twice as long after each, up to `PROBE_LONGEST`."""

PROBE_LONGEST = 30.0


@dataclass(eq=False)
class Endpoint:
    """A server's address and how it does.

    Attributes:
      url: without a path after the host and an optional prefix, e.g. "http://10.0.0.2:8000".
      in_flight: requests it has not answered.
      rests_until: it asked to be left alone until then, `time.monotonic`.
      failures: in a row.
      down: only asked for its health.
      downs: times in a row that it said it was well and then failed again.
      heard: it has answered a request, with whatever status.
      looks: connections tried before the first request.
      last: what went wrong the last time, in words; "" if nothing did.
    """

    url: str
    in_flight: int = 0
    rests_until: float = 0.0
    failures: int = 0
    down: bool = False
    downs: int = 0
    heard: bool = False
    looks: int = 0
    last: str = ""


class Endpoints:
    """Chooses the endpoint with the fewest requests in flight among those that are up and do not rest.

    Args:
      urls: one or more.
      probe: asks an endpoint for its health; True if it can be used.
      patience: seconds without any usable endpoint after which `acquire` gives up.
      first: the same until any of them has answered for the first time.
    """

    def __init__(
        self, urls: Sequence[str], probe: Callable[[Endpoint], Awaitable[bool]], patience: float, first: float
    ):
        if not urls:
            raise InputError("there is none", where="urls", fix="give at least one address")
        self.all = [Endpoint(checked_url(url, f"urls[{i}]")) for i, url in enumerate(urls)]
        self._probe, self._patience, self._first = probe, patience, first
        self._probing: set[asyncio.Task] = set()
        self._changed = asyncio.Event()

    @property
    def patience(self) -> float:
        """Seconds without any usable endpoint that are waited for."""
        heard = any(endpoint.heard for endpoint in self.all)
        return self._patience if heard else min(self._first, self._patience)

    async def acquire(self, avoid: Endpoint | None = None) -> Endpoint:
        """A usable endpoint, waited for; counted as one more request in flight until `release`.

        Args:
          avoid: taken only if there is no other: one that fails at once would have the fewest in flight, and draw all.

        Raises:
          TimeoutError: all were down for as long as patience goes.
        """
        since = time.monotonic()
        while True:
            now = time.monotonic()
            up = [e for e in self.all if not e.down]
            usable = [e for e in up if self.usable(e)]
            if usable:
                chosen = min(usable, key=lambda e: (e is avoid, e.in_flight))
                chosen.in_flight += 1
                return chosen
            if up:
                since = now  # resting is not being down
            elif now - since > self.patience:
                raise TimeoutError
            wait = min((e.rests_until for e in up), default=math.inf) - now
            self._changed.clear()
            try:
                await asyncio.wait_for(self._changed.wait(), min(wait, self.patience / 4, PROBE_LONGEST))
            except TimeoutError:
                pass

    def usable(self, endpoint: Endpoint) -> bool:
        """Whether it can be asked right now."""
        return not endpoint.down and endpoint.rests_until <= time.monotonic()

    def release(self, endpoint: Endpoint, *, failed: bool = False, heard: bool = True) -> None:
        """The request is over; after `DOWN_AFTER` failures in a row the endpoint is down until it says it is well."""
        endpoint.in_flight -= 1
        endpoint.heard = endpoint.heard or heard
        endpoint.failures = endpoint.failures + 1 if failed else 0
        endpoint.downs = endpoint.downs if failed else 0
        if endpoint.failures >= DOWN_AFTER and not endpoint.down:
            endpoint.down = True
            task = asyncio.get_running_loop().create_task(self._watch(endpoint))
            self._probing.add(task)
            task.add_done_callback(self._probing.discard)

    def rest(self, endpoint: Endpoint, seconds: float) -> None:
        """Leaves an endpoint alone for so long."""
        endpoint.rests_until = max(endpoint.rests_until, time.monotonic() + seconds)

    async def _watch(self, endpoint: Endpoint) -> None:
        wait = min(PROBE_EVERY * 2.0**endpoint.downs, PROBE_LONGEST)
        await asyncio.sleep(wait)
        while not await self._probe(endpoint):
            wait = min(2 * wait, PROBE_LONGEST)
            await asyncio.sleep(wait)
        endpoint.downs += 1
        endpoint.down, endpoint.failures = False, DOWN_AFTER - 1  # one more failure and it is down again
        self._changed.set()

    async def close(self) -> None:
        """Stops asking for anybody's health."""
        for task in self._probing:
            task.cancel()
        await asyncio.gather(*self._probing, return_exceptions=True)


class RateLimit:
    """At most so many requests a second, evenly spaced; 0 means no limit."""

    def __init__(self, per_second: float):
        self._gap = 1.0 / per_second if per_second else 0.0
        self._next = 0.0

    async def wait(self) -> None:
        """Until it is this request's turn."""
        if self._gap:
            now = time.monotonic()
            turn = max(self._next, now)
            self._next = turn + self._gap
            if turn > now:
                await asyncio.sleep(turn - now)
