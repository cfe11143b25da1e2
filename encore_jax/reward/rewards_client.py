"""Asks a reward server from a trainer: waits while it is busy or restarts, and tells in one line what it refuses."""

from __future__ import annotations

import dataclasses
import http.client
import json
import logging
import math
import ssl
import time
import urllib.error
import urllib.request
from collections.abc import Sequence
from typing import Any

from encore_jax.errors import InputError
from encore_jax.http_replies import BadBody, checked_url, error_words, unpacked, wait_asked
from encore_jax.json_shape import decode_json
from encore_jax.terminal_text import cut, one_line

RETRIES, LONGEST_WAIT = 8, 60.0
"""How often a busy or restarting server is asked again, and for how many seconds at most one waits for it."""

BUSY = (408, 425, 429, 502, 503, 504, 520, 521, 522, 523, 524)
"""HTTP statuses that mean "later", of the server or of a proxy before it."""

TIMEOUT = 600.0
"""Seconds that one reply may take in all."""

_BODY, _BODY_PER_REWARD = 1 << 20, 64
_SERVER = "ask a server of this project, encore serve"


@dataclasses.dataclass(frozen=True)
class _Rewards:
    rewards: list[float | None]


@dataclasses.dataclass(frozen=True)
class _Refusal:
    message: str
    where: str = ""
    fix: str = ""


@dataclasses.dataclass(frozen=True)
class _Refused:
    error: _Refusal


class _Busy(Exception):
    """The server did not answer this time; `wait`, if it said for how long."""

    def __init__(self, why: str, wait: float | None = None):
        super().__init__(why)
        self.wait = wait


class _Stay(urllib.request.HTTPRedirectHandler):
    """Follows no redirection: it would take the token to another host, and turn a POST into a GET."""

    def redirect_request(self, *args):
        return None


class RewardsClient:
    """Posts prompts and completions to ``URL/rewards``.

    Args:
      url: of the server, e.g. "http://127.0.0.1:8000".
      token: the server's, if it has one; never shown.

    Raises:
      InputError: no address, or what cannot be a token.
    """

    def __init__(self, url: str, token: str = ""):
        self._url = f"{checked_url(url)}/rewards"
        if not (token.isascii() and token.isprintable()):
            raise InputError("holds what no token can hold (not repeated here)", where="token", fix="give it as it is")
        self._token = token
        self._headers = {"Content-Type": "application/json"} | ({"Authorization": f"Bearer {token}"} if token else {})
        self._opener = urllib.request.build_opener(_Stay)

    def rewards(self, prompts: Sequence[Any], completions: Sequence[Any]) -> list[float | None]:
        """One reward per completion, None where there is none.

        Raises:
          InputError: the server refuses the request, or answers with something else than these rewards.
          ConnectionError: it stays busy or away for long.
        """
        try:
            body = json.dumps({"prompts": list(prompts), "completions": list(completions)}).encode()
        except (TypeError, ValueError, RecursionError) as error:
            problem = f"prompts or completions are no JSON: {cut(one_line(error), 100)}"
            raise InputError(problem, where="reward function", fix="give texts or messages") from None
        answer = self._posted(body, _BODY + _BODY_PER_REWARD * len(prompts))
        if len(answer) != len(prompts):
            raise InputError(f"{len(answer)} rewards for {len(prompts)} completions", where=self._url, fix=_SERVER)
        if not all(value is None or math.isfinite(value) for value in answer):
            raise InputError("a reward is not finite", where=self._url, fix=_SERVER)
        return answer

    def _posted(self, body: bytes, most: int) -> list[float | None]:
        for attempt in range(RETRIES):
            try:
                return self._once(body, most)
            except _Busy as busy:
                wait = min(busy.wait if busy.wait is not None else 2.0**attempt, LONGEST_WAIT)
                why = str(busy)
            if attempt + 1 < RETRIES:
                say = logging.getLogger(__name__).warning
                say("%s: %s; try %d of %d in %.0f s", self._url, why, attempt + 2, RETRIES, wait)
                time.sleep(wait)
        raise ConnectionError(f"{self._url} did not answer {RETRIES} times; the last time: {why}")

    def _once(self, body: bytes, most: int) -> list[float | None]:
        request = urllib.request.Request(self._url, body, self._headers)
        try:
            with self._opener.open(request, timeout=TIMEOUT) as response:
                raw = _read(response, most)
                raw = unpacked(raw, response.headers.get("Content-Encoding", ""), most)
        except BadBody as error:
            raise InputError(str(error), where=self._url, fix=_SERVER) from None
        except urllib.error.HTTPError as error:
            with error:
                raise self._refusal(error) from None
        except urllib.error.URLError as error:
            if isinstance(error.reason, ssl.SSLError):
                raise InputError(_words(error.reason), where=self._url, fix="correct the address") from None
            raise _Busy(_words(error.reason)) from None
        except (OSError, http.client.HTTPException) as error:
            raise _Busy(_words(error)) from None
        if not raw.strip():
            raise _Busy("an empty reply")
        try:
            return decode_json(raw, _Rewards, where=self._url, fix=_SERVER).rewards
        except InputError as error:
            said = error_words(raw, self._hidden, 100)
            raise InputError(f"{error.problem}; it says '{said}'", where=self._url, fix=_SERVER) from None

    def _refusal(self, error: urllib.error.HTTPError) -> Exception:
        """What an HTTP error means, as an exception."""
        try:
            raw = _read(error, _BODY)
        except (OSError, http.client.HTTPException, BadBody):
            raw = b""
        said = error_words(raw, self._hidden)
        if error.code in BUSY:
            return _Busy(f"HTTP {error.code}{said and f': {said}'}", wait_asked(error.headers))
        try:
            refusal = decode_json(raw, _Refused, where=self._url).error
        except InputError:
            fix = "give the server's token" if error.code in (401, 403) else _SERVER
            return InputError(f"HTTP {error.code}{said and f': {said}'}", where=self._url, fix=fix)
        message, where, fix = (self._hidden(text) for text in dataclasses.astuple(refusal))
        return InputError(message, where=where or self._url, fix=fix)

    def _hidden(self, text: str) -> str:
        return text.replace(self._token, "[token]") if self._token else text


def _read(response: Any, most: int) -> bytes:
    """A body of at most so many bytes, in `TIMEOUT` seconds at most.

    Raises:
      BadBody: it is longer.
      OSError, http.client.HTTPException: it is cut off, or takes longer.
    """
    until, parts, size = time.monotonic() + TIMEOUT, [], 0
    while part := response.read1(1 << 16):
        parts.append(part)
        size += len(part)
        if size > most:
            raise BadBody(f"body longer than {most:,} bytes")
        if time.monotonic() > until:
            raise TimeoutError(f"no whole reply in {TIMEOUT:g} s")
    declared = response.headers.get("Content-Length", "")
    if declared.isdigit() and size < int(declared[:20]):
        raise http.client.IncompleteRead(b"", int(declared[:20]) - size)
    return b"".join(parts)


def _words(error: object) -> str:
    said = cut(one_line(getattr(error, "strerror", None) or error), 200)
    return said or type(error).__name__
