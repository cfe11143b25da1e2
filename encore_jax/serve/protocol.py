"""One HTTP/1.1 connection: uvicorn's, with a strict head, and a time limit on everything that a client does."""

from __future__ import annotations

import asyncio
import contextlib
import enum
import http
from typing import Any

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

from encore_jax.serve import head
from encore_jax.serve.connections import Connections
from encore_jax.serve.refusal import Refused

DISCARDED = 64 << 20
"""A client that was refused may send so many more bytes before it is cut off."""


class Waiting(enum.Enum):
    """What a connection waits for."""

    HEAD = "no request"
    REQUEST = "answer not taken"
    IDLE = "idle"
    LEAVE = "refused"


class GuardedProtocol(H11Protocol):
    """A connection that is closed when its client takes too long, and refused when its head is ambiguous.

    Requests are not pipelined: what comes before the answer to the last request is out closes the connection after it.
    A connection that is closed while its client is still sending lingers: what comes is thrown away for a moment, for
    otherwise the client would find the connection reset and never see the answer.

    Args:
      connections: all of this server.
      uvicorn: what uvicorn gives its protocols.
    """

    def __init__(self, connections: Connections, **uvicorn: Any):
        super().__init__(**uvicorn)
        self._connections, self._patience = connections, connections.patience
        self._head, self._searched, self._discarded = bytearray(), 0, 0
        self._waiting: Waiting | None = None
        self._timer: asyncio.TimerHandle | None = None
        self.address, self.since = "", 0.0

    @property
    def working(self) -> bool:
        """Whether a request is being read or answered right now."""
        return self._waiting is Waiting.REQUEST and not (self.cycle and self.cycle.response_started)

    @property
    def leaving(self) -> bool:
        """Whether it takes and answers no more requests."""
        return self._waiting is Waiting.LEAVE

    def connection_made(self, transport: asyncio.Transport) -> None:
        """A client has come."""
        super().connection_made(_Transport(transport, self))
        self._socket = transport
        self.address = str(self.client[0]) if self.client else ""
        self._wait(Waiting.HEAD, self._patience.read)
        self._connections.admit(self)

    def connection_lost(self, exc: Exception | None) -> None:
        """The client has left, or was made to."""
        self._connections.forget(self)
        self._stop_timer()
        self._waiting = None
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Collects a head, checks it, and gives it to h11 with the beginning of its body."""
        if self._waiting is Waiting.LEAVE:
            self._discarded += len(data)
            if self._discarded > DISCARDED:
                self._socket.abort()
        elif self._waiting is Waiting.REQUEST:
            super().data_received(data)
        else:
            if self._waiting is Waiting.IDLE:
                self._wait(Waiting.HEAD, self._patience.read)
            self._head += data
            self._read_head()

    def _read_head(self) -> None:
        while self._head[:2] == b"\r\n":  # RFC 9112 2.2: a client may send an empty line too many
            del self._head[:2]
        if self._head and self._head[0] < 0x20 and self._head != b"\r":
            return self._refuse(Refused(400, "this is no HTTP request; TLS is not spoken here", where="head"))
        length = head.head_length(self._head, self._searched)
        self._searched = len(self._head)
        if (length or len(self._head)) > head.MAX_BYTES:
            return self._refuse(Refused(431, f"the head has more than {head.MAX_BYTES} bytes", where="head"))
        if not length:
            return None
        received, self._head, self._searched = bytes(self._head), bytearray(), 0
        if fault := head.check_head(received[:length]):
            return self._refuse(Refused(fault.status, fault.problem, where=fault.where, fix="send plain HTTP/1.1"))
        self._wait(Waiting.REQUEST, self._patience.request)
        return super().data_received(received)

    def on_response_complete(self) -> None:
        """An answer is out: waits for the next request, or closes where the client has not kept to its turn."""
        self.server_state.total_requests += 1
        if self.transport.is_closing():
            return
        if self.conn.our_state is self.conn.their_state is h11.DONE and not self.conn.trailing_data[0]:
            self.conn.start_next_cycle()
            self.flow.resume_reading()
            self._wait(Waiting.IDLE, self._patience.idle)
        else:
            self.transport.close()

    def send_400_response(self, msg: str) -> None:
        """What h11 cannot read, which after a good head is a chunk's size or end."""
        self._refuse(Refused(400, "the body is not framed as its head says", where="body", fix="send plain HTTP/1.1"))

    def shutdown(self) -> None:
        """The server ends: a request that is being answered is the last one."""
        if self._waiting is Waiting.REQUEST and self.cycle and not self.cycle.response_complete:
            self.cycle.keep_alive = False
        else:
            self._close()

    def evict(self) -> None:
        """Closes it at once."""
        self._socket.abort()

    def _should_upgrade(self) -> bool:
        return False

    def leave(self) -> None:
        """Closes the connection; lingers if the client is not done with its request."""
        if self._waiting in (None, Waiting.LEAVE):
            return
        if self.conn.their_state is h11.SEND_BODY or self.conn.trailing_data[0]:
            self._linger()
        else:
            self._close()

    def _refuse(self, refused: Refused) -> None:
        if self.cycle and not self.cycle.response_complete:
            if self.cycle.response_started:
                return self._socket.abort()
            self.cycle.disconnected = True
            self.cycle.message_event.set()
        self._connections.closed(f"refused ({refused.status})")
        phrase = http.HTTPStatus(refused.status).phrase
        headers = refused.headers | {"Content-Length": str(len(refused.content)), "Connection": "close"}
        lines = [f"HTTP/1.1 {refused.status} {phrase}", *(f"{name}: {value}" for name, value in headers.items())]
        self._socket.write("\r\n".join([*lines, "", ""]).encode() + refused.content)
        self._linger()

    def _linger(self) -> None:
        self._wait(Waiting.LEAVE, self._patience.leave)
        self._head = bytearray()
        self.flow.resume_reading()
        if self._socket.can_write_eof() and not self._socket.is_closing():
            with contextlib.suppress(OSError):  # the client has reset the connection
                self._socket.write_eof()

    def _close(self) -> None:
        """Closes when all is written, but not later than the client's time to read it."""
        self._wait(Waiting.LEAVE, self._patience.read)
        self._socket.close()

    def _wait(self, what: Waiting, seconds: float) -> None:
        self._stop_timer()
        self._waiting, self.since = what, self.loop.time()
        self._timer = self.loop.call_later(seconds, self._overdue)

    def _stop_timer(self) -> None:
        if self._timer:
            self._timer.cancel()
            self._timer = None

    def _overdue(self) -> None:
        waited = self._waiting
        if waited is Waiting.HEAD and self._head:
            fix = f"send a request's head within {self._patience.read:g} s"
            return self._refuse(Refused(408, "the head did not come to an end", where="head", fix=fix))
        if waited is not Waiting.LEAVE:
            self._connections.closed(f"({waited.value})")
        if waited is Waiting.IDLE and not self._socket.get_write_buffer_size():
            return self._close()
        return self._socket.abort()


class _Transport:
    """A transport whose `close` lets the protocol decide how."""

    def __init__(self, transport: asyncio.Transport, protocol: GuardedProtocol):
        self._transport, self._protocol = transport, protocol

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)

    def is_closing(self) -> bool:
        """Whether nothing more is sent."""
        return self._transport.is_closing() or self._protocol.leaving

    def close(self) -> None:
        """Closes it when all is written."""
        self._protocol.leave()
