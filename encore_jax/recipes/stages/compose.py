"""Stage compose: entropies, from them (or otherwise) the weights of every method, and the composed reward model."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np

from encore_jax.errors import InputError
from encore_jax.evaluation.methods import Method
from encore_jax.evaluation.results import Composition, agreement_facts, compose_view, finite
from encore_jax.evaluation.rule_agreement import RuleAgreement
from encore_jax.recipes.config import ExperimentConfig
from encore_jax.recipes.stages.heads import Heads
from encore_jax.recipes.stages.score import load_views
from encore_jax.recipes.stages.train import load_passport
from encore_jax.reward.reward_model import PASSPORT, save_heads


def compose(config: ExperimentConfig, trained: Path, scored: Path, folder: Path) -> None:
    """Writes composition-VIEW.npz, composition.json with what a person wants to read of it, and the reward model.

    `RewardModel.from_pretrained(folder)` loads the main view's heads with the weights of config.compose.method.

    Raises:
      InputError: that method is refused for the main view, or the anchor is unknown.
    """
    readable = {}
    for view in load_views(scored):
        made = compose_view(view, config.compose, config.seed)
        if view.name == "heads":
            _require_weights(made)
        arrays = {f"weights.{i:03d}": m.weights for i, m in enumerate(made.methods) if m.weights is not None}
        np.savez(
            folder / f"composition-{view.name}.npz",
            entropy=made.entropy,
            names=np.array([method.name for method in made.methods]),
            sees=np.array([method.sees for method in made.methods]),
            critical=np.array([method.critical for method in made.methods]),
            refused=np.array([method.refused for method in made.methods]),
            agreement=np.array(made.agreement.to_json()),
            chosen=np.array(made.chosen),
            warnings=np.array(made.warnings, dtype=str),
            **arrays,
        )
        if view.name == "heads":
            _save_reward_model(config, made, trained, folder)
        readable[view.name] = {
            "label": view.label,
            "entropy": dict(zip(view.rules, made.entropy.tolist(), strict=True)),
            "method": made.chosen,
            "weights": dict(zip(view.rules, _numbers(made.weights), strict=True)),
            "loading": dict(zip(view.rules, _numbers(made.agreement.loading), strict=True)),
            "agreement": agreement_facts(made.agreement),
            "refused": {method.name: method.refused for method in made.methods if method.refused},
        }
    (folder / "composition.json").write_text(json.dumps(finite(readable), indent=1, allow_nan=False))


def _numbers(values: np.ndarray) -> list[float]:
    return [float(value) for value in values]


def _require_weights(made: Composition) -> None:
    """Raises InputError if the method that is to compose the reward model is refused."""
    if why := made.composed_by.refused:
        fix = "--config.compose.method=entropy or uniform"
        if "part of the pool" in why or "splits" in why:
            fix = f"name a rule that is about quality, --config.compose.anchor=RULE, or {fix}"
        raise InputError(f"{made.chosen} is refused: {why}", where="config.compose.method", fix=fix)


def _save_reward_model(config: ExperimentConfig, made: Composition, trained: Path, folder: Path) -> None:
    found = made.agreement
    composed = dataclasses.replace(
        load_passport(trained),
        entropy=tuple(made.entropy.tolist()),
        weights=tuple(made.weights.tolist()),
        weighting=made.chosen,
        loading=tuple(np.nan_to_num(found.loading).tolist()),
        agreement=() if found.weights is None else tuple(found.weights.tolist()),
        agreement_note=found.refused or _followed(found),
    )
    (folder / PASSPORT).write_text(json.dumps(composed.to_dict(), indent=1))
    if config.train.method == "gradient" and config.train.trainable != "heads":
        return  # the trained backbone is in the train stage's checkpoints, not where the heads' file could point
    heads = Heads.load(trained / "heads-human.npz")
    save_heads(folder, heads.kernel, heads.bias, composed, config.model.path, config.model.buckets)


def _followed(found: RuleAgreement) -> str:
    """What agreement weights follow, and who says so."""
    if not found.camp:
        return found.verdict
    return f"{found.verdict}; by the {found.camp_by} they follow {', '.join(found.camp)}"


def load(folder: Path, view: str) -> Composition:
    """What `compose` wrote for one view."""
    with np.load(folder / f"composition-{view}.npz") as stored:
        columns = (stored[name].tolist() for name in ("names", "sees", "critical", "refused"))
        methods = []
        for i, (name, sees, critical, refused) in enumerate(zip(*columns, strict=True)):
            weights = stored[f"weights.{i:03d}"] if f"weights.{i:03d}" in stored else None
            methods.append(Method(name, sees, weights, critical, refused))
        agreement = RuleAgreement.from_json(str(stored["agreement"]))
        return Composition(stored["entropy"], methods, agreement, str(stored["chosen"]), stored["warnings"].tolist())
