"""A run's metrics: one JSON object per line, and what trackers are told."""

from __future__ import annotations

import contextlib
import json
import os
import time
from collections.abc import Mapping
from pathlib import Path

import jax

from encore_jax.data.atomic import atomic_path
from encore_jax.data.lines import lines
from encore_jax.errors import InputError
from encore_jax.json_shape import decode_json
from encore_jax.train.trackers import open_trackers

HELD_OUT = "held_out_"
"""Begins the names of what is measured on a state, and not on the batch of a step."""
_LONGEST_LINE = 1 << 20
"""Bytes; a step has some twenty metrics."""


class MetricsLog:
    """Appends to FOLDER/metrics.jsonl, on process 0 only.

    A line is about a step, numbered from 0, or about the state after so many steps, which its checkpoint goes with. The
    first step written tells where training went on: lines of that and of later steps, of states after it, and damaged
    ones, which a killed run left, are removed then.

    Args:
      folder: made if missing; its name is the run's.
      trackers: names of `encore_jax.train.trackers.TRACKERS`.
    """

    def __init__(self, folder: Path, trackers: tuple[str, ...] = ()):
        self._folder, self._file, self._names, self._trackers = folder, None, trackers, []

    def __call__(self, step: int, metrics: Mapping[str, float]) -> None:
        """Writes one step's metrics; those of a step come before those of the state after it."""
        if jax.process_index():
            return
        if self._file is None:
            self._open(step)
        self._file.write(json.dumps({"step": step} | dict(metrics)) + "\n")
        for tracker in self._trackers:
            tracker.log(metrics, step)

    def _open(self, first: int) -> None:
        self._folder.mkdir(parents=True, exist_ok=True)
        path = self._folder / "metrics.jsonl"
        kept = [line for line in read_metrics(path) if line["step"] < first + _is_of_state(line)]
        with atomic_path(path) as temporary:
            temporary.write_text("".join(json.dumps(line) + "\n" for line in kept))
        self._file = path.open("a", buffering=1)
        self._trackers = open_trackers(self._names, self._folder, self._folder.name, first)

    def close(self) -> None:
        """Closes the file and the trackers."""
        for tracker in self._trackers:
            tracker.close()
        if self._file:
            self._file.close()


def _is_of_state(line: Mapping[str, float]) -> bool:
    return any(name.startswith(HELD_OUT) for name in line)


def read_metrics(path: Path) -> list[dict[str, float]]:
    """The lines of a metrics.jsonl, in order; what is none, such as a last line cut short by a kill, is left out.

    Raises:
      InputError: it is no regular file, not readable, or a line is longer than any line of metrics.
    """
    if not os.path.lexists(path):
        return []
    found = []
    for number, line in lines(path, _LONGEST_LINE):
        try:
            values = decode_json(line, dict[str, int | float], where=f"{path}:{number}")
        except InputError:
            continue
        if isinstance(values.get("step"), int):
            found.append(values)
    return found


def first_start(folder: Path) -> float:
    """When a run was started for the first time, in seconds since 1970; now, if it never was.

    Args:
      folder: of its metrics; the time is kept there.
    """
    path, now = folder / "first_start", time.time()
    if path.is_file():
        with contextlib.suppress(OSError, ValueError):
            with path.open(encoding="utf-8") as file:
                kept = float(file.read(64))
            if 0 < kept <= now:
                return kept
    if not os.path.lexists(path) or path.is_file():
        folder.mkdir(parents=True, exist_ok=True)
        with atomic_path(path) as temporary:
            temporary.write_text(repr(now))
    return now
