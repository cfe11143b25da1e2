"""Several processes as one program: what they agree on, and who speaks for them."""

from __future__ import annotations

import hashlib
import json
import os
import sys
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NoReturn, TypeVar

import jax
import numpy as np
from jax.experimental import multihost_utils

from encore_jax.errors import InputError

Value = TypeVar("Value")


def on_every_process(flag: bool) -> np.ndarray:
    """What each process says, bool ``[processes]``; all of them have to call it."""
    return multihost_utils.process_allgather(np.array(flag)).reshape(-1)


def same_everywhere(what: str, found: str | None, fix: str = "give every host the same files") -> None:
    """Makes sure that all processes have found the same; each has to call it, one that failed with None.

    Args:
      what: the thing in words.
      found: what identifies it, e.g. a hash of its files.
      fix: what to do where it is not.

    Raises:
      InputError: a process has found none, or another one than process 0. On all processes.
    """
    digest = _digest(found) if found is not None else bytes(32)
    digests = multihost_utils.process_allgather(np.frombuffer(digest, np.uint8)).reshape(-1, 32)
    for problem, bad in (
        ("not found", ~digests.any(1)),
        ("another one than on process 0", (digests != digests[0]).any(1)),
    ):
        if bad.any():
            raise InputError(f"{what}: {problem}", where=_named(bad), fix=fix)


def all_same_everywhere(what: str, values: Mapping[str, Any] | None, fix: str) -> None:
    """The same for many values at once: the message names those that differ.

    Args:
      what: all of them in words.
      values: plain JSON values, mappings within mappings; None where they could not be found.
      fix: what to do where they differ.

    Raises:
      InputError: as `same_everywhere`.
    """
    flat = None if values is None else sorted(_flat(values))
    same_everywhere(what, None if flat is None else "\n".join(name for name, _ in flat), fix)
    if not flat:
        return
    mine = np.frombuffer(b"".join(_digest(json.dumps(value, sort_keys=True)) for _, value in flat), np.uint8)
    digests = multihost_utils.process_allgather(mine).reshape(-1, len(flat), 32)
    differ = (digests != digests[0]).any(2)
    if differ.any():
        names = ", ".join(flat[i][0] for i in np.flatnonzero(differ.any(0)))
        raise InputError(f"{what}: {names}: not as on process 0", where=_named(differ.any(1)), fix=fix)


def _flat(values: Mapping[str, Any], before: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in values.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{before}{name}.")
        else:
            yield f"{before}{name}", value


def _digest(text: str) -> bytes:
    return hashlib.sha256(text.encode()).digest()


def _named(bad: np.ndarray) -> str:
    return f"process {', '.join(map(str, np.flatnonzero(bad)))}"


def all_or_none(function: Callable[[], Value]) -> Value:
    """What each process makes of a step that may fail; every process has to call it.

    Raises:
      InputError: another process has failed; its own log says why.
      Exception: what the function raises here.
    """
    if jax.process_count() == 1:
        return function()
    value, problem = None, None
    try:
        value = function()
    except Exception as error:  # a process that stopped here would be waited for
        problem = error
    failed = on_every_process(problem is not None)
    if problem is not None:
        raise problem
    if failed.any():
        raise InputError("could not do its part", where=_named(failed), fix="see that process's log")
    return value


def of_first(function: Callable[[], int | None]) -> int:
    """A number that process 0 finds, on every process, each of which has to call it; the others do nothing.

    A function that finds none is only carried out.

    Raises:
      InputError: process 0 has failed.
    """
    number = all_or_none(lambda: function() if speaks() else 0) or 0
    return int(multihost_utils.broadcast_one_to_all(np.int32(number))) if jax.process_count() > 1 else number


def gather_bytes(content: bytes) -> list[bytes]:
    """What each process has, by its number; every process has to call it."""
    lengths = multihost_utils.process_allgather(np.int32(len(content))).reshape(-1)
    padded = np.zeros(max(1, lengths.max()), np.uint8)
    padded[: len(content)] = np.frombuffer(content, np.uint8)
    rows = multihost_utils.process_allgather(padded).reshape(len(lengths), -1)
    return [row[:length].tobytes() for row, length in zip(rows, lengths, strict=True)]


def end_at_once(problem: str, fix: str) -> NoReturn:
    """Ends this process: an orderly end would wait for processes that wait for this one."""
    print(f"error: {problem}. Fix: {fix}", file=sys.stderr, flush=True)
    sys.stdout.flush()
    os._exit(1)


def speaks() -> bool:
    """Whether this process writes logs and results for all (process 0)."""
    return jax.process_index() == 0
