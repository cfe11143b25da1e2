"""The server's sockets: bound before anything else is loaded, so that a taken port is known at once."""

from __future__ import annotations

import contextlib
import errno
import ipaddress
import os
import socket

from encore_jax.errors import InputError

BACKLOG = 2048
"""Connections that may wait to be accepted."""


def listen(host: str, port: int) -> list[socket.socket]:
    """Sockets that listen on every address of a host; port 0 takes a free one.

    Raises:
      InputError: the port is taken or not allowed, or the host is none of this machine's.
    """
    where = f"--host={host} --port={port}"
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except (OSError, UnicodeError) as error:
        raise InputError(f"no such address: {error}", where=where, fix="give an address of this machine") from None
    sockets: list[socket.socket] = []
    problem: OSError | None = None
    for family, address in dict.fromkeys((entry[0], entry[4]) for entry in found):
        try:
            sockets.append(_bound(family, (address[0], _port(sockets) or port, *address[2:])))
        except OSError as error:
            if error.errno in (errno.EADDRINUSE, errno.EACCES):
                close(sockets)
                other = port + 1 if port < 65535 else 8080
                fix = f"choose another --port, e.g. --port={other}; --port=0 takes a free one"
                raise InputError(os.strerror(error.errno), where=where, fix=fix) from None
            problem = error  # an address family that this machine lacks
    if not sockets:
        raise InputError(os.strerror(problem.errno or 0), where=where, fix="give an address of this machine")
    return sockets


def _bound(family: int, address: tuple) -> socket.socket:
    made = socket.socket(family, socket.SOCK_STREAM)
    try:
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            made.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        made.bind(address)
        made.listen(BACKLOG)
        made.setblocking(False)
    except BaseException:
        made.close()
        raise
    return made


def _port(sockets: list[socket.socket]) -> int:
    return sockets[0].getsockname()[1] if sockets else 0


def close(sockets: list[socket.socket]) -> None:
    """Closes them."""
    for each in sockets:
        with contextlib.suppress(OSError):
            each.close()


def url(host: str, sockets: list[socket.socket]) -> str:
    """Where the server is: the host as it was given, and the port that it has."""
    return f"http://{f'[{host}]' if ':' in host else host}:{_port(sockets)}"


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach the address.

    >>> is_loopback("127.0.0.1"), is_loopback("::1"), is_loopback("localhost"), is_loopback("0.0.0.0")
    (True, True, True, False)
    """
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
