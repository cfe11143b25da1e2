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
from typing import Any, TypeVar

import numpy as np

from encore_jax.composition.rule_graph import CompiledGraph, compile_graph
from encore_jax.errors import InputError
from encore_jax.http.replies import BadBody, checked_url, error_words, unpacked, wait_asked
from encore_jax.json_shape import decode_json
from encore_jax.reward.intervals import IntervalFacts, Intervals, no_intervals
from encore_jax.rules.graph import RuleGraph
from encore_jax.terminal_text import cut, one_line

RETRIES, LONGEST_WAIT = 8, 60.0
"""How often a busy or restarting server is asked again, and for how many seconds at most one waits for it."""

BUSY = (408, 425, 429, 502, 503, 504, 520, 521, 522, 523, 524)
"""HTTP statuses that mean "later", of the server or of a proxy before it."""

TIMEOUT = 600.0
"""Seconds that one reply may take in all."""

_BODY, _BODY_PER_REWARD = 1 << 20, 64
_SERVER = "ask a server of this project, encore serve"


_BODY_PER_SCORE = 2 * 32
T = TypeVar("T")


@dataclasses.dataclass(frozen=True)
class _Rewards:
    rewards: list[float | None]


@dataclasses.dataclass(frozen=True)
class _RuleRewards:
    scores: dict[str, list[float | None]]
    weights: dict[str, list[float | None]]


@dataclasses.dataclass(frozen=True)
class _Passport:
    graph: RuleGraph | None = None


@dataclasses.dataclass(frozen=True)
class _Model:
    rules: list[str]
    weights: dict[str, float] | None
    passport: _Passport = _Passport()
    intervals: IntervalFacts | None = None


@dataclasses.dataclass(frozen=True)
class _Models:
    data: list[_Model]


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
    """Posts prompts and completions to ``URL/rewards``, and asks ``URL/v1/models`` for the rules.

    Args:
      url: of the server, e.g. "http://127.0.0.1:8000".
      token: the server's, if it has one; never shown.

    Raises:
      InputError: no address, or what cannot be a token.
    """

    def __init__(self, url: str, token: str = ""):
        self._server = checked_url(url)
        self._url = f"{self._server}/rewards"
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
        answer = self._posted(_body(prompts, completions), _BODY + _BODY_PER_REWARD * len(prompts), _Rewards).rewards
        self._check(answer, len(prompts), "rewards")
        return answer

    def rules(self) -> tuple[tuple[str, ...], list[float] | None, CompiledGraph | None]:
        """The K rules of the server's model, their weights (None: they depend on the text), and its rule graph.

        Raises:
          InputError, ConnectionError: as `rewards`.
        """
        where, model = f"{self._server}/v1/models", self._model()
        rules, weights, graph = tuple(model.rules), model.weights, model.passport.graph
        if graph is not None:
            graph.check(rules, [1] * len(rules), f"{where}, graph")
        compiled = compile_graph(graph, rules) if graph else None
        if weights is None:
            return rules, None, compiled
        if weights.keys() != set(rules) or not all(math.isfinite(weight) for weight in weights.values()):
            raise InputError("it does not give every rule a weight", where=where, fix=_SERVER)
        return rules, [weights[rule] for rule in rules], compiled

    def intervals(self) -> Intervals:
        """The intervals of the server's model.

        Raises:
          InputError, ConnectionError: as `rewards`; or nobody has calibrated the server's model.
        """
        model, where = self._model(), f"{self._server}/v1/models"
        if model.intervals is None:
            raise no_intervals(where)
        return Intervals.from_facts(model.intervals, tuple(model.rules), f"{where}, intervals")

    def _model(self) -> _Model:
        where = f"{self._server}/v1/models"
        models = self._posted(None, _BODY * 16, _Models, where).data
        if not models or not models[0].rules or len(set(models[0].rules)) < len(models[0].rules):
            raise InputError("it names no model with rules", where=where, fix=_SERVER)
        return models[0]

    def scored(
        self, prompts: Sequence[Any], completions: Sequence[Any], rules: Sequence[str]
    ) -> tuple[np.ndarray, np.ndarray]:
        """Scores and weights of every rule, fp32 ``[N, K]``; NaN where a completion is too long.

        Raises:
          InputError, ConnectionError: as `rewards`; or the server's model has other rules by now.
        """
        most = _BODY + _BODY_PER_SCORE * (len(prompts) + 8) * len(rules)
        answer = self._posted(_body(prompts, completions, rules=True), most, _RuleRewards)
        tables = []
        for what, values in (("scores", answer.scores), ("weights", answer.weights)):
            if values.keys() != set(rules):
                fix = "make the reward functions again: the server's model is another one"
                raise InputError(f"{what} are of other rules than {', '.join(rules)[:200]}", where=self._url, fix=fix)
            for rule in rules:
                self._check(values[rule], len(prompts), f"{what} of {rule}")
            tables.append(np.array([values[rule] for rule in rules], np.float32).T.reshape(len(prompts), len(rules)))
        return tables[0], tables[1]

    def _check(self, answer: list[float | None], count: int, what: str) -> None:
        if len(answer) != count:
            raise InputError(f"{len(answer)} {what} for {count} completions", where=self._url, fix=_SERVER)
        if not all(value is None or math.isfinite(value) for value in answer):
            which = "a reward" if what == "rewards" else f"one of the {what}"
            raise InputError(f"{which} is not finite", where=self._url, fix=_SERVER)

    def _posted(self, body: bytes | None, most: int, shape: type[T], url: str = "") -> T:
        """The reply, of a declared shape and at most so many bytes; without a body it is a GET."""
        url = url or self._url
        for attempt in range(RETRIES):
            try:
                return self._once(body, most, shape, url)
            except _Busy as busy:
                wait = min(busy.wait if busy.wait is not None else 2.0**attempt, LONGEST_WAIT)
                why = str(busy)
            if attempt + 1 < RETRIES:
                say = logging.getLogger(__name__).warning
                say("%s: %s; try %d of %d in %.0f s", url, why, attempt + 2, RETRIES, wait)
                time.sleep(wait)
        raise ConnectionError(f"{url} did not answer {RETRIES} times; the last time: {why}")

    def _once(self, body: bytes | None, most: int, shape: type[T], url: str) -> T:
        request = urllib.request.Request(url, body, self._headers)
        try:
            with self._opener.open(request, timeout=TIMEOUT) as response:
                raw = _read(response, most)
                raw = unpacked(raw, response.headers.get("Content-Encoding", ""), most)
        except BadBody as error:
            raise InputError(str(error), where=url, fix=_SERVER) from None
        except urllib.error.HTTPError as error:
            with error:
                raise self._refusal(error, url) from None
        except urllib.error.URLError as error:
            if isinstance(error.reason, ssl.SSLError):
                raise InputError(_words(error.reason), where=url, fix="correct the address") from None
            raise _Busy(_words(error.reason)) from None
        except (OSError, http.client.HTTPException) as error:
            raise _Busy(_words(error)) from None
        if not raw.strip():
            raise _Busy("an empty reply")
        try:
            return decode_json(raw, shape, where=url, fix=_SERVER)
        except InputError as error:
            said = error_words(raw, self._hidden, 100)
            raise InputError(f"{error.problem}; it says '{said}'", where=url, fix=_SERVER) from None

    def _refusal(self, error: urllib.error.HTTPError, url: str) -> Exception:
        """What an HTTP error means, as an exception."""
        try:
            raw = _read(error, _BODY)
        except (OSError, http.client.HTTPException, BadBody):
            raw = b""
        said = error_words(raw, self._hidden)
        if error.code in BUSY:
            return _Busy(f"HTTP {error.code}{said and f': {said}'}", wait_asked(error.headers))
        try:
            refusal = decode_json(raw, _Refused, where=url).error
        except InputError:
            fix = "give the server's token" if error.code in (401, 403) else _SERVER
            return InputError(f"HTTP {error.code}{said and f': {said}'}", where=url, fix=fix)
        message, where, fix = (self._hidden(text) for text in dataclasses.astuple(refusal))
        return InputError(message, where=where or url, fix=fix)

    def _hidden(self, text: str) -> str:
        return text.replace(self._token, "[token]") if self._token else text


def _body(prompts: Sequence[Any], completions: Sequence[Any], **more: Any) -> bytes:
    try:
        return json.dumps({"prompts": list(prompts), "completions": list(completions), **more}).encode()
    except (TypeError, ValueError, RecursionError) as error:
        problem = f"prompts or completions are no JSON: {cut(one_line(error), 100)}"
        raise InputError(problem, where="reward function", fix="give texts or messages") from None


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
