"""A run's metrics: one JSON object per line, and TensorBoard files where tensorboardX is installed."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import jax

HELD_OUT = "held_out_"
"""Begins the names of what is measured on a state, and not on the batch of a step."""


class MetricsLog:
    """Appends to FOLDER/metrics.jsonl, on process 0 only; what a killed run wrote past its checkpoint is cut off.

    A line is about a step, numbered from 0, or about the state after so many steps, which its checkpoint goes with.

    Args:
      folder: made if missing.
      first: number of the first step that will be written, and of the steps behind the state that it starts from; lines
        of later steps and states, and damaged ones, are removed.
    """

    def __init__(self, folder: Path, first: int = 0):
        self._file = self._board = None
        if jax.process_index():
            return
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / "metrics.jsonl"
        kept = [line for line in read_metrics(path) if line["step"] < first + _is_of_state(line)]
        path.write_text("".join(json.dumps(line) + "\n" for line in kept))
        self._file = path.open("a", buffering=1)
        try:
            from tensorboardX import SummaryWriter
        except ImportError:
            return
        self._board = SummaryWriter(str(folder / "tensorboard"), purge_step=first)

    def __call__(self, step: int, metrics: Mapping[str, float]) -> None:
        """Writes one step's metrics."""
        if self._file:
            self._file.write(json.dumps({"step": step} | dict(metrics)) + "\n")
        if self._board:
            for name, value in metrics.items():
                self._board.add_scalar(name, value, step)

    def close(self) -> None:
        """Closes the files."""
        for file in (self._file, self._board):
            if file:
                file.close()


def _is_of_state(line: Mapping[str, float]) -> bool:
    return any(name.startswith(HELD_OUT) for name in line)


def read_metrics(path: Path) -> list[dict[str, float]]:
    """The lines of a metrics.jsonl, in order; a last line cut short by a kill is left out."""
    if not path.exists():
        return []
    found = []
    for line in path.read_text().splitlines():
        try:
            found.append(json.loads(line))
        except ValueError:
            continue
    return found
