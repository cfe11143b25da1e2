"""The model's side of HTTP: limits, authorisation, errors in words, and what happens when a client leaves."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import hmac
import logging
import time
from collections.abc import Callable, Mapping
from typing import Any

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from encore_jax.errors import InputError
from encore_jax.json_shape import decode_json
from encore_jax.serve.batcher import Busy, Closed, NotFinite
from encore_jax.serve.dialects import DIALECTS, RULES_SUFFIX
from encore_jax.serve.metrics import Metrics
from encore_jax.serve.refusal import Refused
from encore_jax.serve.service import Service, TooMany

LEFT = 499
"""Counted as the status of a request whose client left; nobody sees it."""


@dataclasses.dataclass(frozen=True)
class Limits:
    """What one request may ask for.

    Attributes:
      body_bytes: size of its body.
      texts: how many it may ask to score.
      seconds: it may take, from its head to its answer.
      read_seconds: its body may take.
      requests: may be open at once.
    """

    body_bytes: int = 4 << 20
    texts: int = 1024
    seconds: float = 60.0
    read_seconds: float = 10.0
    requests: int = 960


class App:
    """Requests for the model, as an ASGI application; `encore_jax.serve.front` stands before it.

    Args:
      service: the model, started.
      metrics: that count its batches.
      token: that clients must send as ``Authorization: Bearer TOKEN``; "" lets everybody in.
      limits: of requests.
    """

    def __init__(self, service: Service, metrics: Metrics, token: str = "", limits: Limits | None = None):
        self._service, self._metrics, self._token = service, metrics, token
        self._limits = limits or Limits()
        self.open, self.draining = 0, False
        metrics.watch(service.batcher)
        metrics.watch_texts(service)
        routes = [Route(path, self._handler(path), methods=["POST"]) for path in DIALECTS]
        routes += [Route("/metrics", self._show_metrics), Route("/v1/models", self._models)]
        errors = {status: _no_such for status in (404, 405)}
        self.asgi = Starlette(routes=routes, exception_handlers=errors)

    async def drain(self) -> None:
        """Refuses what comes from now on, and returns when everything accepted before is answered."""
        self.draining = True
        while self.open:
            await asyncio.sleep(0.02)

    def close(self) -> None:
        """Ends the threads; what nobody waits for is given up."""
        self._service.close(timeout=self._limits.seconds)

    @property
    def alive(self) -> bool:
        """Whether anything is scored."""
        return self._service.batcher.alive

    @property
    def name(self) -> str:
        """What clients call the model."""
        return self._service.served.name

    async def _show_metrics(self, request: Request) -> Response:
        try:
            self._authorise(request)
        except Refused as refused:
            return _response(refused)
        return Response(self._metrics.text(), media_type="text/plain; version=0.0.4")

    async def _models(self, request: Request) -> Response:
        try:
            self._authorise(request)
        except Refused as refused:
            return _response(refused)
        served = self._service.served
        weights = None if served.weights is None else served.by_rule(served.weights.tolist())
        about = {"rules": served.rules, "weights": weights, "passport": self._service.passport.to_dict()}
        about["intervals"] = served.intervals and served.intervals.facts()
        names = (served.name, served.name + RULES_SUFFIX)
        data = [{"id": name, "object": "model", "owned_by": "encore_jax", **about} for name in names]
        return JSONResponse({"object": "list", "data": data})

    def _handler(self, path: str) -> Callable:
        async def handle(request: Request) -> Response:
            start, status = time.perf_counter(), 500
            self.open += 1
            self._metrics.running.inc()
            try:
                response = await self._guarded(path, request)
                status = response.status_code
                return response
            finally:
                self.open -= 1
                self._metrics.running.dec()
                self._metrics.requests.labels(path, str(status)).inc()
                self._metrics.seconds.labels(path).observe(time.perf_counter() - start)

        return handle

    async def _guarded(self, path: str, request: Request) -> Response:
        """Every way a request can end, as a response."""
        try:
            async with asyncio.timeout(self._limits.seconds):
                return JSONResponse(await self._answer(path, request))
        except Refused as refused:
            return _response(refused)
        except TooMany as error:
            return _response(Refused(413, error.problem, where=error.where, fix=error.fix))
        except InputError as error:
            return _response(Refused(400, error.problem, where=error.where, fix=error.fix))
        except Busy as error:
            return _response(Refused(429, str(error), fix="wait", retry_after=error.retry_after))
        except Closed:
            return _response(_shutting_down())
        except TimeoutError:
            fix = "send less at a time, or come when less waits"
            return _response(Refused(504, f"took more than {self._limits.seconds:g} s", fix=fix))
        except ClientDisconnect:
            return Response(status_code=LEFT)
        except NotFinite as error:
            return _response(Refused(500, str(error), fix="look at the model's weights"))
        except asyncio.CancelledError:
            raise
        except BaseException as error:  # of whatever kind: a request's end is no reason to end the server
            logging.getLogger("encore_jax.serve").error("a request to %s failed", path, exc_info=error)
            return _response(Refused(500, "the server failed; its log says how"))

    async def _answer(self, path: str, request: Request) -> dict[str, Any]:
        self._authorise(request)
        if self.draining:
            raise _shutting_down()
        if self.open > self._limits.requests:
            raise Refused(429, f"{self._limits.requests} requests are open", fix="wait", retry_after=1)
        options = _options(path, request)
        body = _parsed(await self._read(request))
        ask = DIALECTS[path](body, self._service.served, **options)
        if len(ask.texts) > self._limits.texts:
            fix = "send fewer at a time"
            raise Refused(413, f"{len(ask.texts)} texts, and at most {self._limits.texts} are taken", fix=fix)
        return ask.answer(*await _unless_gone(request, self._service.scored(ask.texts, ask.partial)))

    def _authorise(self, request: Request) -> None:
        given = request.headers.get("authorization", "").encode()
        if self._token and not hmac.compare_digest(given, f"Bearer {self._token}".encode()):
            raise Refused(401, "not authorised", where="Authorization", fix="send Authorization: Bearer TOKEN")

    async def _read(self, request: Request) -> bytes:
        most, body = self._limits.body_bytes, bytearray()
        if (coding := request.headers.get("content-encoding", "identity").lower()) != "identity":
            raise Refused(415, f"{coding[:100]!r} is not understood", where="Content-Encoding", fix="send plain JSON")
        declared = request.headers.get("content-length", "")
        if declared.isdecimal() and len(declared) < 20 and int(declared) > most:
            raise _too_large(most)
        try:
            async with asyncio.timeout(self._limits.read_seconds):
                async for piece in request.stream():
                    body += piece
                    if len(body) > most:
                        raise _too_large(most)
        except TimeoutError:
            fix = "send it faster, or less at a time"
            raise Refused(408, f"it took more than {self._limits.read_seconds:g} s", where="body", fix=fix) from None
        return bytes(body)


def _parsed(body: bytes) -> Mapping[str, Any]:
    return decode_json(body, dict[str, object], where="body", fix="send a JSON object", unique_keys=True)


def _options(path: str, request: Request) -> dict[str, bool]:
    """What the address says after its question mark."""
    options = {}
    for name, value in request.query_params.multi_items():
        if (path, name, value) != ("/get_reward", "prompts", "plain"):
            fix = "leave it out; the one thing known is /get_reward?prompts=plain"
            raise InputError(f"{name[:50]}={value[:50]!r} is not known", where="query", fix=fix)
        options["plain"] = True
    return options


async def _unless_gone(request: Request, work) -> Any:
    """What `work` returns; it is cancelled if the client leaves before.

    Raises:
      ClientDisconnect: the client left.
    """
    task, left = asyncio.ensure_future(work), asyncio.ensure_future(_gone(request))
    try:
        await asyncio.wait((task, left), return_when=asyncio.FIRST_COMPLETED)
        if not task.done():
            raise ClientDisconnect
        return task.result()
    finally:
        for each in (task, left):
            each.cancel()
            with contextlib.suppress(asyncio.CancelledError, Exception):
                await each


async def _gone(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass


async def _no_such(request: Request, error: HTTPException) -> Response:
    known = f"POST to {', '.join(DIALECTS)}, or GET /health, /live, /metrics or /v1/models"
    where = f"{request.method} {request.scope['path'][:200]}"
    return _response(Refused(error.status_code, "there is nothing like that here", where=where, fix=known))


def _response(refused: Refused) -> Response:
    return Response(refused.content, refused.status, refused.headers)


def _too_large(most: int) -> Refused:
    return Refused(413, f"the body has more than {most} bytes", where="body", fix="send fewer texts at a time")


def _shutting_down() -> Refused:
    return Refused(503, "the server is shutting down", fix="ask another one", retry_after=1)
