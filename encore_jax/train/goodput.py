"""Feeds Google's ml-goodput-measurement where a run names goodput among its trackers: what a training did when.

Its recorder writes to Google Cloud Logging, from which its calculator and monitor read over all restarts of a job. A
thread of its own looks for credentials and writes, so training neither waits for it nor ends with it.
"""

from __future__ import annotations

import contextlib
import datetime
import hashlib
import importlib
import logging as stdlib_logging
import os
import queue
import re
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from absl import logging

from encore_jax.terminal_text import cut, one_line
from encore_jax.train.preemption import Preempted
from encore_jax.train.step_time import CHECKPOINT, INPUT
from encore_jax.train.trackers import GOODPUT, GOODPUT_PACKAGE

EVENT = "checkpoint"
"""How the package's list of lost time names held-out metrics and the saving after them."""
FIX = (
    "name a project and credentials that may write logs (GOOGLE_CLOUD_PROJECT; gcloud auth application-default login, "
    "or on a VM the scope cloud-platform and the role Logs Writer), or leave goodput out of train.trackers"
)
_TRANSPORT = "google.cloud.logging_v2.handlers.transports.background_thread"
_LONGEST_NAME, _DIGITS = 100, 12
_END = object()


def job_name(folder: Path) -> str:
    """What the package calls a run: $GOODPUT_JOB_NAME, or else the path of its metrics, as Cloud Logging spells names.

    No two paths share a name: where letters of one are replaced or left out, twelve digits of its digest follow.
    Slashes count as replaced, since a hyphen may be one of the path's own.

    >>> job_name(Path("/runs/encore 8b"))
    'runs-encore-8b-a736e5b08999'
    """
    name = os.environ.get("GOODPUT_JOB_NAME") or str(folder.resolve())
    plain = re.sub(r"[^A-Za-z0-9._-]", "-", name)[-_LONGEST_NAME:].strip("-")
    if plain == name:
        return name
    digest = hashlib.sha256(os.fsencode(name)).hexdigest()[:_DIGITS]
    return f"{plain}-{digest}" if plain else digest


def log_name(job: str) -> str:
    """The log of Google Cloud Logging that a job's records are in."""
    return f"goodput_{job}"


def connect(job: str) -> Any:
    """The package's own recorder, which needs credentials of Google Cloud.

    Raises:
      Exception: there are none, or no project; of many kinds.
    """
    recorder = importlib.import_module(f"{GOODPUT_PACKAGE}.src.goodput").GoodputRecorder
    return recorder(job, log_name(job), logging_enabled=True)


class GoodputEvents:
    """What the package is told of one training in this process; a `Listener` of its `StepClock`.

    Nothing is sent before the first step: a finished run that is started again has none. A training that is told to
    stop sends the start of the step that it leaves to the next start, which is how the package sees an interruption.

    Args:
      job: its name, which restarts have in common.
      devices: when this process began to look for its devices, and when it had them, in seconds since 1970; None
        where another training of this process has told.
      connect: makes the package's recorder.
      now: seconds since 1970.
      patience: seconds that the end of a training waits for what has not been sent.
    """

    def __init__(
        self,
        job: str,
        devices: tuple[float, float] | None,
        connect: Callable[[str], Any],
        now: Callable[[], float] = time.time,
        patience: float = 10.0,
    ):
        self._job, self._connect, self._now, self._patience = job, connect, now, patience
        self._events: queue.SimpleQueue = queue.SimpleQueue()
        self._before_steps: list[tuple] | None = []
        self._preparing, self._next_step, self._off = True, 0, False
        began = now()
        self._say("job_start_time", devices[0] if devices else began)
        if devices:
            self._say("tpu_init_start_time", devices[0])
            self._say("tpu_init_end_time", devices[1])
        self._say("training_preparation_start_time", began)
        self._thread = threading.Thread(target=self._send, name="goodput", daemon=True)
        self._thread.start()

    def part(self, name: str, begins: bool) -> None:
        """A part of a step begins or ends."""
        if self._preparing:
            self._say("training_preparation_end_time", self._now())
            self._preparing = False
        side = "start" if begins else "end"
        if name == INPUT:
            self._say(f"data_loading_{side}_time", self._now())
        elif name == CHECKPOINT:
            self._say(f"custom_badput_event_{side}_time", self._now(), custom_badput_event_type=EVENT)

    def step(self, number: int) -> None:
        """A step begins."""
        if self._before_steps is not None:
            held, self._before_steps = self._before_steps, None
            for event in held:
                self._events.put(event)
        self._say_step(number)
        self._next_step = number + 1

    def close(self, problem: BaseException | None = None) -> None:
        """The end of this training, by whatever ended it early; waits a little for what has not been sent."""
        if self._before_steps is None:
            if problem is None:
                self._say("job_end_time", self._now())
            elif isinstance(problem, Preempted):
                self._say_step(self._next_step)
        self._events.put(_END)
        self._thread.join(self._patience if self._before_steps is None else 0.0)
        if self._thread.is_alive() and self._before_steps is None:
            self._warn(f"not all was sent within {self._patience:g} s")

    def _say_step(self, number: int) -> None:
        self._put("record_step_start_time", {"step": number, "start_time": _utc(self._now())})

    def _say(self, name: str, seconds: float, **more: str) -> None:
        which = "end_time" if name.endswith("end_time") else "start_time"
        self._put(f"record_{name}", {which: _utc(seconds)} | more)

    def _put(self, method: str, values: dict[str, Any]) -> None:
        if self._off:
            return
        if self._before_steps is not None:
            self._before_steps.append((method, values))
        else:
            self._events.put((method, values))

    def _send(self) -> None:
        try:
            with _one_line_for_transport(self._warn):
                recorder = self._connect(self._job)
                logging.info("goodput: job %s, log %s of Google Cloud Logging", self._job, log_name(self._job))
                while (event := self._events.get()) is not _END:
                    method, values = event
                    getattr(recorder, method)(**values)
                recorder.flush()
        except Exception as error:  # whatever a package of others raises ends its own records, not a training
            self._warn(f"{type(error).__name__}: {error}")

    def _warn(self, problem: str) -> None:
        if not self._off:
            self._off = True
            logging.warning("goodput is not recorded: %s. Fix: %s", cut(one_line(problem), 300), FIX)


@contextlib.contextmanager
def _one_line_for_transport(warn: Callable[[str], None]) -> Iterator[None]:
    """Google's logging thread writes a traceback for every batch that it may not write: one line instead."""

    def short(record: stdlib_logging.LogRecord) -> bool:
        if record.levelno < stdlib_logging.ERROR:
            return True
        error = record.exc_info[1] if record.exc_info else None
        warn(f"{type(error).__name__}: {error}" if error else record.getMessage())
        return False

    transport = stdlib_logging.getLogger(_TRANSPORT)
    transport.addFilter(short)
    try:
        yield
    finally:
        transport.removeFilter(short)


def _utc(seconds: float) -> datetime.datetime:
    return datetime.datetime.fromtimestamp(seconds, datetime.UTC)


@contextlib.contextmanager
def recorded(names: tuple[str, ...], folder: Path, devices: tuple[float, float]) -> Iterator[GoodputEvents | None]:
    """The events of a training, if its trackers name goodput; on process 0.

    Args:
      names: of its trackers.
      folder: of its metrics.
      devices: when this process began to look for its devices, and when it had them.
    """
    if GOODPUT not in names:
        yield None
        return
    first = devices not in _DEVICES_TOLD
    _DEVICES_TOLD.add(devices)
    events = GoodputEvents(job_name(folder), devices if first else None, connect)
    try:
        yield events
    except BaseException as problem:
        events.close(problem)
        raise
    events.close()


_DEVICES_TOLD: set[tuple[float, float]] = set()
"""What this process's first training has told of its devices."""
