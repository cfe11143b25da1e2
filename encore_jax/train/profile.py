"""A trace of some training steps, for XProf (TensorBoard's profile plugin) or Perfetto."""

from __future__ import annotations

import re
from pathlib import Path

import jax
from absl import logging

from encore_jax.errors import InputError


def traced_steps(text: str) -> range:
    """The steps, numbered from 0, that ``FIRST:LAST`` names; the last one is not among them.

    Raises:
      InputError: it is something else.

    >>> traced_steps("10:20"), traced_steps("")
    (range(10, 20), range(0, 0))
    """
    if not text:
        return range(0)
    named = re.fullmatch(r"([0-9]{1,9}):([0-9]{1,9})", text)
    if not named or int(named[1]) >= int(named[2]):
        fix = "write FIRST:LAST, for example 10:20"
        raise InputError(f"{text!r} names no steps", where="config.train.profile", fix=fix)
    return range(int(named[1]), int(named[2]))


class Trace:
    """Traces the devices during these steps, once; every process traces its own.

    Args:
      steps: numbers of training steps; none traces nothing.
      folder: where the trace goes, in ``plugins/profile/``.
    """

    def __init__(self, steps: range, folder: Path):
        self._steps, self._folder, self._on, self._done = steps, folder, False, not steps

    def __call__(self, step: int) -> None:
        """Before a step, or after the last."""
        if self._on and step not in self._steps:
            self.close()
        elif step in self._steps and not (self._on or self._done):
            self._folder.mkdir(parents=True, exist_ok=True)
            jax.profiler.start_trace(str(self._folder))
            self._on = True

    def close(self) -> None:
        """Writes the trace, if one is being made."""
        if self._on:
            jax.profiler.stop_trace()
            self._on, self._done = False, True
            logging.info("trace of steps %d to %d: %s", self._steps[0], self._steps[-1], self._folder)
