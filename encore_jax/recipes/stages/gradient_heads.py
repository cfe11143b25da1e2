"""Rule heads trained by gradient, with what the settings train of the backbone."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np

from encore_jax.recipes.config import ModelConfig, TrainConfig
from encore_jax.recipes.stages.extract import FEATURES, PROBE_FEATURES, Part, features_of
from encore_jax.recipes.stages.heads import Fit, without_held_out
from encore_jax.recipes.stages.texts import Texts
from encore_jax.reward.passport import Passport
from encore_jax.reward.sequences import prompt_trees
from encore_jax.train.batches import Targets
from encore_jax.train.fine_tune import Task, Trained


def heads_by_gradient(
    model: ModelConfig,
    settings: TrainConfig,
    run: Callable[..., Trained],
    passport: Passport,
    texts: Texts,
    sequences: list[np.ndarray | None],
    asked: Part,
    rows: np.ndarray,
    held_out: np.ndarray,
    folder: Path,
    name: str,
    target: np.ndarray,
    mask: np.ndarray,
) -> Fit:
    """Heads and what the settings train of the backbone; the trained backbone then runs every text."""

    def trees_of(chosen):
        numbers = texts.rated[chosen]
        return prompt_trees([texts.texts[i] for i in numbers], [sequences[i] for i in numbers], settings.length)

    task = _regression(settings.watch, trees_of, target, mask, rows, held_out)
    trained = run(task, passport=passport.to_dict() | {"ratings": name}, name=name)
    program = trained.program
    cache = folder / "batches" / f"trained-{name}-{trained.summary['used_step']}"
    parts = {FEATURES: (texts.texts, sequences), PROBE_FEATURES: asked if name == "human" else ((), ())}
    (features, probe), counts = features_of(program.cfg, trained.backbone, model, parts, cache, program.mesh)
    return Fit(without_held_out(*trained.heads), features, probe, counts | {f"training_{name}": trained.summary})


def _regression(watch: int, trees_of, target, mask, rows, held_out) -> Task:
    """Multi-output regression on ratings; keys of trees are positions in `rows` (or in `held_out`)."""
    watched = trees_of(held_out)[:watch] if watch else []
    k = target.shape[1]
    return Task(
        trees=trees_of(rows),
        targets=Targets(target[rows], mask[rows], names=[f"rated response {row}" for row in rows]),
        watched=watched,
        watched_targets=Targets(target[held_out], mask[held_out]),
        weights=np.full(k, 1 / k, np.float32),
        bias=(target * mask)[rows].sum(0) / mask[rows].sum(0),
    )
