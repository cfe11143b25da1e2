"""Training by gradient, from one CPU to a pod: from trees and targets to a trained model, in one call.

Heads alone, with low-rank updates, or the whole backbone; ratings, preferences or yes/no answers. What is learnt is a
`Task`, how is `TrainSettings`, where the mesh. It resumes where a killed run was.
"""

from __future__ import annotations

import contextlib
import functools
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from absl import logging
from jax.sharding import Mesh

from encore_jax.checkpoints.assemble import Extras
from encore_jax.checkpoints.huggingface import load_backbone
from encore_jax.data.prefix_tree import PrefixTree, without_repeats
from encore_jax.errors import InputError
from encore_jax.model.config import DecoderConfig
from encore_jax.model.lora import merged
from encore_jax.parallel.chips import peak_flops
from encore_jax.parallel.joining import device_start
from encore_jax.parallel.mesh import activate
from encore_jax.parallel.processes import speaks
from encore_jax.progress import Pace, track
from encore_jax.train.batches import Targets, held_out_batches, training_batches
from encore_jax.train.checkpoint import Checkpoints
from encore_jax.train.goodput import recorded
from encore_jax.train.loop import fit
from encore_jax.train.metrics import HELD_OUT, MetricsLog, first_start, read_metrics
from encore_jax.train.packing import count_steps, packed_steps, step_shape
from encore_jax.train.profile import Trace, traced_steps
from encore_jax.train.program import Program, make_program
from encore_jax.train.settings import TrainSettings
from encore_jax.train.state import TrainState
from encore_jax.train.step_time import Chips, StepClock, steps_summary
from encore_jax.train.trackers import check_trackers


class Task(NamedTuple):
    """What is learnt.

    Attributes:
      trees, targets: training data; the trees' keys are rows (or names) of the targets.
      watched, watched_targets: held-out data for metrics while training; may be empty.
      weights: ``[K]``, composes scores into the reward that pairs are compared by.
      bias: ``[K]``, where the heads' offsets start.
      measure: more held-out metrics, from the scores ``[K]`` of the watched texts by key.
      from_score_head: start from the reward head of a ...ForSequenceClassification checkpoint instead of a fresh one.
    """

    trees: Sequence[PrefixTree]
    targets: Targets
    watched: Sequence[PrefixTree]
    watched_targets: Targets
    weights: np.ndarray
    bias: np.ndarray
    measure: Callable[[Mapping[int, np.ndarray]], dict[str, float]] | None = None
    from_score_head: bool = False


class Trained(NamedTuple):
    """A finished run.

    Attributes:
      program, state: the compiled step, and the state that is to be used.
      summary: steps, packing efficiency, wall time of this process and so on.
    """

    program: Program
    state: TrainState
    summary: dict[str, Any]

    @property
    def backbone(self) -> Any:
        """The trained backbone's parameters, low-rank updates added in, where the mesh has them."""
        params, program = self.state.params, self.program
        if "lora" not in params:
            return params["backbone"]
        add = functools.partial(merged, scale=program.settings.lora_scale)
        where = program.param_shardings["backbone"]["layers"]
        with activate(program.mesh):
            layers = jax.jit(add, out_shardings=where)(params["backbone"]["layers"], params["lora"])
        return params["backbone"] | {"layers": layers}

    @property
    def heads(self) -> tuple[np.ndarray, np.ndarray]:
        """Kernel ``[D, K]`` and bias ``[K]``, on the host."""
        heads = jax.device_get(self.program.replicated(self.state.params["heads"]))
        return heads["kernel"], heads["bias"]

    def scores(self, trees: Sequence[PrefixTree], targets: Targets, label: str = "held out") -> dict[int, np.ndarray]:
        """Scores ``[K]`` of every branch end, by key."""
        return end_scores(self.program, self.state.params, trees, targets, label)


def fine_tune(
    cfg: DecoderConfig,
    model: Path,
    task: Task,
    settings: TrainSettings,
    *,
    mesh: Mesh,
    dtype: Any,
    seed: int,
    checkpoints: str | Path,
    metrics: Path,
    identity: Mapping[str, Any],
) -> Trained:
    """Trains, resuming where a killed run was.

    Args:
      cfg, model: the backbone, and its checkpoint.
      task: data and targets.
      settings: how it is trained.
      mesh: the devices.
      dtype: compute type.
      seed: of fresh heads and of the order of the data.
      checkpoints: folder that they are kept in; may be in a bucket.
      metrics: folder of metrics.jsonl.
      identity: what the result depends on; a checkpoint of another identity is refused.

    Raises:
      InputError: rows or parameters do not divide over the mesh, the checkpoint does not fit, checkpoints are of
        another run, or the loss is not finite.
      Preempted: it was told to stop; its state is saved.
    """
    shape = step_shape(settings)
    plan = packed_steps(task.trees, shape, seed, settings.epochs)
    steps, efficiency = count_steps(plan, settings.max_steps)
    program = make_program(cfg, len(task.weights), settings, mesh, steps=steps, dtype=dtype)
    logging.info(
        "%d trees, %d steps of %d rows of %d tokens, %.1f %% of them useful; %s",
        len(task.trees), steps, settings.rows, settings.length, 100 * efficiency, dict(mesh.shape),
    )  # fmt: skip
    weights = program.replicated(jnp.asarray(task.weights, jnp.float32))

    def start() -> TrainState:
        return initial_state(program, model, task, seed)

    def frozen() -> dict[str, Any]:
        return {"backbone": _load(program, model)[0]} if "backbone" in program.abstract_state.frozen else {}

    check_trackers(settings.trackers)
    started, logged, first = time.monotonic(), [], first_start(metrics) if speaks() else time.time()
    trace = Trace(traced_steps(settings.profile), metrics / "profile")
    best_by = settings.keep_best if task.watched else ""
    with Checkpoints(checkpoints, dict(identity) | {"steps": steps}, settings.keep, best_by) as kept:
        log, pace = MetricsLog(metrics, settings.trackers), Pace(steps, "training")

        def report(step: int, said: Mapping[str, float]) -> None:
            log(step, said)
            logged.append(step)
            pace(
                step + 1,
                f"step {step + 1} of {steps}, loss {said['loss']:.4f}, gradient norm {said['gradient_norm']:.3g}",
            )

        def watch(state: TrainState) -> dict[str, float]:
            found = watched_metrics(program, state, task)
            log(int(state.step), {f"{HELD_OUT}{key}": value for key, value in found.items()})
            logging.info("held out after step %d: %s", int(state.step), _readable(found))
            return found

        kind = mesh.devices.flat[0].device_kind
        chips = Chips(mesh.size, program.flops, peak_flops(kind))
        told = recorded(settings.trackers if speaks() else (), metrics, device_start())
        with contextlib.closing(log), contextlib.closing(trace), told as events:
            state = fit(
                program, start, frozen,
                training_batches(task.trees, task.targets, shape, seed, settings.epochs),
                weights, kept,
                steps=steps, report=report, clock=StepClock(chips, listener=events), around=trace,
                evaluate=watch if task.watched else None, name=task.targets.named,
            )  # fmt: skip
        if settings.use == "best" and kept.best_step not in (None, steps):
            kept.wait()
            frozen_part = state.frozen
            state = kept.restore(program.abstract_state, kept.best_step).state
            state = state._replace(frozen=frozen_part)
            logging.info("using the checkpoint after step %d, the best by %s", int(state.step), settings.keep_best)
    summary = {
        "steps": steps,
        "steps_of_this_process": len(logged),
        "seconds_of_this_process": round(time.monotonic() - started, 1),
        "packing_efficiency": round(efficiency, 4),
        "used_step": int(state.step),
    }
    if speaks():
        summary |= steps_summary(read_metrics(metrics / "metrics.jsonl"), time.time() - first)
    return Trained(program, state, summary)


def initial_state(program: Program, model: Path, task: Task, seed: int) -> TrainState:
    """The checkpoint with the heads that training starts from.

    Raises:
      InputError: the checkpoint cannot be read, or has no such reward head.
    """
    backbone, extras = _load(program, model)
    kernel = _score_head(extras, model, program.rules) if task.from_score_head else None
    return program.start(backbone, jax.random.key(seed), task.bias, kernel)


def _load(program: Program, model: Path) -> tuple[Any, Extras]:
    shardings, pace = program.param_shardings["backbone"], Pace(1, "reading the checkpoint")

    def progress(done: int, total: int) -> None:
        pace(done / total, f"{done / 2**30:.1f} of {total / 2**30:.1f} GiB")

    return load_backbone(model, program.param_dtype, shardings, lm_head=False, progress=progress)[1:]


def _score_head(extras: Extras, model: Path, rules: int) -> np.ndarray:
    if extras.score is None or extras.score.shape[1] != rules:
        found = "no reward head" if extras.score is None else f"{extras.score.shape[1]} heads"
        raise InputError(
            f"the checkpoint has {found}, and training is to start from {rules}",
            where=str(model),
            fix="give a ...ForSequenceClassification checkpoint, such as a published reward model",
        )
    return np.asarray(extras.score)


def end_scores(
    program: Program, params: Any, trees: Sequence[PrefixTree], targets: Targets, label: str = "held out"
) -> dict[int, np.ndarray]:
    """Scores ``[K]`` of every branch end, by key; sequences of equal tokens are run once."""
    trees, stands_in = without_repeats(trees)
    found: dict[int, np.ndarray] = {}
    batches = held_out_batches(trees, targets, program.shape)
    total = float(sum(map(len, trees)))
    for batch in track(batches, total, label, lambda b: float((b.trees.tree > 0).sum())):
        scores = np.asarray(program.scores(params, batch))
        found |= {int(key): row for key, row in zip(batch.trees.key, scores, strict=True) if key >= 0}
    return {key: found[other] for key, other in stands_in.items()}


def watched_metrics(program: Program, state: TrainState, task: Task) -> dict[str, float]:
    """Loss and accuracy on the watched held-out data; nothing if there is none."""
    totals, weights = None, program.replicated(jnp.asarray(task.weights, jnp.float32))
    for batch in held_out_batches(task.watched, task.watched_targets, program.shape):
        part = program.totals(state.params, batch, weights)
        totals = part if totals is None else totals + part
    if totals is None:
        return {}
    metrics = {key: float(value) for key, value in jax.device_get(totals.metrics).items()}
    if not metrics["pairs"]:
        del metrics["accuracy"]
    if task.measure:
        metrics |= task.measure(end_scores(program, state.params, task.watched, task.watched_targets, "watched"))
    return metrics


def _readable(metrics: Mapping[str, float]) -> str:
    return ", ".join(f"{name} {value:.4g}" for name, value in metrics.items())
