"""A TCP server on loopback that sends bytes as a test wrote them, whatever HTTP says."""

from __future__ import annotations

import contextlib
import json
import socket
import threading
from collections.abc import Callable, Iterable, Iterator

Script = bytes | Callable[[socket.socket], None]


def reply(body: object, status: int = 200, **headers: str) -> bytes:
    """An HTTP reply; what is not bytes is written as JSON. Names of headers have _ for -; None leaves one out."""
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    named = {"Content-Type": "application/json", "Content-Length": str(len(raw))}
    named |= {name.replace("_", "-"): value for name, value in headers.items()}
    lines = [f"HTTP/1.1 {status} Word", *(f"{name}: {value}" for name, value in named.items() if value is not None)]
    return "\r\n".join([*lines, "Connection: close", "", ""]).encode("latin-1") + raw


class RawServer:
    """Answers each request with the next script and closes; the last script is for all further ones.

    Args:
      scripts: bytes to send, or what to do with the connection once the request has been read.

    Attributes:
      requests: what came, head and body.
    """

    def __init__(self, *scripts: Script):
        self._scripts, self.requests, self._lock = list(scripts), [], threading.Lock()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        self._thread = threading.Thread(target=self._serve, daemon=True)

    def __enter__(self) -> RawServer:
        self._thread.start()
        return self

    def __exit__(self, *error) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._thread.join()

    def _serve(self) -> None:
        workers = []
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                break
            workers.append(threading.Thread(target=self._answer, args=(connection,), daemon=True))
            workers[-1].start()
        for worker in workers:
            worker.join()

    def _answer(self, connection: socket.socket) -> None:
        connection.settimeout(20)
        with connection, contextlib.suppress(OSError):
            request = _request(connection)
            with self._lock:
                self.requests.append(request)
                script = self._scripts.pop(0) if len(self._scripts) > 1 else self._scripts[0]
            if callable(script):
                script(connection)
            else:
                connection.sendall(script)


def forever(head: bytes, piece: bytes) -> Callable[[socket.socket], None]:
    """Sends a head, then a piece again and again until the other side has enough."""

    def send(connection: socket.socket) -> None:
        connection.sendall(head)
        while True:
            connection.sendall(piece)

    return send


def _request(connection: socket.socket) -> bytes:
    """Head and body of one request."""
    data = b""
    while b"\r\n\r\n" not in data:
        data += _received(connection)
    head, _, body = data.partition(b"\r\n\r\n")
    length = next(
        (int(line.split(b":")[1]) for line in head.split(b"\r\n") if line.lower().startswith(b"content-length")), 0
    )
    while len(body) < length:
        body += _received(connection)
    return head + b"\r\n\r\n" + body


def _received(connection: socket.socket) -> bytes:
    data = connection.recv(65536)
    if not data:
        raise OSError("closed")
    return data


def unused_port() -> int:
    """A port on which nobody listens."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return listener.getsockname()[1]


def bodies(requests: Iterable[bytes]) -> Iterator[object]:
    """The JSON of requests."""
    for request in requests:
        yield json.loads(request.partition(b"\r\n\r\n")[2])
