"""Composition: entropies, from them (or otherwise) the weights of every method, and the composed reward model."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from absl import logging

from encore_jax.composition.settings import CompositionSettings
from encore_jax.errors import InputError
from encore_jax.evaluation.agreement_warning import agreement_warning
from encore_jax.evaluation.methods import Method
from encore_jax.evaluation.results import Composition, agreement_facts, compose_view, finite
from encore_jax.evaluation.rule_agreement import RuleAgreement
from encore_jax.evaluation.view import View
from encore_jax.recipes.outside import ModelFiles
from encore_jax.recipes.stages.heads import Heads
from encore_jax.recipes.stages.ingest import Ingested
from encore_jax.recipes.stages.intervals import calibration_split
from encore_jax.recipes.stages.rate import Ratings
from encore_jax.recipes.stages.score import Scored
from encore_jax.recipes.stages.texts import Split, texts_of
from encore_jax.recipes.stages.train import TrainedHeads
from encore_jax.reward.calibration import Calibration, read_calibration
from encore_jax.reward.passport import PASSPORT, Passport, read_passport
from encore_jax.reward.saved_model import save_heads


class Composed(NamedTuple):
    """Weights, and the reward model that they compose.

    Attributes:
      views: a composition per view, by its name.
      readable: what a person wants to read of them.
      passport: of the composed model.
      heads: its heads; None where the trained backbone is in checkpoints, and no file of heads could point to it.
      backbone: where its backbone is.
      buckets: row lengths in tokens.
      calibration: what its intervals come from; None where nothing is left to calibrate on.
    """

    views: dict[str, Composition]
    readable: dict[str, Any]
    passport: Passport
    heads: Heads | None = None
    backbone: str = ""
    buckets: tuple[int, ...] = ()
    calibration: Calibration | None = None

    def save(self, folder: Path) -> None:
        """Writes composition-VIEW.npz, composition.json, and the reward model.

        `RewardModel.from_pretrained(folder)` loads the main view's heads with the weights of the chosen method.
        """
        for name, made in self.views.items():
            _save_composition(made, folder / f"composition-{name}.npz")
        (folder / PASSPORT).write_text(json.dumps(self.passport.to_dict(), indent=1))
        if self.heads is not None:
            files = self.heads.kernel, self.heads.bias, self.passport, self.backbone, self.buckets
            save_heads(folder, *files, self.calibration)
        elif self.calibration is not None:
            self.calibration.save(folder)
        (folder / "composition.json").write_text(json.dumps(finite(self.readable), indent=1, allow_nan=False))

    @classmethod
    def load(cls, folder: Path) -> Composed:
        """The compositions, the passport and the calibration that `save` wrote."""
        paths = {path.stem.removeprefix("composition-"): path for path in sorted(folder.glob("composition-*.npz"))}
        readable = json.loads((folder / "composition.json").read_text())
        views, passport = {name: _load_composition(path) for name, path in paths.items()}, read_passport(folder)
        return cls(views, readable, passport, calibration=read_calibration(folder, passport.intervals))


def compose(
    settings: CompositionSettings,
    scored: Scored,
    trained: TrainedHeads,
    model: ModelFiles,
    seed: int,
    frozen: bool,
    data: Ingested,
    split: Split,
    ratings: Ratings,
) -> Composed:
    """Entropies of every view, from them (or otherwise) the weights of every method, and the composed reward model.

    Args:
      settings: which method composes the reward, and how entropies are estimated.
      scored: the views.
      trained: heads.
      model: their backbone.
      seed: of random weightings.
      frozen: whether training left the backbone as it was.
      data, split, ratings: records, how their prompts are split, and the ratings; for the intervals.

    Raises:
      InputError: that method is refused for the main view, or the anchor is unknown.
    """
    if trained.passport.graph is not None:
        trained.passport.graph.check_scale(settings.scale)
    made = {view.name: compose_view(view, settings, seed) for view in scored.views}
    _require_weights(made["heads"])
    readable = {view.name: _readable(view, made[view.name]) for view in scored.views}
    passport = _composed(trained.passport, made["heads"], _warning(scored, made))
    if "agreement" in settings.method and passport.agreement_warning:
        logging.warning("agreement weights may mislead: %s", passport.agreement_warning)
    calibration, _ = calibration_split(texts_of(data, split), ratings, trained)
    if calibration is not None:
        passport = dataclasses.replace(passport, intervals=calibration.note)
    if not frozen:
        return Composed(made, readable, passport, calibration=calibration)
    heads, buckets = trained.heads["human"], tuple(model.model.buckets)
    return Composed(made, readable, passport, heads, model.model.path, buckets, calibration)


def _readable(view: View, made: Composition) -> dict[str, Any]:
    return {
        "label": view.label,
        "entropy": dict(zip(view.rules, made.entropy.tolist(), strict=True)),
        "method": made.chosen,
        "weights": dict(zip(view.rules, _numbers(made.weights), strict=True)),
        "loading": dict(zip(view.rules, _numbers(made.agreement.loading), strict=True)),
        "agreement": agreement_facts(made.agreement),
        "refused": {method.name: method.refused for method in made.methods if method.refused},
    }


def _numbers(values: np.ndarray) -> list[float]:
    return [float(value) for value in values]


def _require_weights(made: Composition) -> None:
    """Raises InputError if the method that is to compose the reward model is refused."""
    if why := made.composed_by.refused:
        fix = "--config.compose.method=entropy or uniform"
        if "part of the pool" in why or "splits" in why:
            fix = f"name a rule that is about quality, --config.compose.anchor=RULE, or {fix}"
        raise InputError(f"{made.chosen} is refused: {why}", where="config.compose.method", fix=fix)


def _warning(scored: Scored, made: dict[str, Composition]) -> str:
    """Why agreement weights of the heads may mislead; see `agreement_warning`."""
    view, found = scored.main, made["heads"].agreement
    if found.weights is None:
        return ""
    parts = [part for part in (view.train, view.test) if len(part)]
    scores, preferred = (np.concatenate([getattr(part, name) for part in parts]) for name in ("scores", "preferred"))
    rated = made["ratings"].agreement if "ratings" in made else None
    whole = rated is not None and not found.camp and not rated.camp  # a part's loadings are on another thing
    of_ratings = rated.loading if whole else None
    return agreement_warning(view.rules, found.weights, scores, preferred, found.loading, of_ratings)


def _composed(passport: Passport, made: Composition, warning: str) -> Passport:
    """The passport of trained heads, with what composes them."""
    found = made.agreement
    return dataclasses.replace(
        passport,
        entropy=tuple(made.entropy.tolist()),
        weights=tuple(made.weights.tolist()),
        weighting=made.chosen,
        loading=tuple(np.nan_to_num(found.loading).tolist()),
        agreement=() if found.weights is None else tuple(found.weights.tolist()),
        agreement_note=found.refused or _followed(found),
        agreement_warning=warning,
    )


def _followed(found: RuleAgreement) -> str:
    """What agreement weights follow, and who says so."""
    if not found.camp:
        return found.verdict
    return f"{found.verdict}; by the {found.camp_by} they follow {', '.join(found.camp)}"


def _save_composition(made: Composition, path: Path) -> None:
    arrays = {f"weights.{i:03d}": m.weights for i, m in enumerate(made.methods) if m.weights is not None}
    np.savez(
        path,
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


def _load_composition(path: Path) -> Composition:
    with np.load(path) as stored:
        columns = (stored[name].tolist() for name in ("names", "sees", "critical", "refused"))
        methods = []
        for i, (name, sees, critical, refused) in enumerate(zip(*columns, strict=True)):
            weights = stored[f"weights.{i:03d}"] if f"weights.{i:03d}" in stored else None
            methods.append(Method(name, sees, weights, critical, refused))
        agreement = RuleAgreement.from_json(str(stored["agreement"]))
        return Composition(stored["entropy"], methods, agreement, str(stored["chosen"]), stored["warnings"].tolist())
