"""Responses other than 200: every one says in the same words what is wrong and what to do."""

from __future__ import annotations

import json


class Refused(Exception):
    """A response other than 200.

    Args:
      status: of HTTP.
      problem: what is wrong, in one sentence.
      where: the field, header or path.
      fix: what the client can do.
      retry_after: seconds after which it is worth trying again; 0 says nothing of it.

    >>> Refused(429, "too much waits", fix="wait", retry_after=3).headers["Retry-After"]
    '3'
    """

    def __init__(self, status: int, problem: str, *, where: str = "", fix: str = "", retry_after: int = 0):
        super().__init__(problem)
        self.status, self.retry_after = status, retry_after
        self.body = {"error": {"code": status, "message": problem, "where": where, "fix": fix}}

    @property
    def content(self) -> bytes:
        """The body as JSON."""
        return json.dumps(self.body, ensure_ascii=False).encode("utf-8", "replace")

    @property
    def headers(self) -> dict[str, str]:
        """Of the response, besides its length."""
        retry = {"Retry-After": str(self.retry_after)} if self.retry_after else {}
        return {"Content-Type": "application/json", **retry}


class BatcherStopped(RuntimeError):
    """Nothing is scored any more: the thread that runs the model has ended."""
