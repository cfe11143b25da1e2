"""Joining the processes of one program: an address that is checked first, and a wait that speaks and ends."""

from __future__ import annotations

import atexit
import functools
import os
import socket
import sys
import threading
import time
from dataclasses import dataclass

import jax
from absl import logging

from encore_jax.errors import InputError
from encore_jax.progress import SAY_AFTER, at_work, clock

WAIT_SECONDS = 300
"""How long the processes wait for each other at the beginning."""
_JAX_WAITS_LONGER = 60  # seconds: jax's own limit ends the process within C++, with a stack of addresses


@dataclass(frozen=True)
class Place:
    """Where a process stands among those of its program.

    Attributes:
      host, port: where process 0 listens.
      processes, index: how many there are, and which one this is.
    """

    host: str
    port: int
    processes: int
    index: int

    @property
    def address(self) -> str:
        return f"{self.host}:{self.port}"

    @property
    def arguments(self) -> tuple[str, int, int]:
        """As `jax.distributed.initialize` takes it."""
        return self.address, self.processes, self.index


def join(where: str) -> None:
    """Joins the processes of a pod; call it before anything touches a device.

    Ctrl-C and SIGTERM end the wait for the others, as they end all else.

    Args:
      where: "auto" on a TPU pod, a GKE or a Slurm cluster, whose environment says it all; else
        "HOST:PORT,PROCESSES,INDEX", with the address of process 0; "" does nothing.

    Raises:
      InputError: an address in another form, a port of process 0 that another program has, processes that have not
        come within `WAIT_SECONDS`, or "auto" where nothing tells of other processes.
    """
    if not where:
        return
    if where == "auto":
        try:
            _initialize("all processes of this pod or cluster", "start all of them, and see what the others say")
        except ValueError as error:  # what jax raises where it finds no pod
            raise InputError(
                f"this machine knows of no other processes: {error}",
                where="multihost",
                fix="leave --multihost out on one machine, or use HOST:PORT,PROCESSES,INDEX",
            ) from error
    else:
        place = place_of(where)
        if place.index == 0:
            check_port_is_free(place)
        fix = (
            f"start all {place.processes} within that time, each with its own --multihost={place.address},"
            f"{place.processes},INDEX, and see what they say; HOST:PORT is where process 0 listens"
        )
        _initialize(f"all {place.processes} processes at {place.address}", fix, *place.arguments)
    device_start()
    logging.info("process %d of %d, %d devices", jax.process_index(), jax.process_count(), jax.device_count())


def place_of(where: str) -> Place:
    """What "HOST:PORT,PROCESSES,INDEX" says.

    >>> place_of("10.0.0.1:8476,2,1")
    Place(host='10.0.0.1', port=8476, processes=2, index=1)

    Raises:
      InputError: another form, no such port, or no such process.
    """
    parts = where.split(",")
    host, colon, port = parts[0].strip().rpartition(":")
    numbers = [part.strip() for part in (port, *parts[1:])]
    if len(parts) != 3 or not (colon and host) or not all(text.isascii() and text.isdigit() for text in numbers):
        raise InputError(f"{where!r} is malformed", where="multihost", fix="use auto, or HOST:PORT,PROCESSES,INDEX")
    if len(max(numbers, key=len)) > 9 or not 0 < int(port) < 65536:
        raise InputError(f"{where!r}: there is no such port", where="multihost", fix="use one from 1 to 65535")
    place = Place(host, *map(int, numbers))
    if place.index >= place.processes:
        raise InputError(f"process {place.index} of {place.processes}", where="multihost", fix="count processes from 0")
    return place


def check_port_is_free(place: Place) -> None:
    """Makes sure that process 0 can listen there: jax's own attempt at a taken port ends in a segmentation fault.

    Raises:
      InputError: another program has the port, or it is not allowed.
    """
    family = socket.AF_INET6 if socket.has_dualstack_ipv6() else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        if family == socket.AF_INET6:
            probe.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # connections that ended just now do not matter
        try:
            probe.bind(("", place.port))
        except OSError as error:
            raise InputError(
                f"process 0 cannot listen on port {place.port} of this machine: {error.strerror}",
                where="multihost",
                fix="give all processes another port (what listens there may be an earlier run that still ends)",
            ) from None


def _initialize(whom: str, fix: str, *arguments) -> None:
    """jax's own call, which hears no signal and says nothing: in a thread, while this one listens and speaks."""
    ended, problem = threading.Event(), []

    def call() -> None:
        try:
            jax.distributed.initialize(*arguments, initialization_timeout=WAIT_SECONDS + _JAX_WAITS_LONGER)
        except Exception as error:  # it is raised where it is waited for
            problem.append(error)
        finally:
            ended.set()

    with at_work(f"waiting for {whom}", first=SAY_AFTER):
        threading.Thread(target=call, name="joining", daemon=True).start()
        came = False
        try:
            came = ended.wait(WAIT_SECONDS)
        finally:  # also after Ctrl-C and SIGTERM
            if not came:
                atexit.register(_say_nothing_more)
        if not came:
            raise InputError(f"not {whom} came within {clock(WAIT_SECONDS)}", where="multihost", fix=fix)
    if problem:
        raise problem[0]


def _say_nothing_more() -> None:
    """What process 0 had begun to serve complains in C++ when it is taken down."""
    sys.stderr.flush()
    with open(os.devnull, "w", encoding="utf-8") as nowhere:
        os.dup2(nowhere.fileno(), 2)


@functools.cache
def device_start() -> tuple[float, float]:
    """When this process first asked for its devices, and when it had them, in seconds since 1970."""
    began = time.time()
    jax.devices()
    return began, time.time()
