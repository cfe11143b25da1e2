"""What stands before the model: answers while it is being loaded, says how the server is, and knows its own name."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from encore_jax.serve.refusal import Refused

if TYPE_CHECKING:
    from encore_jax.serve.app import App

PROBES = ("/health", "/live")
"""Answered whatever host the request names: a cluster's probes name an address."""


class Front:
    """The whole server as an ASGI application.

    ``/health`` says whether requests are answered (readiness): 200, or 503 while starting and while shutting down, or
    500. ``/live`` says whether it is worth waiting for that (liveness): 200, or 500 when only a restart helps.

    Args:
      hosts: names that a request's Host header may have, without port; ``*.example.com`` takes every name below. None
        at all allows every name.

    Attributes:
      doing: what the server is at while it starts.
      app: the model's part, once it is there.
      draining: whether the server shuts down.
    """

    def __init__(self, hosts: Sequence[str] = ()):
        self.hosts = tuple(host.lower() for host in hosts)
        self.doing = "loading libraries"
        self.app: App | None = None
        self.draining = False

    async def __call__(self, scope: dict, receive: Any, send: Any) -> None:
        """One request."""
        path = scope.get("path", "")
        if scope["type"] != "http":
            return
        if path not in PROBES and (refused := self._wrong_host(scope)):
            return await _send(send, refused)
        if path in PROBES and scope["method"] in ("GET", "HEAD"):
            return await _send(send, self._health() if path == "/health" else self._live())
        if self.app is None:
            return await _send(send, self._starting())
        return await self.app.asgi(scope, receive, send)

    async def drain(self) -> None:
        """Refuses what comes from now on, and returns when everything accepted before is answered."""
        self.draining = True
        if self.app:
            await self.app.drain()

    def _health(self) -> tuple[int, dict] | Refused:
        if self.draining:
            return 503, {"status": "shutting down"}
        if self.app is None:
            return 503, {"status": "starting", "doing": self.doing}
        if not self.app.alive:
            return 500, {"status": "the batcher has stopped"}
        return 200, {"status": "ok", "model": self.app.name}

    def _live(self) -> tuple[int, dict]:
        broken = self.app is not None and not self.draining and not self.app.alive
        return (500, {"status": "the batcher has stopped"}) if broken else (200, {"status": "alive"})

    def _starting(self) -> Refused:
        return Refused(503, f"the server is starting: {self.doing}", fix="wait until /health says ok", retry_after=1)

    def _wrong_host(self, scope: dict) -> Refused | None:
        if not self.hosts:
            return None
        named = next((value.decode("latin-1") for name, value in scope["headers"] if name == b"host"), "")
        if host_matches(named, self.hosts):
            return None
        return Refused(421, f"{named[:100]!r} is not served here", where="Host", fix="use a name from --allowed-hosts")


def host_matches(header: str, hosts: Sequence[str]) -> bool:
    """Whether a Host header names one of these hosts; its port does not matter.

    >>> host_matches("Reward.example.com:8000", ["reward.example.com"]), host_matches("evil.com", ["*.example.com"])
    (True, False)
    """
    name = header.strip().lower()
    name = name[: name.index("]") + 1] if name.startswith("[") and "]" in name else name.partition(":")[0]
    name = name.removesuffix(".")
    return any(name in (host, f"[{host}]") or (host.startswith("*.") and name.endswith(host[1:])) for host in hosts)


async def _send(send: Any, answer: tuple[int, dict] | Refused) -> None:
    if isinstance(answer, Refused):
        status, headers, content = answer.status, answer.headers, answer.content
    else:
        status, body = answer
        headers, content = {"Content-Type": "application/json"}, json.dumps(body).encode()
    headers = headers | {"Content-Length": str(len(content))}
    raw = [(name.lower().encode(), value.encode()) for name, value in headers.items()]
    await send({"type": "http.response.start", "status": status, "headers": raw})
    await send({"type": "http.response.body", "body": content})
