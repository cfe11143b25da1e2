"""How many connections are open, and which of them makes room when there are too many."""

from __future__ import annotations

import collections
import dataclasses
import resource
import time
from collections.abc import Callable
from typing import Protocol

SPARE_FILES = 128
"""Files beside the connections that the process may have open at once: model, logs, compiled programs."""

REPORT_SECONDS = 10.0
"""At most one line in so many seconds says which connections were closed."""


@dataclasses.dataclass(frozen=True)
class Patience:
    """How long, in seconds, is waited for a client.

    Attributes:
      read: for a request's head, and again for its body.
      idle: between requests.
      request: from a request's head until its answer is written.
      leave: for a client to read why it was refused, before the connection is cut.
    """

    read: float = 10.0
    idle: float = 60.0
    request: float = 70.0
    leave: float = 2.0


class Connection(Protocol):
    """What is asked of a connection.

    Attributes:
      address: of its client.
      since: when it last did something useful, by a monotonic clock.
      working: whether a request of it is being read or answered right now.
    """

    address: str
    since: float
    working: bool

    def evict(self) -> None:
        """Closes it at once."""


class Connections:
    """The open connections of a server. Where one is too many, one without a request gives way to the newcomer.

    The one that gives way belongs to the client that holds the most of those without a request, and is its oldest. So
    neither silent connections nor half-sent requests keep anybody out, however many they are.

    Args:
      limit: most connections open at once.
      patience: with each of them.
      count: is told the reason whenever one is closed by this side.
    """

    def __init__(
        self, limit: int = 1024, patience: Patience | None = None, count: Callable[[str], None] = lambda reason: None
    ):
        self.limit, self.patience = limit, patience or Patience()
        self._count = count
        self._open: dict[Connection, None] = {}
        self._closed: collections.Counter[str] = collections.Counter()
        self._reported = -REPORT_SECONDS

    def __len__(self) -> int:
        return len(self._open)

    def admit(self, connection: Connection) -> None:
        """Counts a new connection, and closes another one if that is too many."""
        self._open[connection] = None
        if len(self._open) > self.limit:
            waiting = [one for one in self._open if not one.working]
            held = collections.Counter(one.address for one in waiting)
            victim = min(waiting, key=lambda one: (-held[one.address], one.since))
            self.closed("to make room")
            self.forget(victim)
            victim.evict()

    def forget(self, connection: Connection) -> None:
        """Counts a connection no longer."""
        self._open.pop(connection, None)

    def closed(self, reason: str) -> None:
        """Takes note that one is closed, and why."""
        self._closed[reason] += 1
        self._count(reason)

    def report(self) -> str:
        """A line about the connections closed since the last one; "" if there are none, or it was a moment ago."""
        if not self._closed or time.monotonic() - self._reported < REPORT_SECONDS:
            return ""
        self._reported = time.monotonic()
        reasons = ", ".join(f"{number} {reason}" for reason, number in self._closed.items())
        self._closed.clear()
        return f"closed connections: {reasons}; {len(self)} of at most {self.limit} are open"


def affordable(wanted: int) -> int:
    """So many of the wanted connections can be open at once; raises the process's limit of open files for them."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    needed = wanted + SPARE_FILES
    unlimited = resource.RLIM_INFINITY
    if soft == unlimited or soft >= needed:
        return wanted
    raised = needed if hard == unlimited else min(needed, hard)
    resource.setrlimit(resource.RLIMIT_NOFILE, (raised, hard))
    return min(wanted, max(1, raised - SPARE_FILES))
