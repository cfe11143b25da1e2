"""The server as a process: it listens first, loads the model meanwhile, and answers all that it accepted at the end."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import functools
import logging
import signal
import socket
import threading
from collections.abc import Callable, Iterator

import uvicorn

from encore_jax.serve.connections import Connections, Patience, affordable
from encore_jax.serve.front import Front
from encore_jax.serve.metrics import Metrics
from encore_jax.serve.protocol import GuardedProtocol
from encore_jax.serve.refusal import BatcherStopped

_LOG = logging.getLogger("encore_jax.serve")


class Server(uvicorn.Server):
    """Uvicorn that loads the model when it listens, and drains before it closes its sockets.

    Args:
      config: uvicorn's.
      front: the application.
      connections: that its protocol counts.
      load: makes the model's part; runs in a thread of its own.
      ready: called when that is there.

    Attributes:
      error: what ended the server: what `load` raised, or that the batcher has stopped.
    """

    def __init__(self, config: uvicorn.Config, front: Front, connections: Connections, load: Callable, ready: Callable):
        super().__init__(config)
        self._front, self._connections, self._load_app, self._ready = front, connections, load, ready
        self._drain_task: asyncio.Task | None = None
        self.error: BaseException | None = None

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Accepts connections, and begins to load."""
        await super().startup(sockets=sockets)
        self._loop = asyncio.get_running_loop()
        threading.Thread(target=self._load, name="loader", daemon=True).start()

    def _load(self) -> None:
        try:
            app = self._load_app()
            step = functools.partial(self._serve_app, app)
        except BaseException as error:  # the main thread raises it
            step = functools.partial(self._end, error)
        with contextlib.suppress(RuntimeError):  # the server has ended meanwhile
            self._loop.call_soon_threadsafe(step)

    def _serve_app(self, app) -> None:
        self._front.app = app
        self._ready(app)

    def _end(self, error: BaseException) -> None:
        self.error = error
        self.should_exit = True

    async def on_tick(self, counter: int) -> bool:
        """Ten times a second: looks whether the batcher lives, and logs which connections were closed."""
        if line := self._connections.report():
            _LOG.warning(line)
        app = self._front.app
        if app and not app.alive and not self._front.draining:
            self._end(BatcherStopped("the batcher has stopped; the log says why. Fix: start the server again"))
        return await super().on_tick(counter)

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """As uvicorn, and SIGHUP too unless it is ignored (nohup)."""
        hangup = getattr(signal, "SIGHUP", None)
        if hangup is None or threading.current_thread() is not threading.main_thread():
            with super().capture_signals():
                yield
            return
        before = signal.getsignal(hangup)
        with super().capture_signals():
            if before is not signal.SIG_IGN:
                signal.signal(hangup, self.handle_exit)
            try:
                yield
            finally:
                signal.signal(hangup, before or signal.SIG_DFL)

    def handle_exit(self, sig, frame) -> None:
        """First signal: drain, then exit. Second one: exit at once."""
        if self._drain_task:
            self.should_exit = self.force_exit = True
            return
        _LOG.info("shutting down: %d requests are open", self._front.app.open if self._front.app else 0)
        self._drain_task = asyncio.get_running_loop().create_task(self._drain())

    async def _drain(self) -> None:
        await self._front.drain()
        self.should_exit = True


def make_server(given: argparse.Namespace, metrics: Metrics, load: Callable, ready: Callable) -> tuple[Server, Front]:
    """A server for these flags.

    Args:
      given: flags, as `encore_jax.serve.flags.parse` gives them; ``max_connections`` becomes what this process
        can afford.
      metrics: that count its connections.
      load: makes the model's part of the application, given a function that is told what it is doing.
      ready: called with it.
    """
    wanted, given.max_connections = given.max_connections, affordable(given.max_connections)
    if given.max_connections < wanted:
        _LOG.warning("%d connections at most: the system allows no more open files", given.max_connections)
    patience = Patience(given.read_timeout, given.idle_timeout, given.timeout + given.read_timeout)
    connections = Connections(given.max_connections, patience, metrics.closed)
    metrics.watch_connections(connections)
    front = Front(given.allowed_hosts)

    def say(doing: str) -> None:
        front.doing = doing
        _LOG.info(doing)

    # uvicorn's own logging configuration would close every other handler, absl's and its stream among them
    config = uvicorn.Config(
        front, interface="asgi3", http=functools.partial(GuardedProtocol, connections), ws="none", lifespan="off",
        loop="asyncio", log_level="error", log_config=None, access_log=False, proxy_headers=False, server_header=False,
    )  # fmt: skip
    return Server(config, front, connections, functools.partial(load, say), ready), front
