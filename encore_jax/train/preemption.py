"""Ends a run in good time: SIGTERM, or a TPU preemption notice, becomes a checkpoint and an exit code of its own."""

from __future__ import annotations

import signal
import threading
from types import FrameType

import jax
from jax.experimental import multihost_utils

EXIT_PREEMPTED = 75
"""Exit status of a run that saved and stopped because it was told to (EX_TEMPFAIL: run the same command again)."""


class Preempted(SystemExit):
    """Raised once the state is safe; a program that does not catch it exits with `EXIT_PREEMPTED`."""

    def __init__(self, step: int):
        super().__init__(EXIT_PREEMPTED)
        self.step = step


class Notice:
    """Whether the run has been told to stop; a context manager around training.

    With several processes, jax's coordination service listens for SIGTERM (which is how a TPU VM announces that it
    will be taken away) and makes all of them stop after the same step, whichever was told.
    """

    def __init__(self):
        self._told = threading.Event()
        self._before = None

    def __enter__(self) -> Notice:
        if jax.process_count() == 1 and threading.current_thread() is threading.main_thread():
            self._before = signal.signal(signal.SIGTERM, self._hear)
        return self

    def __exit__(self, *exception) -> None:
        if self._before is not None:
            signal.signal(signal.SIGTERM, self._before)

    def _hear(self, number: int, frame: FrameType | None) -> None:
        self._told.set()

    def stop_after(self, step: int) -> bool:
        """Whether to save and stop after this step; every process must ask after every step."""
        if jax.process_count() == 1:
            return self._told.is_set()
        return multihost_utils.reached_preemption_sync_point(step)
