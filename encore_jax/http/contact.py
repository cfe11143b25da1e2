"""Waiting for a judge's servers: the first contact within a bounded time, and a line in the log at every silence."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import ssl
import time
from collections.abc import Iterator, Sequence
from urllib.parse import urlsplit

import aiohttp

from encore_jax.errors import InputError
from encore_jax.http.endpoints import Endpoint, Endpoints
from encore_jax.http.replies import checked_url
from encore_jax.http.settings import ApiKey, ServerSettings
from encore_jax.terminal_text import cut, one_line

CONNECT_TIMEOUT = 10.0
"""Seconds that one connection may take to be made."""

TIMED_OUT, DROPPED = "timed out", "connection failed or dropped"
REFUSED, NO_NAME, NO_TLS = "connection refused", "the host's name is not known", "no secure connection"
NOT_HTTP, UNREACHABLE, NO_CONNECTION = "the answer is not HTTP", "the host cannot be reached", "no connection in time"

_LOOK_EVERY, _LOOK_LONGEST = 0.25, 5.0
_SAY_AFTER = 1.5

FIRST, LATER = 2.0, 30.0
"""Seconds of silence before the first answer, and between two, after which it says so; then twice as long each time."""

_LONGEST = 600.0

_say = logging.getLogger(__name__).warning


def connection_problem(error: BaseException) -> tuple[str, str]:
    """Why there was no reply: the kind, in the same words for the same kind, and the details on one line.

    >>> connection_problem(ConnectionRefusedError(111, "Connect call failed ('127.0.0.1', 9)"))
    ('connection refused', "Connect call failed ('127.0.0.1', 9)")
    """
    cause = getattr(error, "os_error", None) or error
    details = cut(one_line(getattr(cause, "strerror", None) or cause or type(cause).__name__), 200)
    if isinstance(error, aiohttp.ClientConnectorCertificateError):
        cause = error.certificate_error
        details = cut(one_line(cause), 200)
    if isinstance(cause, ssl.SSLError | ssl.CertificateError) or isinstance(error, aiohttp.ClientSSLError):
        return NO_TLS, details
    if isinstance(error, aiohttp.ClientConnectorDNSError) or type(cause).__name__ in ("gaierror", "herror"):
        return NO_NAME, details
    if isinstance(error, aiohttp.ConnectionTimeoutError):
        return NO_CONNECTION, ""
    if isinstance(cause, TimeoutError):
        return TIMED_OUT, ""
    if isinstance(cause, ConnectionRefusedError):
        return REFUSED, details
    if isinstance(error, aiohttp.ClientConnectorError):
        return UNREACHABLE, details
    if isinstance(error, aiohttp.ClientResponseError | aiohttp.http.HttpProcessingError):
        return NOT_HTTP, details
    return DROPPED, f"{type(error).__name__}: {details}" if details else type(error).__name__


async def first_contact(endpoints: Sequence[Endpoint], wait: float) -> None:
    """Returns once one of the endpoints takes connections; says after `_SAY_AFTER` seconds what it waits for.

    Args:
      endpoints: all that there are; `Endpoint.last` is set to what is wrong with each.
      wait: seconds after which it gives up.

    Raises:
      InputError: none did in that time, or none ever will.
    """
    start = time.monotonic()
    tasks = [asyncio.create_task(_look(endpoint, start + wait)) for endpoint in endpoints]
    log = asyncio.create_task(_log(endpoints, start, wait))
    try:
        waiting = set(tasks)
        while waiting:
            done, waiting = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
            if any(task.result() for task in done):
                return
    finally:
        for task in (*tasks, log):
            task.cancel()
        await asyncio.gather(*tasks, log, return_exceptions=True)
    tries = sum(endpoint.looks for endpoint in endpoints)
    for_ever = all(endpoint.last.startswith(NO_TLS) for endpoint in endpoints)
    took = f"{tries} {'try' if tries == 1 else 'tries'} in {time.monotonic() - start:.0f} s"
    raise InputError(
        f"no contact after {took}: {_states(endpoints)}",
        where="the judge's server",
        fix="correct the address (http or https?) or the certificate"
        if for_ever
        else "start the server, or correct the address; for one that takes long to load wait longer, with "
        "--config.judge.server.retry.first_contact=SECONDS",
    )


def check_contact(settings: ServerSettings) -> None:
    """Returns once one of a judge's servers takes connections; nothing is asked.

    Args:
      settings: where it is, its key's variable, and how long to wait.

    Raises:
      InputError: none does in that time, or there is no key.
    """
    ApiKey(settings.key_variable)
    endpoints = [Endpoint(checked_url(url, "urls")) for url in settings.urls]
    asyncio.run(first_contact(endpoints, min(settings.retry.first_contact, settings.retry.patience)))


async def _look(endpoint: Endpoint, until: float) -> bool:
    """Whether the endpoint takes a connection before the time is up."""
    wait = _LOOK_EVERY
    while True:
        endpoint.looks += 1
        endpoint.last = ""
        left = until - time.monotonic()
        kind, details = await _connect(endpoint.url, max(0.1, min(CONNECT_TIMEOUT, left)))
        if not kind:
            return True
        endpoint.last = f"{kind} ({details})" if details else kind
        left = until - time.monotonic()
        if kind == NO_TLS or left <= 0:
            return False
        await asyncio.sleep(min(wait, left))
        wait = min(2 * wait, _LOOK_LONGEST)


async def _connect(url: str, timeout: float) -> tuple[str, str]:
    """Makes a connection and closes it; ("", "") or why there is none."""
    parts = urlsplit(url)
    secure = parts.scheme == "https"
    try:
        async with asyncio.timeout(timeout):
            _, writer = await asyncio.open_connection(
                parts.hostname,
                parts.port or (443 if secure else 80),
                ssl=ssl.create_default_context() if secure else None,
            )
    except TimeoutError:
        return NO_CONNECTION, ""
    except (OSError, ValueError) as error:
        problem = connection_problem(error)
        return (UNREACHABLE, problem[1]) if problem[0] == DROPPED else problem
    writer.transport.abort()
    return "", ""


async def _log(endpoints: Sequence[Endpoint], start: float, wait: float) -> None:
    pause = _SAY_AFTER
    while True:
        await asyncio.sleep(pause)
        _say(
            "no judge reached after %.0f s, trying for %.0f s in all: %s",
            time.monotonic() - start, wait, _states(endpoints),
        )  # fmt: skip
        pause = 10.0


def _states(endpoints: Sequence[Endpoint]) -> str:
    still = f"waiting for a connection (up to {CONNECT_TIMEOUT:g} s a try)"
    return _first_four([f"{e.url}: {e.last or still}" for e in endpoints])


def _first_four(states: Sequence[str]) -> str:
    more = len(states) - 4
    return "; ".join(states[:4]) + (f"; and {more} more" if more > 0 else "")


class Patience:
    """Watches a client's requests, and says in the log what it waits for whenever it has waited for a while.

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
        now, states = time.monotonic(), []
        for e in self._endpoints.all:
            rests = e.rests_until - now
            doing = f"asked to be left alone for {rests:.0f} s more" if rests > 0.5 else f"{e.in_flight} requests open"
            doing = "is down, and asked for its health" if e.down else doing
            states.append(f"{e.url} {doing}{e.last and f'; the last time: {e.last}'}")
        return _first_four(states)

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
