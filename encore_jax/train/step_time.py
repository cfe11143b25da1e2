"""Where the time of a training step goes, and how much of the chips it uses."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator, Mapping
from typing import NamedTuple, Protocol

import numpy as np

INPUT, CHECKPOINT, COMPUTE = "input", "checkpoint", "compute"
MEASURED = (
    "seconds", *(f"seconds_{part}" for part in (INPUT, COMPUTE, CHECKPOINT)), "tokens", "tokens_per_second",
    "tokens_per_second_per_chip", "mfu",
)  # fmt: skip
"""Names of what this module adds to a step's metrics; all but the tokens differ from one run to the next."""


class Chips(NamedTuple):
    """The devices that a step runs on.

    Attributes:
      count: of chips.
      flops_per_step: of all of them together, by arithmetic.
      peak_flops: bf16 FLOP/s of one chip, from its data sheet; None where that is not known.
    """

    count: int
    flops_per_step: float
    peak_flops: float | None = None


class Listener(Protocol):
    """Is told what a training does, while it does it."""

    def part(self, name: str, begins: bool) -> None:
        """A part of a step begins or ends."""

    def step(self, number: int) -> None:
        """A step begins."""


class StepClock:
    """Splits the time between the ends of two steps into input, checkpoint and the rest, in which the host waits.

    The parts add up to the whole. Input is read while the device works on the step before: it costs a step nothing as
    long as there is something left to wait for.

    Args:
      chips: what the rates are of.
      now: seconds, rising.
      listener: is told of parts and steps.

    >>> ticks = iter([0.0, 0.0, 1.0, 4.0, 4.0, 5.0, 9.0])
    >>> clock = StepClock(Chips(2, 8.0, 4.0), lambda: next(ticks))
    >>> for _ in range(2):
    ...     with clock.part("input"):
    ...         pass
    ...     measured = clock.end_of_step(20)
    >>> measured["seconds_input"], measured["seconds_compute"], measured["tokens_per_second_per_chip"], measured["mfu"]
    (1.0, 4.0, 2.0, 0.2)
    """

    def __init__(self, chips: Chips, now: Callable[[], float] = time.perf_counter, listener: Listener | None = None):
        self._chips, self._now, self._parts, self._listener = chips, now, {}, listener
        self._began, self._first = now(), True

    @contextlib.contextmanager
    def part(self, name: str) -> Iterator[None]:
        """Counts what is done inside as this part of the step: `INPUT` or `CHECKPOINT`."""
        began = self._now()
        if self._listener:
            self._listener.part(name, True)
        try:
            yield
        finally:
            self._parts[name] = self._parts.get(name, 0.0) + self._now() - began
            if self._listener:
                self._listener.part(name, False)

    def start_of_step(self, number: int) -> None:
        """A step, whose input is there, is handed to the devices."""
        if self._listener:
            self._listener.step(number)

    def end_of_step(self, tokens: int) -> dict[str, float]:
        """The step's times in seconds and its rates; a process's first step, which compiles the program, has no rates.

        Args:
          tokens: of the step's texts, without padding, over all processes.
        """
        end = self._now()
        seconds, parts = end - self._began, {name: self._parts.get(name, 0.0) for name in (INPUT, CHECKPOINT)}
        first, self._began, self._parts, self._first = self._first, end, {}, False
        found = {"seconds": seconds, **{f"seconds_{name}": value for name, value in parts.items()}}
        found |= {f"seconds_{COMPUTE}": max(seconds - sum(parts.values()), 0.0), "tokens": tokens}
        if first or seconds <= 0:
            return found
        pace = tokens / seconds
        found |= {"tokens_per_second": pace, "tokens_per_second_per_chip": pace / self._chips.count}
        if self._chips.peak_flops:
            peak = self._chips.count * self._chips.peak_flops
            found["mfu"] = self._chips.flops_per_step / (seconds * peak)
        return found


def steps_summary(lines: list[Mapping[str, float]], wall_seconds: float) -> dict[str, float]:
    """What a run did with its chips, over all its starts.

    Args:
      lines: of metrics.jsonl, in which every step that counts is written once.
      wall_seconds: since the run was started for the first time.

    Returns:
      Medians of the rates over the steps that have them, and goodput: the share of the wall time that was spent on
      steps that count. What is lost is compilation, loading, steps done again after a kill, and waiting for machines.

    >>> steps_summary([{"step": 0, "seconds": 9.0}, {"step": 1, "seconds": 2.0, "tokens_per_second": 7.0}], 10.0)
    {'tokens_per_second': 7.0, 'goodput': 0.4}
    """
    steady = [line for line in lines if "tokens_per_second" in line]
    names = [name for name in MEASURED if "per_second" in name or name == "mfu"]
    found = {
        name: float(np.median([line[name] for line in steady if name in line]))
        for name in names
        if any(name in line for line in steady)
    }
    if not steady or wall_seconds <= 0:
        return found
    usual = float(np.median([line["seconds"] for line in steady]))

    def useful(line: Mapping[str, float]) -> float:
        if "tokens_per_second" not in line:  # the first of a process: most of it was compilation
            return min(line.get("seconds", 0.0), usual)
        return line["seconds"] - line.get(f"seconds_{CHECKPOINT}", 0.0)

    return found | {"goodput": min(sum(map(useful, lines)) / wall_seconds, 1.0)}
