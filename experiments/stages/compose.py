"""Stage 6, compose: entropies, from them (or otherwise) the weights of every method, and the composed reward model."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np

from encore_jax.evaluate.methods import Method
from encore_jax.evaluate.results import Composition, compose_view
from encore_jax.interop.reward_model import PASSPORT, save_heads
from experiments.config import ExperimentConfig
from experiments.stages.heads import Heads
from experiments.stages.score import load_views
from experiments.stages.train import load_passport


def compose(config: ExperimentConfig, trained: Path, scored: Path, folder: Path) -> None:
    """Writes composition-VIEW.npz, composition.json with what a person wants to read of it, and the reward model.

    `RewardModel.from_pretrained(folder)` loads the main view's heads with ENCORE's weights.
    """
    readable = {}
    for view in load_views(scored):
        made = compose_view(view, config.compose, config.seed)
        arrays = {f"weights.{i:03d}": method.weights for i, method in enumerate(made.methods)}
        np.savez(
            folder / f"composition-{view.name}.npz",
            entropy=made.entropy,
            names=np.array([method.name for method in made.methods]),
            sees=np.array([method.sees for method in made.methods]),
            warnings=np.array(made.warnings, dtype=str),
            **arrays,
        )
        if view.name == "heads":
            _save_reward_model(config, made, trained, folder)
        readable[view.name] = {
            "label": view.label,
            "entropy": dict(zip(view.rules, made.entropy.tolist(), strict=True)),
            "weights": dict(zip(view.rules, made.weights.tolist(), strict=True)),
        }
    (folder / "composition.json").write_text(json.dumps(readable, indent=1))


def _save_reward_model(config: ExperimentConfig, made: Composition, trained: Path, folder: Path) -> None:
    composed = dataclasses.replace(
        load_passport(trained), entropy=tuple(made.entropy.tolist()), weights=tuple(made.weights.tolist())
    )
    (folder / PASSPORT).write_text(json.dumps(composed.to_dict(), indent=1))
    if config.train.method == "gradient" and config.train.trainable != "heads":
        return  # the trained backbone is in the train stage's checkpoints, not where the heads' file could point
    heads = Heads.load(trained / "heads-human.npz")
    save_heads(folder, heads.kernel, heads.bias, composed, config.model.path, config.model.buckets)


def load(folder: Path, view: str) -> Composition:
    """What `compose` wrote for one view."""
    with np.load(folder / f"composition-{view}.npz") as stored:
        rows = enumerate(zip(stored["names"], stored["sees"], strict=True))
        methods = [Method(str(name), str(sees), stored[f"weights.{i:03d}"]) for i, (name, sees) in rows]
        return Composition(stored["entropy"], methods, [str(text) for text in stored["warnings"]])
