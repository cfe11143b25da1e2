"""Training by gradient, from one CPU to a pod: the part that multi-head and Bradley-Terry training share."""

from __future__ import annotations

import functools
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from absl import logging

from encore_jax.data.prefix_tree import PrefixTree, without_repeats
from encore_jax.errors import InputError
from encore_jax.interop.assemble import Extras
from encore_jax.interop.huggingface import load_backbone, load_config
from encore_jax.model.architectures import architecture
from encore_jax.model.config import DecoderConfig
from encore_jax.model.lora import merged
from encore_jax.parallel.mesh import activate, make_mesh
from encore_jax.train.batches import Targets, held_out_batches, training_batches
from encore_jax.train.checkpoint import Checkpoints
from encore_jax.train.loop import fit
from encore_jax.train.metrics import HELD_OUT, MetricsLog
from encore_jax.train.packing import count_steps, packed_steps, step_shape
from encore_jax.train.program import Program, make_program
from encore_jax.train.state import TrainState
from experiments.config import ExperimentConfig, ModelConfig, to_dict
from experiments.progress import Pace, track


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
      summary: steps, packing efficiency, wall time of this process and so on, for counts.json.
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


def backbone_config(config: ModelConfig, path: Path | None) -> DecoderConfig:
    """The architecture: the checkpoint's, or without one the named architecture.

    Raises:
      InputError: neither is given, or they differ.
    """
    if path is None:
        if not config.architecture:
            raise InputError(
                "there is no checkpoint to read the architecture from",
                where="config.model.architecture",
                fix="name one, e.g. --config.model.architecture=llama-3.1-8b",
            )
        return architecture(config.architecture)
    cfg = load_config(path)
    if config.architecture and _sizes(cfg) != _sizes(architecture(config.architecture)):
        raise InputError(
            f"{path} is {_sizes(cfg)}, and {config.architecture} is {_sizes(architecture(config.architecture))}",
            where="config.model.architecture",
            fix="give the name of the checkpoint's own architecture, or none",
        )
    return cfg


def _sizes(cfg: DecoderConfig) -> dict[str, int]:
    names = ("vocab_size", "width", "layers", "heads", "kv_heads", "head_dim", "mlp_width")
    return {name: getattr(cfg, name) for name in names}


def train_by_gradient(
    config: ExperimentConfig, model: Path, task: Task, passport: Mapping[str, Any], folder: Path, name: str = ""
) -> Trained:
    """Trains, resuming where a killed run was; metrics go to FOLDER/NAME/metrics.jsonl.

    Args:
      config: the experiment's.
      model: the checkpoint that training starts from.
      task: data and targets.
      passport: what the run depends on besides the settings.
      folder: of the stage.
      name: tells several trainings of one stage apart.
    """
    settings, shape = config.train, step_shape(config.train)
    plan = packed_steps(task.trees, shape, config.seed, settings.epochs)
    steps, efficiency = count_steps(plan, settings.max_steps)
    mesh = make_mesh(config.mesh)
    cfg = backbone_config(config.model, model)
    rules = len(task.weights)
    program = make_program(cfg, rules, settings, mesh, steps=steps, dtype=config.model.dtype)
    logging.info(
        "%d trees, %d steps of %d rows of %d tokens, %.1f %% of them useful; %s",
        len(task.trees), steps, settings.rows, settings.length, 100 * efficiency, dict(mesh.shape),
    )  # fmt: skip
    weights = program.replicated(jnp.asarray(task.weights, jnp.float32))

    def start() -> TrainState:
        return initial_state(program, model, task, config.seed)

    def frozen() -> dict[str, Any]:
        return {"backbone": _load(program, model)[0]} if "backbone" in program.abstract_state.frozen else {}

    passport = dict(passport) | {"train": _identity(config), "steps": steps}
    where = checkpoint_folder(config, folder, name)
    started, logged = time.monotonic(), []
    with Checkpoints(where, passport, settings.keep, settings.keep_best if task.watched else "") as checkpoints:
        log = MetricsLog(folder / name)
        pace = Pace(steps, "training")

        def report(step: int, metrics: Mapping[str, float]) -> None:
            log(step, metrics)
            logged.append(step)
            pace(
                step + 1,
                f"step {step + 1} of {steps}, loss {metrics['loss']:.4f}, gradient norm {metrics['gradient_norm']:.3g}",
            )

        def watch(state: TrainState) -> dict[str, float]:
            metrics = watched_metrics(program, state, task)
            log(int(state.step), {f"{HELD_OUT}{key}": value for key, value in metrics.items()})
            logging.info("held out after step %d: %s", int(state.step), _readable(metrics))
            return metrics

        state = fit(
            program, start, frozen,
            training_batches(task.trees, task.targets, shape, config.seed, settings.epochs),
            weights, checkpoints,
            steps=steps, report=report, evaluate=watch if task.watched else None, name=task.targets.named,
        )  # fmt: skip
        log.close()
        if settings.use == "best" and checkpoints.best_step not in (None, steps):
            checkpoints.wait()
            frozen_part = state.frozen
            state = checkpoints.restore(program.abstract_state, checkpoints.best_step).state
            state = state._replace(frozen=frozen_part)
            logging.info("using the checkpoint after step %d, the best by %s", int(state.step), settings.keep_best)
    summary = {
        "steps": steps,
        "steps_of_this_process": len(logged),
        "seconds_of_this_process": round(time.monotonic() - started, 1),
        "packing_efficiency": round(efficiency, 4),
        "used_step": int(state.step),
    }
    return Trained(program, state, summary)


def initial_state(program: Program, model: Path, task: Task, seed: int) -> TrainState:
    """The checkpoint with the heads that training starts from."""
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


def checkpoint_folder(config: ExperimentConfig, folder: Path, name: str = "") -> str | Path:
    """Where a training keeps its checkpoints."""
    shared = config.train.checkpoints
    return f"{shared}/{name}".rstrip("/") if shared else folder / "checkpoints" / name


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


def _identity(config: ExperimentConfig) -> dict[str, Any]:
    """The settings that a run's result depends on, up to rounding: not where it is kept, how often it is saved, nor how
    it is laid out on devices."""
    plain = to_dict(config)
    kept_where = ("checkpoints", "save_every", "keep", "keep_best", "watch", "use")
    elsewhere = ("folds", "alphas", "method", "penalties", "arms", "rs", "sizes", "seeds")  # of other methods, or runs
    irrelevant = (*kept_where, *elsewhere, "remat", "attention")
    kept = {name: value for name, value in plain["train"].items() if name not in irrelevant}
    return kept | {"seed": plain["seed"], "dtype": plain["model"]["dtype"]}
