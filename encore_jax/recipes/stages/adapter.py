"""The Rule Adapter: from prompt, response A and response B to the probability that each rule is critical."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from absl import logging

from encore_jax.composition import critical_rules, selected
from encore_jax.data import prompt_key
from encore_jax.data.manifest import FIX
from encore_jax.data.split import hash_unit
from encore_jax.errors import InputError
from encore_jax.formats import counts_in_words
from encore_jax.json_shape import read_json
from encore_jax.parallel.mesh import MeshSettings
from encore_jax.recipes.outside import AdapterRun, ModelFiles
from encore_jax.recipes.ramo_config import AdapterTrainConfig, SelectConfig
from encore_jax.recipes.stages.adapter_fit import Lesson, fit_backbone, fit_heads, probability
from encore_jax.recipes.stages.frozen import Features
from encore_jax.recipes.stages.ingest import Ingested
from encore_jax.recipes.stages.predicted_rules import PREDICTIONS, SAID, comparison_digests, read_predictions
from encore_jax.recipes.stages.presented import PartSplit, first_responses, pair_texts, present
from encore_jax.recipes.stages.rule_ratings import RuleRatings


class Adapter(NamedTuple):
    """What an adapter says of N comparisons, and of itself.

    Attributes:
      probability: fp32 ``[2, N, K]``, A shown first, and B shown first; NaN where the text is too long.
      trained: bool ``[N]``, which comparisons it was trained (or validated) on.
      critical: bool ``[N, K]``, the truth where there are ratings.
      train_share: fp32 ``[K]``, how often each rule was critical in training.
      digests: ``[N]``, names of the comparisons, A and B included.
      said: its passport, what was chosen, and counts.
      kernel, bias: of method "heads", ``[D, K]`` and ``[K]``; otherwise None.
    """

    probability: np.ndarray
    trained: np.ndarray
    critical: np.ndarray
    train_share: np.ndarray
    digests: np.ndarray
    said: dict[str, Any]
    kernel: np.ndarray | None = None
    bias: np.ndarray | None = None

    @property
    def known(self) -> np.ndarray:
        """bool ``[N]``: the adapter could read the comparison."""
        return np.isfinite(self.probability).all((0, 2))

    def save(self, folder: Path) -> None:
        """Writes predictions.npz, adapter.json and, of method "heads", adapter-heads.npz."""
        if self.kernel is not None:
            np.savez(folder / HEADS, kernel=self.kernel, bias=self.bias)
        np.savez(folder / PREDICTIONS, **{name: getattr(self, name) for name in _ARRAYS})
        (folder / SAID).write_text(json.dumps(self.said, indent=1))

    @classmethod
    def load(cls, folder: Path) -> Adapter:
        """What `save` wrote."""
        heads = {}
        if (folder / HEADS).exists():
            with np.load(folder / HEADS) as stored:
                heads = dict(stored)
        with np.load(folder / PREDICTIONS) as stored:
            arrays = {name: stored[name] for name in _ARRAYS}
        return cls(**arrays, said=read_json(folder / SAID, dict[str, Any], fix=FIX), **heads)


HEADS = "adapter-heads.npz"
_ARRAYS = ("probability", "trained", "critical", "train_share", "digests")


def truth(ratings: RuleRatings, select: SelectConfig) -> np.ndarray:
    """Which rules are critical, by the ratings: bool ``[N, K]``."""
    rules = critical_rules(ratings.ratings, ratings.given_relevance, select.r, where=ratings.rated, half=select.half)
    return np.asarray(selected(rules, ratings.ratings.shape[2]))


def train_adapter(
    model: ModelFiles,
    train: AdapterTrainConfig,
    mesh: MeshSettings,
    data: Ingested,
    features: Features,
    ratings: RuleRatings,
    split: PartSplit,
    select: SelectConfig,
    folder: Path,
) -> Adapter:
    """Trains an adapter on its part of the comparisons, and has it predict for all of them.

    Args:
      model: the backbone.
      train: how; of method "heads" on `features`, else with the whole backbone.
      mesh: of devices.
      data: comparisons.
      features: of the comparisons.
      ratings: of the comparisons; they say which rules are critical.
      split: into parts.
      select: which rules are critical.
      folder: for checkpoints and metrics.

    Raises:
      InputError: there is nothing to train on, to validate by, or to choose between.
    """
    shown, critical = present(data.comparisons, split), truth(ratings, select)
    usable = (shown.part == "adapter") & ratings.usable.any(1)
    _require_a_choice(critical, usable, select.r)
    keys = np.array([prompt_key(c.prompt) for c in shown.comparisons])
    validating = np.array([hash_unit(key, split.seed + 4) < train.validation for key in keys])
    lesson = Lesson(shown, critical, usable, validating, select.r, split.seed)
    passport = {
        "model_sha256": model.sha256,
        "pooling": model.model.pooling,
        "dtype": model.model.dtype,
        "rules": list(data.pool.names),
        "pool_sha256": data.pool.digest,
        "select": dataclasses.asdict(select),
    }
    if train.method == "heads":
        made = fit_heads(lesson, features.pair, train, max(model.model.buckets))
    else:
        made = fit_backbone(lesson, model, train, mesh, passport, folder)
    known = np.isfinite(made.logits).all((0, 2))
    trained = usable & known
    counts = {
        "comparisons_dropped_too_long": int((~known).sum()),
        "comparisons_for_training": int((trained & ~validating).sum()),
        "comparisons_for_validation": int((trained & validating).sum()),
    }
    logging.info("adapter: %s", counts_in_words(counts))
    said = {"passport": passport, "counts": counts} | made.said
    share, digests = critical[trained].mean(0), comparison_digests(shown.pair_texts)
    return Adapter(probability(made.logits), trained, critical, share, digests, said, made.kernel, made.bias)


def adopt_adapter(source: AdapterRun, data: Ingested, seed: int) -> Adapter:
    """Takes over the predictions of a finished adapter run, for exactly these comparisons.

    Args:
      source: the run.
      data: comparisons, all of which the run must have predicted for.
      seed: of the draw which response is A.

    Raises:
      InputError: there are none, they are of another rule pool, or a comparison is missing.
    """
    said, stored = read_predictions(source.folder, data.pool)
    number = {digest: i for i, digest in enumerate(stored["digests"].tolist())}
    wanted = comparison_digests(pair_texts(data.comparisons, first_responses(data.comparisons, seed)))
    for n in np.flatnonzero([digest not in number for digest in wanted.tolist()]):
        raise InputError(
            "the adapter run did not predict for it", where=f"comparison {data.comparisons[n].id or n}",
            fix="run the adapter with these comparisons among its own, and the same seed",
        )  # fmt: skip
    rows = np.array([number[digest] for digest in wanted.tolist()])
    return Adapter(
        stored["probability"][:, rows], stored["trained"][rows], stored["critical"][rows], stored["train_share"],
        wanted, said | {"adopted_from": str(source.folder)},
    )  # fmt: skip


def _require_a_choice(critical: np.ndarray, usable: np.ndarray, r: int) -> None:
    """Raises InputError if every rule is critical in all comparisons or in none: there is nothing to predict."""
    seen = critical[usable]
    if len(seen) and (seen == seen[:1]).all():
        raise InputError(
            f"the same {int(seen[0].sum())} of {seen.shape[1]} rules are critical in all {len(seen)} comparisons, so "
            "there is nothing to learn",
            where="config.select.r",
            fix=f"choose fewer rules than {r}, or have more rules rated",
        )
