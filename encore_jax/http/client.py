"""An asynchronous client of OpenAI-compatible servers that asks until it has an answer, and knows when to stop."""

from __future__ import annotations

import asyncio
import contextlib
import json
import random
import re
import time
from collections.abc import Mapping
from typing import NamedTuple

import aiohttp

from encore_jax.errors import InputError
from encore_jax.http.contact import CONNECT_TIMEOUT, DROPPED, Patience, connection_problem, first_contact
from encore_jax.http.endpoints import Endpoint, Endpoints, RateLimit
from encore_jax.http.replies import ERROR_BODY, MOST_RAW, BadBody, error_in, error_words, unpacked, wait_asked
from encore_jax.http.settings import ApiKey, RetrySettings, ServerSettings
from encore_jax.json_shape import decode_json

MOST_BODY, MOST_ERROR = 2 << 20, 1 << 16
"""Bytes of a reply that are read, and of one that is only shown."""

NOT_JSON, TOO_LONG = "body is not JSON", f"body longer than {MOST_BODY:,} bytes"

RETRIED = (408, 409, 425, 429)
"""HTTP statuses below 500 that may pass."""

THROTTLED = (429, 503)
"""HTTP statuses that mean "later", not "broken"."""

_ADDRESS = "correct the address: it ends before /v1"
FATAL = {
    status: ("it sends us elsewhere", "write the address that it names") for status in (300, 301, 302, 303, 307, 308)
}
FATAL |= {
    401: ("it wants another API key", "name the variable with the right key: server.key_variable"),
    402: ("it wants to be paid", "see to the account's credit or quota"),
    403: ("it does not let this API key in", "use a key that may ask this model"),
    404: ("it knows no such path or model", f"correct the model's name, or {_ADDRESS}"),
    405: ("it knows no such path", _ADDRESS),
    407: ("a proxy wants to know who asks", "ask from where no proxy stands between"),
    410: ("it knows no such path or model any more", f"correct the model's name, or {_ADDRESS}"),
    451: ("it must not answer here", "ask another server"),
}
"""Of HTTP statuses that every further request would meet as well: what they mean, and what to do."""

_NO_QUOTA = re.compile(rb'"(?:insufficient_quota|billing_hard_limit_reached|billing_not_active|insufficient_balance)"')


class Reply(NamedTuple):
    """The end of one question.

    Attributes:
      body: the JSON that was answered, or None.
      problem: "" or why there is none, the same words for the same kind.
      raw: the server's reply, where there is a problem.
      words: what it says, on one line.
      faults: what went wrong before and was tried again.
    """

    body: Mapping | None
    problem: str = ""
    raw: str = ""
    words: str = ""
    faults: tuple[str, ...] = ()


class Client:
    """Posts JSON to whichever endpoint can take it; use as an asynchronous context manager.

    Says in the log what it waits for whenever there is nothing to hand out for a while (`Patience`).

    Args:
      settings: where, and how hard.
      path: of every request.
    """

    def __init__(self, settings: ServerSettings, path: str):
        self._settings, self._path, self._key = settings, path, ApiKey(settings.key_variable)
        self._chance = random.Random()
        self.endpoints = Endpoints(settings.urls, self._is_well, settings.retry.patience, settings.retry.first_contact)
        self._limit = RateLimit(settings.requests_per_second)
        self._contact: asyncio.Task | None = None
        self._session: aiohttp.ClientSession | None = None
        self._patience = Patience(self.endpoints, settings.timeout)

    async def __aenter__(self) -> Client:
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0, limit_per_host=0, ttl_dns_cache=300),
            timeout=aiohttp.ClientTimeout(
                total=self._settings.timeout, sock_connect=min(CONNECT_TIMEOUT, self._settings.timeout)
            ),
            headers=self._key.headers | {"Content-Type": "application/json", "Accept-Encoding": "identity"},
            cookie_jar=aiohttp.DummyCookieJar(),
            auto_decompress=False,  # a few bytes may stand for gigabytes
        )
        self._patience.start()
        return self

    async def __aexit__(self, *error) -> None:
        await self.close()

    async def close(self) -> None:
        """Ends everything that goes on in the background, and closes every connection; again, it does nothing."""
        await self._patience.close()
        if self._contact is not None:
            self._contact.cancel()
            await asyncio.gather(self._contact, return_exceptions=True)
        await self.endpoints.close()
        if self._session is not None:
            await self._session.close()

    async def ask(self, body: Mapping) -> Reply:
        """The reply to one request, tried again as the settings say; cancelled together with the caller.

        Raises:
          InputError: no further request can succeed: the key, the model or the path is wrong, no endpoint was ever
            reached, or all are down for longer than patience goes. Never holds the API key.
        """
        await self._reach()
        with self._patience.waiting():
            return await self._asked(json.dumps(body).encode())

    async def _reach(self) -> None:
        """The first caller looks for a server, all others wait for the same outcome."""
        if self._contact is None:
            retry = self._settings.retry
            contact = first_contact(self.endpoints.all, min(retry.first_contact, retry.patience))
            self._contact = asyncio.get_running_loop().create_task(contact)
        if self._contact.done():
            self._contact.result()
        else:
            await asyncio.shield(self._contact)

    async def _asked(self, data: bytes) -> Reply:
        retry, faults, tried, endpoint = self._settings.retry, [], 0, None
        until = time.monotonic() + retry.patience
        while True:
            endpoint = await self._acquire(endpoint)
            reply, throttled = await self._once(endpoint, data)
            tried += not throttled
            spent = tried >= retry.tries or time.monotonic() >= until
            if not reply.problem or spent or not _worth_a_retry(reply.problem):
                return reply._replace(faults=tuple(faults))
            faults.append(reply.problem)
            await asyncio.sleep(backoff(len(faults), retry, self._chance))

    async def _once(self, endpoint: Endpoint, data: bytes) -> tuple[Reply, bool]:
        """One request: its outcome, and whether the server only said "later"."""
        failed, heard, reply = True, False, Reply(None, DROPPED)
        try:
            status, headers, raw = await self._exchange(endpoint, data)
            after, heard = wait_asked(headers), True
            throttled = status in THROTTLED and (status == 429 or after is not None)
            failed = status >= 500 and not throttled
            if status == 200:
                reply = self._parsed(raw, headers.get("Content-Encoding", ""))
                return reply, False
            if throttled and after is not None:
                self.endpoints.rest(endpoint, after)
            with contextlib.suppress(BadBody):
                raw = unpacked(raw, headers.get("Content-Encoding", ""), MOST_ERROR)
            reply = Reply(None, f"HTTP {status}", *self._evidence(raw))
            if status in FATAL or is_out_of_quota(status, raw):
                raise self._fatal(endpoint, status, reply.words, headers.get("Location", ""))
            return reply, throttled
        except _NoReply as error:
            problem, why = error.args
            reply = Reply(None, problem, self._key.hide(why), self._key.hide(why))
            return reply, False
        finally:
            endpoint.last = reply.problem and f"{reply.problem}{reply.words and f': {reply.words}'}"
            self._patience.heard(answer=reply.body is not None)
            self.endpoints.release(endpoint, failed=failed, heard=heard)

    async def _exchange(self, endpoint: Endpoint, data: bytes) -> tuple[int, Mapping[str, str], bytes]:
        """Status, headers and body, of which no more is read than is looked at."""
        try:
            async with self._session.post(endpoint.url + self._path, data=data, allow_redirects=False) as response:
                most = MOST_BODY if response.status == 200 else MOST_ERROR
                return response.status, response.headers, await _read(response, most)
        except Exception as error:  # whatever a server does to a connection
            raise _NoReply(*connection_problem(error)) from None

    def _fatal(self, endpoint: Endpoint, status: int, words: str, location: str) -> InputError:
        what, fix = FATAL.get(status, FATAL[402])
        where = endpoint.url + self._path
        to = f" (to {self._key.hide(location.partition('?')[0])[:200]})" if location else ""
        said = f"; it says '{words}'" if words else ""
        return InputError(f"HTTP {status}: {what}{to}{said}", where=where, fix=f"{fix}, and run again")

    async def _acquire(self, avoid: Endpoint | None) -> Endpoint:
        try:
            while True:
                endpoint = await self.endpoints.acquire(avoid)
                await self._limit.wait()
                if self.endpoints.usable(endpoint):
                    return endpoint
                endpoint.in_flight -= 1  # it went down, or asked for rest, while this request waited for its turn
        except TimeoutError:
            raise InputError(
                f"no endpoint could be reached for {self.endpoints.patience:g} s; {self._patience.states()}",
                where=", ".join(e.url for e in self.endpoints.all[:4]),
                fix="start the server and run the same command again; what was answered is kept",
            ) from None

    def _parsed(self, raw: bytes, encoding: str) -> Reply:
        if len(raw) > MOST_BODY:
            return Reply(None, TOO_LONG, *self._evidence(raw))
        try:
            raw = unpacked(raw, encoding, MOST_BODY)
            body = decode_json(raw, dict, where="reply", replace_surrogates=True)
        except BadBody as error:
            return Reply(None, str(error))
        except InputError:
            return Reply(None, NOT_JSON, *self._evidence(raw))
        if error_in(body):
            return Reply(None, ERROR_BODY, *self._evidence(raw))
        return Reply(self._key.hide(body))

    def _evidence(self, raw: bytes) -> tuple[str, str]:
        """A reply that is no answer: its beginning, and what it says on one line."""
        return self._key.hide_in(raw[:MOST_ERROR])[:MOST_RAW], error_words(raw, self._key.hide_escaped)

    async def _is_well(self, endpoint: Endpoint) -> bool:
        """Whether an endpoint answers at all; servers differ in what they offer, so any answer below 500 will do."""
        timeout = aiohttp.ClientTimeout(total=min(CONNECT_TIMEOUT, self._settings.timeout))
        try:
            async with self._session.get(
                endpoint.url + "/v1/models", allow_redirects=False, timeout=timeout
            ) as response:
                endpoint.last = f"HTTP {response.status}" if response.status >= 500 else ""
                return response.status < 500
        except Exception as error:
            endpoint.last = self._key.hide(": ".join(filter(None, connection_problem(error))))
            return False


async def _read(response: aiohttp.ClientResponse, most: int) -> bytes:
    """A body, or, of one that is longer than `most`, a little more than that; what is left is never read.

    aiohttp closes a connection whose answer was not read to its end.
    """
    parts, size = [], 0
    async for part in response.content.iter_any():
        parts.append(part)
        size += len(part)
        if size > most:
            break
    return b"".join(parts)


class _NoReply(Exception):
    """There was none: the kind of problem, and the details."""


def backoff(tried: int, settings: RetrySettings, chance: random.Random) -> float:
    """Seconds to wait after so many tries: evenly distributed up to the exponential bound ("full jitter").

    >>> 0 <= backoff(3, RetrySettings(first_wait=1.0), random.Random(0)) <= 4
    True
    """
    doublings = min(max(tried - 1, 0), 64)
    return chance.uniform(0.0, min(settings.longest_wait, settings.first_wait * 2.0**doublings))


def is_out_of_quota(status: int, body: bytes) -> bool:
    """Whether "too many requests" means that no further one is paid for.

    >>> is_out_of_quota(429, b'{"error": {"code": "insufficient_quota"}}'), is_out_of_quota(429, b"slow down")
    (True, False)
    """
    return status == 429 and _NO_QUOTA.search(body[:4096]) is not None


def _worth_a_retry(problem: str) -> bool:
    if not problem.startswith("HTTP "):
        return True
    status = int(problem.removeprefix("HTTP "))
    return status in RETRIED or status >= 500
