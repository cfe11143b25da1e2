"""An asynchronous client of OpenAI-compatible servers that asks until it has an answer, and knows when to stop."""

from __future__ import annotations

import asyncio
import json
import random
import re
import time
from collections.abc import Mapping
from typing import NamedTuple

import aiohttp

from encore_jax.errors import InputError
from encore_jax.http_replies import wait_asked
from encore_jax.judge.api_key import ApiKey
from encore_jax.judge.endpoints import Endpoint, Endpoints, RateLimit
from encore_jax.judge.reading import MOST_RAW
from encore_jax.judge.retrying import RETRIED, THROTTLED, backoff
from encore_jax.judge.server_settings import ServerSettings

FATAL = {
    301: "it sends us elsewhere",
    302: "it sends us elsewhere",
    307: "it sends us elsewhere",
    308: "it sends us elsewhere",
    401: "it wants another API key",
    403: "it does not let this API key in",
    404: "it knows no such path or model",
    405: "it knows no such path",
}
"""HTTP statuses that every further request would meet as well."""

NOT_JSON, TIMED_OUT, DROPPED = "body is not JSON", "timed out", "connection failed or dropped"
_ESCAPED = re.compile(r"\\u00([0-7][0-9a-fA-F])|\\/")
SHOWN = 300
"""Characters of a server's words in a message."""


class Reply(NamedTuple):
    """The end of one question.

    Attributes:
      body: the JSON that was answered, or None.
      problem: "" or why there is none, the same words for the same kind.
      raw: the server's words, where there is a problem.
      faults: what went wrong before and was tried again.
    """

    body: Mapping | None
    problem: str = ""
    raw: str = ""
    faults: tuple[str, ...] = ()


class Client:
    """Posts JSON to whichever endpoint can take it; use as an asynchronous context manager.

    Args:
      settings: where, and how hard.
      path: of every request.
    """

    def __init__(self, settings: ServerSettings, path: str):
        self._settings, self._path, self._key = settings, path, ApiKey(settings.key_variable)
        self._chance = random.Random()
        self.endpoints = Endpoints(settings.urls, self._is_well, settings.retry.patience)
        self._limit = RateLimit(settings.requests_per_second)

    async def __aenter__(self) -> Client:
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0, limit_per_host=0, ttl_dns_cache=300),
            timeout=aiohttp.ClientTimeout(total=self._settings.timeout, sock_connect=min(10.0, self._settings.timeout)),
            headers=self._key.headers | {"Content-Type": "application/json"},
            cookie_jar=aiohttp.DummyCookieJar(),
        )
        return self

    async def __aexit__(self, *error) -> None:
        await self.endpoints.close()
        await self._session.close()

    async def ask(self, body: Mapping) -> Reply:
        """The reply to one request, tried again as the settings say; cancelled together with the caller.

        Raises:
          InputError: no further request can succeed: the key, the model or the path is wrong, or all endpoints are
            down for longer than patience goes. Never holds the API key.
        """
        retry, faults, tried, endpoint = self._settings.retry, [], 0, None
        data, until = json.dumps(body).encode(), time.monotonic() + retry.patience
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
        failed = True
        try:
            async with self._session.post(endpoint.url + self._path, data=data, allow_redirects=False) as response:
                raw = await response.read()
                status, after = response.status, wait_asked(response.headers)
            throttled = status in THROTTLED and (status == 429 or after is not None)
            failed = status >= 500 and not throttled
            if status == 200:
                return self._parsed(raw), False
            if throttled and after is not None:
                self.endpoints.rest(endpoint, after)
            if status in FATAL:
                raise InputError(
                    f"HTTP {status}: {FATAL[status]}; it says {self._words(raw)[:SHOWN]!r}",
                    where=endpoint.url + self._path,
                    fix="correct the address, the model's name or the variable with the API key, and run again",
                )
            return Reply(None, f"HTTP {status}", self._words(raw)), throttled
        except TimeoutError:  # aiohttp's own are of this kind
            return Reply(None, TIMED_OUT), False
        except (aiohttp.ClientError, OSError) as error:
            return Reply(None, DROPPED, self._key.hide(f"{type(error).__name__}: {error}")), False
        finally:
            self.endpoints.release(endpoint, failed=failed)

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
                f"no endpoint could be reached for {self._settings.retry.patience:g} s",
                where=", ".join(e.url for e in self.endpoints.all),
                fix="start the server and run the same command again; what was answered is kept",
            ) from None

    def _parsed(self, raw: bytes) -> Reply:
        try:
            body = json.loads(raw)
        except (ValueError, RecursionError):
            return Reply(None, NOT_JSON, self._words(raw))
        if not isinstance(body, dict):
            return Reply(None, NOT_JSON, self._words(raw))
        return Reply(self._key.hide(body))

    def _words(self, raw: bytes) -> str:
        """What the server said, cut to `MOST_RAW`; a key that is written with JSON's escapes is found, too."""
        try:
            text = json.dumps(self._key.hide(json.loads(raw)))
        except (ValueError, RecursionError):
            text = _ESCAPED.sub(_character, raw[:65536].decode(errors="replace"))
        return self._key.hide(text)[:MOST_RAW]

    async def _is_well(self, endpoint: Endpoint) -> bool:
        """Whether an endpoint answers at all; servers differ in what they offer, so any answer below 500 will do."""
        try:
            async with self._session.get(endpoint.url + "/v1/models", allow_redirects=False) as response:
                return response.status < 500
        except (aiohttp.ClientError, OSError, TimeoutError):
            return False


def _character(escape: re.Match) -> str:
    return chr(int(escape[1], 16)) if escape[1] else "/"


def _worth_a_retry(problem: str) -> bool:
    if not problem.startswith("HTTP "):
        return True
    status = int(problem.removeprefix("HTTP "))
    return status in RETRIED or status >= 500
