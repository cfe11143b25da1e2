"""The runs of a sweep: what is known of each, the command of each, and the processes."""

from __future__ import annotations

import dataclasses
import itertools
import json
import os
import re
import shlex
import signal
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Required, TypedDict

from absl import logging

from encore_jax.data.atomic import atomic_path
from encore_jax.errors import InputError
from encore_jax.files import open_file
from encore_jax.json_shape import read_json
from encore_jax.progress import clock
from encore_jax.train.preemption import EXIT_PREEMPTED

STATE, RESULTS, LOG = "sweep.json", "results.json", "run.log"
_LOG_END = 1 << 14
"""Bytes of a log in which its last lines are looked for."""


@dataclasses.dataclass(frozen=True)
class Cell:
    """One run of the sweep.

    Attributes:
      name: of its folder.
      overrides: the values of the grid's fields, as text.
      arguments: of `encore run`, without the work directory.
      digest: of the resolved configuration and this package's version.
    """

    name: str
    overrides: Mapping[str, str]
    arguments: tuple[str, ...]
    digest: str


class Known(TypedDict, total=False):
    """What is known of a cell that was begun."""

    overrides: dict[str, str]
    digest: Required[str]
    status: Required[str]
    exit_code: int
    seconds: float
    slice: str


class Stored(TypedDict):
    """What sweep.json holds."""

    config: str
    cells: dict[str, Known]


class State:
    """What is known of every cell, kept in WORKDIR/sweep.json: written whole after every change.

    Raises:
      InputError: the folder holds a sweep of another config file, or the file is none that a sweep wrote.
    """

    def __init__(self, folder: Path, config: str):
        self._path = folder / STATE
        self.cells: dict[str, Known] = {}
        if self._path.exists():
            fix = "choose another --workdir, or delete it: cells that are done are found to be so when they run again"
            stored = read_json(self._path, Stored, fix=fix)
            if stored["config"] != config:
                raise InputError(
                    f"holds a sweep of {stored['config']}", where=str(folder), fix="choose another --workdir"
                )
            self.cells = stored["cells"]
        self._config = config

    def update(self, cell: Cell, **changes: object) -> None:
        """Notes something about a cell and writes the file."""
        known = self.cells.get(cell.name, {}) | {"overrides": dict(cell.overrides), "digest": cell.digest}
        self.cells[cell.name] = known | changes
        self.save()

    def save(self) -> None:
        """Writes the file."""
        with atomic_path(self._path) as temporary:
            temporary.write_text(json.dumps({"config": self._config, "cells": self.cells}, indent=1), encoding="utf-8")

    def is_done(self, cell: Cell) -> bool:
        """Whether the cell ran to its end with exactly this configuration."""
        known = self.cells.get(cell.name, {})
        return known.get("status") == "done" and known["digest"] == cell.digest

    def status(self, cell: Cell) -> str:
        """In words: waiting, running, done, failed (exit N), preempted."""
        known = self.cells.get(cell.name, {"status": "waiting"})
        return known["status"] + (f" (exit {known.get('exit_code')})" if known["status"] == "failed" else "")


def command_of(cell: Cell, folder: Path, python: str) -> list[str]:
    """The command that runs a cell."""
    return [python, "-m", "encore_jax.cli.run", *cell.arguments, f"--workdir={folder / cell.name}"]


def launched(template: str, cell: Cell, folder: Path, python: str, where: str) -> list[str]:
    """The template's words with their placeholders filled in.

    >>> cell = Cell("seed=1", {"seed": "1"}, ("--config=a b.py", "--config.seed=1"), "")
    >>> launched("ssh {slice} {command}", cell, Path("w"), "python", "tpu-1")
    ['ssh', 'tpu-1', "python -m encore_jax.cli.run '--config=a b.py' --config.seed=1 --workdir=w/seed=1"]
    >>> launched("run.sh --run={cell} -- {arguments}", cell, Path("w"), "python", "")
    ['run.sh', '--run=seed=1', '--', '--config=a b.py', '--config.seed=1']
    """
    texts = {
        "command": shlex.join(command_of(cell, folder, python)),
        "workdir": str(folder / cell.name),
        "cell": cell.name,
        "slice": where,
    }

    def filled(word: str) -> str:
        return re.sub("{(" + "|".join(texts) + ")}", lambda match: texts[match[1]], word)

    words = [cell.arguments if word == "{arguments}" else (filled(word),) for word in shlex.split(template)]
    return list(itertools.chain.from_iterable(words))


def check_launch(template: str, slices: Sequence[str]) -> None:
    """Refuses templates that would not run the cells, or not on the slices.

    Raises:
      InputError: saying which placeholder is missing.
    """
    try:
        words = shlex.split(template)
    except ValueError as error:
        raise InputError(str(error), where="--launch", fix="close the quotes") from error
    if "{arguments}" not in words and "{command}" not in template:
        raise InputError("does not contain the run", where="--launch", fix="use {command} or {arguments}")
    if ("{slice}" in template) != bool(slices):
        fix = "use {slice} in --launch, and name the slices with --slices"
        raise InputError("--slices and {slice} go together", where="--launch", fix=fix)


class Runner:
    """Runs cells as processes, one at a time in every place.

    Args:
      folder: the sweep's work directory.
      lock: inherited by every run.
      state: updated as runs begin and end.
      command: of a cell in a place.
      places: names of the slices, or one empty name.
      before: called with a cell that is about to run, and the folder of its run.
    """

    def __init__(
        self,
        folder: Path,
        lock: int,
        state: State,
        command: Callable[[Cell, str], list[str]],
        places: Sequence[str],
        before: Callable[[Cell, Path], None] = lambda cell, home: None,
    ):
        self._folder, self._lock, self._state, self._command = folder, lock, state, command
        self._before = before
        self._places = list(places)
        self._running: dict[str, tuple[Cell, subprocess.Popen, float]] = {}
        self._told: list[int] = []
        self._seconds: list[float] = []
        self._preempted = False

    def run(self, waiting: Sequence[Cell], on_end: Callable[[], None]) -> int:
        """Runs the cells; returns 0, EXIT_PREEMPTED, or 128 + the signal that ended it. Failed cells do not end it."""
        waiting, total = list(waiting), len(waiting)
        before = {number: signal.signal(number, self._hear) for number in (signal.SIGTERM, signal.SIGINT)}
        try:
            while self._running or (waiting and not self._told and not self._preempted):
                for place in self._places:
                    if place not in self._running and waiting and not self._told and not self._preempted:
                        self._start(waiting.pop(0), place)
                time.sleep(0.05)
                for place in [p for p, (_, process, _) in self._running.items() if process.poll() is not None]:
                    self._end(place, total, len(waiting))
                    on_end()
        finally:
            for _, process, _ in self._running.values():  # only after an exception
                process.terminate()
            for number, handler in before.items():
                signal.signal(number, handler)
        return EXIT_PREEMPTED if self._preempted else 128 + self._told[0] if self._told else 0

    def _hear(self, number: int, frame: object) -> None:
        """Passes the signal on, so that runs save a checkpoint; they are waited for."""
        self._told.append(number)
        for _, process, _ in self._running.values():
            process.terminate()

    def _start(self, cell: Cell, place: str) -> None:
        home = self._folder / cell.name
        home.mkdir(parents=True, exist_ok=True)
        self._before(cell, home)
        with open(home / LOG, "a", encoding="utf-8") as log:
            # in a session of its own, so that Ctrl-C reaches it through `_hear` only
            how = dict(stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True, pass_fds=(self._lock,))
            try:
                process = subprocess.Popen(self._command(cell, place), **how)
            except OSError as error:
                raise InputError(str(error), where="--launch", fix="begin with a program that exists") from error
        self._running[place] = (cell, process, time.monotonic())
        self._state.update(cell, status="running", slice=place)
        logging.info("%s: begun%s; log: %s", cell.name, f" on {place}" if place else "", home / LOG)

    def _end(self, place: str, total: int, waiting: int) -> None:
        cell, process, began = self._running.pop(place)
        code, seconds = process.returncode, time.monotonic() - began
        self._preempted |= code == EXIT_PREEMPTED
        status = {0: "done", EXIT_PREEMPTED: "preempted"}.get(code, "interrupted" if self._told else "failed")
        self._state.update(cell, status=status, exit_code=code, seconds=round(seconds, 2))
        if status == "done":
            self._seconds.append(seconds)
        elif status == "failed":
            last = _last_lines(self._folder / cell.name / LOG, 3)
            logging.error("%s: failed with exit code %d: %s", cell.name, code, "\n  ".join(["", *last]))
        left = ""
        if self._seconds and waiting:
            pace = sum(self._seconds) / len(self._seconds) / len(self._places)
            left = f", about {clock(pace * (waiting + len(self._running) / 2))} left"
        ended = total - waiting - len(self._running)
        logging.info("%s: %s after %s; %d of %d%s", cell.name, status, clock(seconds), ended, total, left)


def _last_lines(log: Path, count: int) -> list[str]:
    """The end of a log, however long that is."""
    try:
        with open_file(log) as file:
            file.seek(max(0, os.fstat(file.fileno()).st_size - _LOG_END))
            return file.read(_LOG_END).decode(errors="replace").splitlines()[-count:]
    except (InputError, OSError) as error:
        return [str(error)]
