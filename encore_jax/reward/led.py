"""One program over the devices of several processes, started by process 0 alone: the others follow it.

Such a program runs when all processes start it. Process 0 has the texts; before each step it sends the laid-out rows,
a few thousand token ids, and the others start the same program on them with their shards of the model. While process 0
has nothing to run it says so every few seconds: nobody waits so long that a process which is gone goes unnoticed.
"""

from __future__ import annotations

import enum
import threading
import traceback

import jax
import numpy as np
from jax.experimental import multihost_utils

from encore_jax.parallel.processes import end_at_once, speaks
from encore_jax.reward.token_values import Program
from encore_jax.terminal_text import cut, one_line

IDLE_SECONDS = 5.0
FIX = "see the logs of all processes, and start the same command again on each"


class Order(enum.IntEnum):
    """What process 0 tells the others to do."""

    FINISH = 0
    IDLE = 1
    RUN = 2


class LedProgram:
    """A program that process 0 calls as if it were alone, while all other processes `follow`.

    Args:
      program: over the devices of all processes.
    """

    def __init__(self, program: Program):
        self._program, self.shards, self.values = program, program.shards, program.values
        self._lock, self._ended = threading.Lock(), threading.Event()
        if speaks():
            threading.Thread(target=self._say_idle, name="idle", daemon=True).start()

    def __call__(self, *arrays_BS: np.ndarray) -> jax.Array:
        """On process 0: starts the program everywhere."""
        with self._lock:
            _send(Order.RUN, arrays_BS[0].shape)
            multihost_utils.broadcast_one_to_all(np.stack(arrays_BS).astype(np.int32))
            return self._program(*arrays_BS)

    def finish(self) -> None:
        """On process 0: there is nothing more to follow."""
        if not self._ended.is_set() and self._lock.acquire(timeout=60):  # a step that hangs keeps it
            try:
                self._ended.set()
                _send(Order.FINISH)
            finally:
                self._lock.release()

    def follow(self) -> None:
        """On every other process: runs what process 0 runs, until it finishes. Ends this process where a step fails."""
        try:
            while (told := _send(Order.IDLE))[0] != Order.FINISH:
                if told[0] == Order.RUN:
                    rows = multihost_utils.broadcast_one_to_all(np.zeros((4, *told[1:]), np.int32))
                    self._program(*np.asarray(rows)).block_until_ready()
        except Exception as error:  # process 0 waits for this one, which cannot tell it
            traceback.print_exc()
            end_at_once(f"this process cannot go on, and ends the others with it: {cut(one_line(error), 300)}", FIX)

    def _say_idle(self) -> None:
        while not self._ended.wait(IDLE_SECONDS):
            try:
                with self._lock:
                    if not self._ended.is_set():
                        _send(Order.IDLE)
            except Exception as error:
                end_at_once(f"another process has ended: {cut(one_line(error), 300)}", FIX)


def _send(order: Order, shape: tuple[int, ...] = (0, 0)) -> np.ndarray:
    """What process 0 says, on every process: an order and the shape ``[B, S]`` of its rows."""
    return np.asarray(multihost_utils.broadcast_one_to_all(np.array([order, *shape], np.int32)))
