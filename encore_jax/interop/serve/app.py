"""The HTTP side: limits, authorisation, errors in words, and what happens when a client leaves."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import hmac
import json
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
from encore_jax.interop.serve.batcher import Busy, Closed
from encore_jax.interop.serve.dialects import DIALECTS, RULES_SUFFIX
from encore_jax.interop.serve.metrics import Metrics
from encore_jax.interop.serve.service import Service, TooMany

LEFT = 499
"""Counted as the status of a request whose client left; nobody sees it."""


@dataclasses.dataclass(frozen=True)
class Limits:
    """What one request may ask for.

    Attributes:
      body_bytes: size of its body.
      texts: how many it may ask to score.
      seconds: it may take, from its first byte to its answer.
      requests: may be open at once.
    """

    body_bytes: int = 4 << 20
    texts: int = 1024
    seconds: float = 60.0
    requests: int = 1024


class Refused(Exception):
    """A response other than 200: status, message, fix, and seconds after which it is worth trying again."""

    def __init__(self, status: int, problem: str, *, where: str = "", fix: str = "", retry_after: int = 0):
        super().__init__(problem)
        self.status, self.retry_after = status, retry_after
        self.body = {"error": {"code": status, "message": problem, "where": where, "fix": fix}}

    def response(self) -> JSONResponse:
        """As it goes to the client."""
        return JSONResponse(self.body, self.status, {"Retry-After": str(self.retry_after)} if self.retry_after else {})


class App:
    """State of the server: whether it drains, and how many requests are open.

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
        routes = [Route(path, self._handler(path), methods=["POST"]) for path in DIALECTS]
        routes += [
            Route("/health", self._health),
            Route("/metrics", self._show_metrics),
            Route("/v1/models", self._models),
        ]
        errors = {status: _no_such for status in (404, 405)}
        self.asgi = Starlette(routes=routes, exception_handlers=errors)

    async def drain(self) -> None:
        """Refuses what comes from now on, and returns when everything accepted before is answered."""
        self.draining = True
        while self.open:
            await asyncio.sleep(0.02)

    async def _health(self, request: Request) -> Response:
        if self.draining:
            return JSONResponse({"status": "shutting down"}, 503)
        if not self._service.batcher.alive:
            return JSONResponse({"status": "the batcher has stopped"}, 500)
        return JSONResponse({"status": "ok", "model": self._service.served.name})

    async def _show_metrics(self, request: Request) -> Response:
        try:
            self._authorise(request)
        except Refused as refused:
            return refused.response()
        return Response(self._metrics.text(), media_type="text/plain; version=0.0.4")

    async def _models(self, request: Request) -> Response:
        try:
            self._authorise(request)
        except Refused as refused:
            return refused.response()
        served = self._service.served
        weights = None if served.weights is None else served.by_rule(served.weights.tolist())
        about = {"rules": served.rules, "weights": weights, "passport": self._service.passport.to_dict()}
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
            return refused.response()
        except TooMany as error:
            return Refused(413, error.problem, where=error.where, fix=error.fix).response()
        except InputError as error:
            return Refused(400, error.problem, where=error.where, fix=error.fix).response()
        except Busy as error:
            return Refused(429, str(error), fix="wait", retry_after=error.retry_after).response()
        except Closed:
            return _shutting_down().response()
        except TimeoutError:
            fix = "send less at a time, or come when less waits"
            return Refused(504, f"took more than {self._limits.seconds:g} s", fix=fix).response()
        except ClientDisconnect:
            return Response(status_code=LEFT)
        except Exception:
            logging.getLogger(__name__).exception("a request to %s failed", path)
            return Refused(500, "the server failed; its log says how").response()

    async def _answer(self, path: str, request: Request) -> dict[str, Any]:
        self._authorise(request)
        if self.draining:
            raise _shutting_down()
        if self.open > self._limits.requests:
            raise Refused(429, f"{self._limits.requests} requests are open", fix="wait", retry_after=1)
        body = _parsed(await self._read(request))
        options = {"plain": True} if path == "/get_reward" and request.query_params.get("prompts") == "plain" else {}
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
        declared = request.headers.get("content-length", "")
        if declared.isdecimal() and len(declared) < 20 and int(declared) > most:
            raise _too_large(most)
        async for piece in request.stream():
            body += piece
            if len(body) > most:
                raise _too_large(most)
        return bytes(body)


def _parsed(body: bytes) -> Mapping[str, Any]:
    try:
        parsed = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise InputError(f"not JSON: {str(error)[:100]}", where="body", fix="send a JSON object") from None
    if not isinstance(parsed, dict):
        raise InputError("not a JSON object", where="body", fix="send {...}")
    return parsed


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
    known = f"POST to {', '.join(DIALECTS)}, or GET /health, /metrics or /v1/models"
    where = f"{request.method} {request.url.path}"
    return Refused(error.status_code, "there is nothing like that here", where=where, fix=known).response()


def _too_large(most: int) -> Refused:
    return Refused(413, f"the body has more than {most} bytes", where="body", fix="send fewer texts at a time")


def _shutting_down() -> Refused:
    return Refused(503, "the server is shutting down", fix="ask another one", retry_after=1)
