"""The training loop: one page, read from top to bottom."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import grain
import jax
import numpy as np
from absl import logging
from jaxtyping import Array, Float

from encore_jax.errors import InputError
from encore_jax.train.checkpoint import Checkpoints
from encore_jax.train.preemption import Notice, Preempted
from encore_jax.train.program import Program
from encore_jax.train.state import TrainState
from encore_jax.train.step_time import CHECKPOINT, INPUT, Chips, StepClock


class _Pending(NamedTuple):
    """A step that the device may still work on: its number, keys of its texts, its tokens, and its metrics."""

    number: int
    keys: np.ndarray
    tokens: int
    metrics: Mapping[str, Array]


Report = Callable[[int, Mapping[str, float]], None]


def fit(
    program: Program,
    start: Callable[[], TrainState],
    frozen: Callable[[], dict[str, Any]],
    batches: grain.IterDataset,
    weights: Float[Array, " K"],
    checkpoints: Checkpoints,
    *,
    steps: int,
    report: Report,
    clock: StepClock | None = None,
    evaluate: Callable[[TrainState], Mapping[str, float]] | None = None,
    around: Callable[[int], None] = lambda step: None,
    name: Callable[[list[int]], list[str]] = lambda keys: [str(key) for key in keys],
) -> TrainState:
    """Trains for `steps` steps, resuming from the newest checkpoint, and saves the last state.

    Args:
      program: the compiled step.
      start: makes the state at step 0; not called when there is a checkpoint.
      frozen: makes the frozen parameters that go with a checkpoint.
      batches: stacked host batches; its iterator's state is saved along.
      weights: composes scores into rewards, for pairs.
      checkpoints: open; saved to every `program.settings.save_every` steps.
      steps: optimizer steps of the whole run.
      report: called with a step's number and metrics, one step late so that the device never waits for the host.
      clock: measures where the time goes; its figures are among the metrics. One is made if none is given.
      around: called before each step with its number, and once after the last; see `encore_jax.train.profile`.
      evaluate: held-out metrics, computed before each save; the best checkpoint is kept by them.
      name: names of a batch's texts, for messages.

    Raises:
      InputError: the loss is not finite; names the step and the texts of its batch.
      Preempted: told to stop; the state has been saved.
    """
    stream, clock = iter(batches), clock or StepClock(Chips(program.mesh.size, program.flops))
    found = checkpoints.restore(program.abstract_state)
    if found:
        state = found.state._replace(frozen=frozen())
        stream.set_state(found.iterator)
        logging.info("resuming after step %d of %d", int(state.step), steps)
    else:
        state = start()
    done = saved = int(state.step)
    pending = None
    with contextlib.closing(stream), Notice() as notice:
        while done < steps:
            around(done)
            with clock.part(INPUT):
                batch = next(stream)
                placed = program.place(batch)
            clock.start_of_step(done)
            with jax.profiler.StepTraceAnnotation("train", step_num=done):  # tells XProf where steps begin and end
                state, metrics = program.step(state, placed, weights)
            _read(pending, report, name, clock)
            pending = _Pending(done, batch.trees.key, int((batch.trees.tree > 0).sum()), metrics)
            done += 1
            stop = notice.stop_after(done)
            if stop or done == steps or done % program.settings.save_every == 0:
                _read(pending, report, name, clock)  # never save a state whose loss was not seen to be finite
                pending = None
                with clock.part(CHECKPOINT):
                    held_out = evaluate(state) if evaluate and not stop else None
                    checkpoints.save(state, stream.get_state(), held_out)
                saved = done
            if stop:
                checkpoints.wait()
                logging.warning("told to stop: saved after step %d of %d", saved, steps)
                raise Preempted(saved)
        around(done)
    return state


def _read(pending: _Pending | None, report: Report, name: Callable[[list[int]], list[str]], clock: StepClock) -> None:
    """Waits for a step and reports it."""
    if pending is None:
        return
    number, keys, tokens, metrics = pending
    values = {key: float(value) for key, value in jax.device_get(metrics).items()}
    if not math.isfinite(values["loss"]) or not math.isfinite(values["gradient_norm"]):
        texts = name(sorted(int(key) for key in keys.ravel() if key >= 0))
        raise InputError(
            f"the loss is {values['loss']}, the gradient's norm {values['gradient_norm']}",
            where=f"step {number + 1}, texts {', '.join(texts)}",
            fix="lower the learning rate, or look at these texts",
        )
    report(number, values | clock.end_of_step(tokens))
