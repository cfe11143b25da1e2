"""Several processes as one program: joining them, and who speaks for them."""

from __future__ import annotations

import hashlib

import jax
import numpy as np
from absl import logging
from jax.experimental import multihost_utils

from encore_jax.errors import InputError


def join(where: str) -> None:
    """Joins the processes of a pod; call it before anything touches a device.

    Args:
      where: "auto" on a TPU pod, a GKE or a Slurm cluster, whose environment says it all; else
        "HOST:PORT,PROCESSES,INDEX", with the address of process 0; "" does nothing.

    Raises:
      InputError: an address in another form, or "auto" where nothing tells of other processes.
    """
    if not where:
        return
    if where == "auto":
        try:
            jax.distributed.initialize()
        except ValueError as error:  # what jax raises where it finds no pod
            raise InputError(
                f"this machine knows of no other processes: {error}",
                where="multihost",
                fix="leave --multihost out on one machine, or use HOST:PORT,PROCESSES,INDEX",
            ) from error
    else:
        parts = where.split(",")
        if len(parts) != 3 or ":" not in parts[0] or not (parts[1].isdigit() and parts[2].isdigit()):
            raise InputError(f"{where!r} is malformed", where="multihost", fix="use auto, or HOST:PORT,PROCESSES,INDEX")
        if int(parts[2]) >= int(parts[1]):
            raise InputError(f"process {parts[2]} of {parts[1]}", where="multihost", fix="count processes from 0")
        jax.distributed.initialize(parts[0], int(parts[1]), int(parts[2]))
    logging.info("process %d of %d, %d devices", jax.process_index(), jax.process_count(), jax.device_count())


def on_every_process(flag: bool) -> np.ndarray:
    """What each process says, bool ``[processes]``; all of them have to call it."""
    return multihost_utils.process_allgather(np.array(flag)).reshape(-1)


def same_everywhere(what: str, found: str | None) -> None:
    """Makes sure that all processes have found the same; each has to call it, one that failed with None.

    Args:
      what: the thing in words.
      found: what identifies it, e.g. a hash of its files.

    Raises:
      InputError: a process has found none, or another one than process 0. On all processes.
    """
    digest = hashlib.sha256(found.encode()).digest() if found is not None else bytes(32)
    digests = multihost_utils.process_allgather(np.frombuffer(digest, np.uint8)).reshape(-1, 32)
    for problem, bad in (
        ("not found", ~digests.any(1)),
        ("another one than on process 0", (digests != digests[0]).any(1)),
    ):
        if bad.any():
            processes = ", ".join(map(str, np.flatnonzero(bad)))
            raise InputError(f"{what}: {problem}", where=f"process {processes}", fix="give every host the same files")


def speaks() -> bool:
    """Whether this process writes logs and results for all (process 0)."""
    return jax.process_index() == 0
