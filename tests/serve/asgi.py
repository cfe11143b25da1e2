"""An ASGI client of a few lines: requests without sockets, and clients that leave."""

from __future__ import annotations

import asyncio
import json
from typing import Any, NamedTuple


class Reply(NamedTuple):
    """Status, headers and body of a response."""

    status: int
    headers: dict[str, str]
    body: bytes

    def json(self) -> Any:
        return json.loads(self.body)


async def request(
    app,
    path: str,
    body: Any = None,
    *,
    method: str = "POST",
    headers: dict[str, str] | None = None,
    leave=None,
    query=b"",
) -> Reply:
    """One request; `body` is bytes, or becomes JSON. After `leave` (an event, or seconds) the client is gone."""
    content = body if isinstance(body, bytes) else b"" if body is None else json.dumps(body).encode()
    received: list[dict] = []
    sent = False

    async def receive():
        nonlocal sent
        if not sent:
            sent = True
            return {"type": "http.request", "body": content, "more_body": False}
        await (asyncio.Event().wait() if leave is None else asyncio.sleep(leave))
        return {"type": "http.disconnect"}

    async def send(message):
        received.append(message)

    scope = {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": method,
        "path": path,
        "raw_path": path.encode(),
        "root_path": "",
        "scheme": "http",
        "query_string": query,
        "headers": [(k.lower().encode(), v.encode("latin-1")) for k, v in (headers or {}).items()],
        "client": ("127.0.0.1", 1),
        "server": ("127.0.0.1", 80),
    }
    await app(scope, receive, send)
    start = next(message for message in received if message["type"] == "http.response.start")
    content = b"".join(message.get("body", b"") for message in received if message["type"] == "http.response.body")
    return Reply(start["status"], {k.decode(): v.decode() for k, v in start["headers"]}, content)
