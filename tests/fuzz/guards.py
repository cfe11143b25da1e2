"""What no loader may do, noticed by Python's audit hooks: start a process, call a network, ask on the terminal."""

from __future__ import annotations

import builtins
import sys
from typing import Any

FORBIDDEN = {
    "socket.connect": "network", "socket.getaddrinfo": "network", "socket.gethostbyname": "network",
    "socket.sendto": "network", "http.client.connect": "network", "urllib.Request": "network",
    "subprocess.Popen": "process", "os.system": "process", "os.exec": "process", "os.posix_spawn": "process",
    "os.spawn": "process", "os.fork": "process", "os.forkpty": "process", "pty.spawn": "process",
    "builtins.input": "question", "webbrowser.open": "process", "ctypes.dlopen": "foreign code",
}  # fmt: skip


class Forbidden(BaseException):
    """No `Exception`, so that nobody swallows it by accident."""


class Guard:
    """Counts what is forbidden while it is on, and prevents it.

    Attributes:
      seen: what was tried, in words.
    """

    def __init__(self):
        self.on, self.seen = False, []
        sys.addaudithook(self._hook)
        builtins.input = self._input

    def _hook(self, event: str, arguments: tuple[Any, ...]) -> None:
        if self.on and event in FORBIDDEN:
            self.on = False
            self.seen.append(f"{FORBIDDEN[event]}: {event} {str(arguments)[:200]}")
            self.on = True
            raise Forbidden(event)

    def _input(self, *_: object) -> str:
        self.seen.append("question: input()")
        raise Forbidden("input")
