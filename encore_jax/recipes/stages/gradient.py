"""Training by gradient as an experiment asks for it: its backbone, where checkpoints lie, what identifies a run."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from encore_jax.checkpoints.huggingface import load_config
from encore_jax.errors import InputError
from encore_jax.model.architectures import architecture
from encore_jax.model.config import DecoderConfig
from encore_jax.parallel.mesh import MeshSettings, make_mesh
from encore_jax.recipes.config import ModelConfig, TrainConfig
from encore_jax.recipes.outside import ModelFiles
from encore_jax.settings import results_depend_on
from encore_jax.train.fine_tune import Task, Trained, fine_tune


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
    names = ("vocab_size", "width", "layers", "heads", "kv_heads", "head_dim", "mlp_width", "experts")
    return {name: getattr(cfg, name) for name in names}


def train_by_gradient(
    model: ModelFiles,
    task: Task,
    train: TrainConfig,
    mesh: MeshSettings,
    seed: int,
    passport: Mapping[str, Any],
    folder: Path,
    name: str = "",
) -> Trained:
    """`fine_tune` as a run has it; metrics go to FOLDER/NAME/metrics.jsonl.

    Args:
      model: the checkpoint that training starts from.
      task: data and targets.
      train: settings.
      mesh: of devices.
      seed: of the order of rows.
      passport: what the run depends on besides the settings.
      folder: of the stage.
      name: tells several trainings of one stage apart.
    """
    return fine_tune(
        backbone_config(model.model, model.path),
        model.path,
        task,
        train,
        mesh=make_mesh(mesh),
        dtype=model.model.dtype,
        seed=seed,
        checkpoints=checkpoint_folder(train, folder, name),
        metrics=folder / name,
        identity=dict(passport) | {"train": _identity(train, seed, model.model.dtype)},
    )


def checkpoint_folder(train: TrainConfig, folder: Path, name: str = "") -> str | Path:
    """Where a training keeps its checkpoints."""
    return f"{train.checkpoints}/{name}".rstrip("/") if train.checkpoints else folder / "checkpoints" / name


def _identity(train: TrainConfig, seed: int, dtype: str) -> dict[str, Any]:
    """The settings that a run's result depends on, up to rounding: not where it is kept, how often it is saved, nor how
    it is laid out on devices."""
    kept_where = ("save_every", "keep", "keep_best", "watch", "use")
    elsewhere = ("folds", "alphas", "method", "penalties", "arms", "rs", "sizes", "seeds", "train_on")  # of other runs
    values = results_depend_on(train).items()
    return {name: value for name, value in values if name not in kept_where + elsewhere} | {
        "seed": seed,
        "dtype": dtype,
    }
