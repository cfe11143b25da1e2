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
      InputError: an address in another form.
    """
    if not where:
        return
    if where == "auto":
        jax.distributed.initialize()
    else:
        parts = where.split(",")
        if len(parts) != 3 or ":" not in parts[0] or not (parts[1].isdigit() and parts[2].isdigit()):
            raise InputError(f"{where!r} is malformed", where="multihost", fix="use auto, or HOST:PORT,PROCESSES,INDEX")
        if int(parts[2]) >= int(parts[1]):
            raise InputError(f"process {parts[2]} of {parts[1]}", where="multihost", fix="count processes from 0")
        jax.distributed.initialize(parts[0], int(parts[1]), int(parts[2]))
    logging.info("process %d of %d, %d devices", jax.process_index(), jax.process_count(), jax.device_count())


def same_everywhere(what: str, found: str | None) -> None:
    """Makes sure that all processes have found the same; each has to call it, one that failed with None.

    Args:
      what: the thing in words.
      found: what identifies it, e.g. a hash of its files.

    Raises:
      InputError: a process has found none, or another one than process 0. On all processes.
    """
    digest = hashlib.sha256(found.encode()).digest() if found is not None else bytes(32)
    everywhere = multihost_utils.process_allgather(np.frombuffer(digest, np.uint8)).reshape(-1, 32)
    for problem, bad in (
        ("not found", ~everywhere.any(1)),
        ("another one than on process 0", (everywhere != everywhere[0]).any(1)),
    ):
        if bad.any():
            processes = ", ".join(map(str, np.flatnonzero(bad)))
            raise InputError(f"{what}: {problem}", where=f"process {processes}", fix="give every host the same files")


def speaks() -> bool:
    """Whether this process writes logs and results for all (process 0)."""
    return jax.process_index() == 0
