"""One Bradley-Terry reward model per arm, number of rules, size and seed, all from the same initial one."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
from absl import logging

from encore_jax.composition.ties import sign
from encore_jax.data import prompt_key
from encore_jax.data.manifest import FIX
from encore_jax.data.split import folds
from encore_jax.errors import InputError
from encore_jax.formats import counts_in_words
from encore_jax.json_shape import read_json
from encore_jax.parallel.mesh import MeshSettings, make_mesh
from encore_jax.progress import track
from encore_jax.recipes.outside import ModelFiles
from encore_jax.recipes.ramo_config import RewardTrainConfig
from encore_jax.recipes.stages.adapter import Adapter
from encore_jax.recipes.stages.arms import Labels
from encore_jax.recipes.stages.frozen import Features
from encore_jax.recipes.stages.gradient import backbone_config, train_by_gradient
from encore_jax.recipes.stages.ingest import Ingested
from encore_jax.recipes.stages.preferences import lay_comparisons, preference_targets
from encore_jax.recipes.stages.presented import PartSplit, Presented, present
from encore_jax.recipes.stages.probe import load_margins, probe_sequences, save_margins
from encore_jax.recipes.stages.reward_runs import Run, drawn_counts, require_labels, require_parts
from encore_jax.recipes.stages.tokenized import tokenized
from encore_jax.text.tokenizer import load_tokenizer, template_digest
from encore_jax.train.batches import Targets
from encore_jax.train.bradley_terry import bradley_terry_weights
from encore_jax.train.feature_scale import feature_scale
from encore_jax.train.fine_tune import Task, end_scores, initial_state
from encore_jax.train.linear import best_penalty, held_out_margins
from encore_jax.train.program import make_program

FOLDS = 5
"""Of the cross-validation that chooses the penalty of method "heads"."""


class RewardModels(NamedTuple):
    """What the reward models say of T held-out comparisons and of the P pairs of the over-refusal probe.

    Attributes:
      test: int ``[T]``, numbers of the held-out comparisons.
      margins: ``[T]`` by model ("initial", or `Run.name`): reward of A minus reward of B.
      probe: ``[P]`` by model, NaN where a pair could not be scored; None where the probe was of another wording.
      counts: of comparisons and training.
      initial: of method "heads", the head that all arms start from, ``[D]``; otherwise None.
    """

    test: np.ndarray
    margins: dict[str, np.ndarray]
    probe: dict[str, np.ndarray] | None
    counts: dict[str, Any]
    initial: np.ndarray | None = None

    def save(self, folder: Path) -> None:
        """Writes margins.npz, probe-margins.npz, counts.json and, of method "heads", initial.npz."""
        np.savez(folder / "margins.npz", test=self.test, **self.margins)
        save_margins(folder, self.probe)
        if self.initial is not None:
            np.savez(folder / INITIAL, kernel=self.initial)
        (folder / "counts.json").write_text(json.dumps(self.counts, indent=1))

    @classmethod
    def load(cls, folder: Path) -> RewardModels:
        """What `save` wrote."""
        with np.load(folder / "margins.npz") as stored:
            margins = dict(stored)
        initial = None
        if (folder / INITIAL).exists():
            with np.load(folder / INITIAL) as stored:
                initial = stored["kernel"]
        counts = read_json(folder / "counts.json", dict[str, object], fix=FIX)
        return cls(margins.pop("test"), margins, load_margins(folder), counts, initial)


INITIAL = "initial.npz"


class _Lessons(NamedTuple):
    """What the reward models learn: from `pool`, bool ``[N]`` over the comparisons, by the labels of each run."""

    shown: Presented
    pool: np.ndarray
    labels: Labels
    runs: list[Run]

    def labels_of(self, run: Run) -> np.ndarray:
        """int ``[N]``."""
        rows = self.labels.of[run.cell.name]
        return rows[run.seed % len(rows)]


def train_arms(
    runs: Sequence[Run],
    model: ModelFiles,
    train: RewardTrainConfig,
    mesh: MeshSettings,
    data: Ingested,
    features: Features,
    adapter: Adapter,
    labels: Labels,
    split: PartSplit,
    folder: Path,
) -> RewardModels:
    """Trains a reward model for every run that has labels.

    Args:
      runs: the reward models.
      model: the backbone.
      train: how; of method "heads" on `features`, else the whole backbone.
      mesh: of devices.
      data: comparisons.
      features: of them.
      adapter: what it was trained on, no reward model may learn from.
      labels: by arm.
      split: into parts.
      folder: for checkpoints and metrics.

    Raises:
      InputError: a held-out comparison has no label by people, or a part or an arm has nothing to train on.
    """
    shown = present(data.comparisons, split)
    for n in np.flatnonzero((shown.part == "test") & (shown.human < 0)):
        where = f"comparison {shown.comparisons[n].id or n}"
        raise InputError(
            "held out to judge by, and people did not label it", where=where, fix="leave it out, or label it"
        )
    pool = (shown.part == "reward") & ~adapter.trained
    lessons = _Lessons(shown, pool, labels, [run for run in runs if run.cell.name in labels.of])
    if train.method == "heads":
        made = _by_heads(lessons, features, train, max(model.model.buckets), split.seed)
    else:
        made = _by_gradient(lessons, model, train, mesh, split.seed, folder)
    counts = {"comparisons_for_training": int(pool.sum()), "comparisons_held_out": len(made.test)}
    counts = made.counts | counts
    logging.info("%s", counts_in_words(counts))
    return made._replace(counts=counts)


def _by_heads(lessons: _Lessons, features: Features, train: RewardTrainConfig, longest: int, seed: int) -> RewardModels:
    shown, pool = lessons.shown, lessons.pool
    difference = features.response[:, 0] - features.response[:, 1]
    fits = np.isfinite(difference).all(1)
    own = fits & (shown.part == "adapter") & (shown.human >= 0)
    test = np.flatnonzero(fits & (shown.part == "test"))
    require_parts(shown, pool, fits, f"{longest} (model.buckets)", FOLDS)
    scale = feature_scale(difference[fits & (shown.part != "test")])
    x = (np.where(fits[:, None], difference, 0) / scale).astype(np.float32)
    search, initial = _initial(train.penalties, x, shown, own, seed)
    margins, probe = {"initial": x[test] @ initial}, (features.probe[:, 0] - features.probe[:, 1]) / scale
    probed = {"initial": probe @ initial}
    for run in track(lessons.runs, len(lessons.runs), "reward heads"):
        label = lessons.labels_of(run)
        drawn = drawn_counts(pool & fits, run.size, seed + run.seed)
        require_labels(run, label, drawn > 0)
        rows = np.flatnonzero(pool & fits)
        signed, counts = x[rows] * np.where(label[rows] == 1, -1.0, 1.0)[:, None], (drawn * (label >= 0))[rows]
        head = bradley_terry_weights(
            jnp.asarray(signed, jnp.float32), search.best, counts=jnp.asarray(counts, jnp.float32), start=initial
        )
        margins[run.name], probed[run.name] = x[test] @ np.asarray(head), probe @ np.asarray(head)
    said = {"method": "heads", "penalty": search.best, "cross_validated_accuracy": search.told,
            "runs": len(lessons.runs), "comparisons_of_initial_head": int(own.sum())}  # fmt: skip
    return RewardModels(test, margins, probed, said, initial / scale)


def _initial(penalties: Sequence[float], x: np.ndarray, shown: Presented, own: np.ndarray, seed: int):
    """The penalty that cross-validation prefers, and a head on people's labels of the adapter's comparisons."""
    rows = np.flatnonzero(own)
    signed = (x[rows] * np.where(shown.human[rows] == 1, -1.0, 1.0)[:, None]).astype(np.float32)
    fold = folds([prompt_key(shown.comparisons[n].prompt) for n in rows], FOLDS, seed + 5)
    search = best_penalty(penalties, lambda l2: float((sign(held_out_margins(signed, fold, l2)) > 0).mean()))
    logging.info("initial head: penalty %g, accuracy %.3f across folds", search.best, search.tried[search.best])
    return search, np.asarray(bradley_terry_weights(jnp.asarray(signed), search.best))


def _by_gradient(
    lessons: _Lessons, model: ModelFiles, train: RewardTrainConfig, mesh: MeshSettings, seed: int, folder: Path
) -> RewardModels:
    shown, pool, path = lessons.shown, lessons.pool, model.path
    tokenizer, pooling = load_tokenizer(path), model.model.pooling
    names = [f"comparison {c.id or n}, response {ab}" for n, c in enumerate(shown.comparisons) for ab in "AB"]
    sequences, refusals = tokenized(tokenizer, shown.response_texts, pooling, lambda i: names[i])
    refused = np.array([sequence is None for sequence in sequences]).reshape(-1, 2).any(1)
    laid = lay_comparisons(sequences, train.length)
    tree_of = dict(zip(laid.kept.tolist(), laid.trees, strict=True))
    test = np.array([n for n in laid.kept if shown.part[n] == "test"], np.int64)
    passport = {"model_sha256": model.sha256, "template_sha256": template_digest(tokenizer), "pooling": pooling}
    one, margins, probed, said = np.ones(1, np.float32), {}, {}, {}
    asked = probe_sequences(tokenizer, pooling)
    probe = lay_comparisons(asked, train.length)

    def targets(label: np.ndarray) -> Targets:
        numbers = np.flatnonzero(label >= 0)
        pairs = np.stack([2 * numbers + label[numbers], 2 * numbers + 1 - label[numbers]], 1)
        nothing = np.zeros((len(names), 1), np.float32)
        return Targets(nothing, nothing.astype(bool), pairs, names=names, same=laid.same)

    judged = targets(np.where(shown.part == "test", shown.human, -1))
    held_out = [tree_of[int(n)] for n in test]

    def test_margins(program, state) -> np.ndarray:
        scores = end_scores(program, state.params, held_out, judged)
        return np.array([scores[2 * n][0] - scores[2 * n + 1][0] for n in test.tolist()], np.float32)

    def probe_margins(program, state) -> np.ndarray:
        made, of_probe = np.full(len(asked) // 2, np.nan, np.float32), preference_targets(len(asked) // 2)
        scores = end_scores(program, state.params, probe.trees, of_probe, "over-refusal probe") if probe.trees else {}
        made[probe.kept] = [scores[2 * n][0] - scores[2 * n + 1][0] for n in probe.kept.tolist()]
        return made

    kept = np.isin(np.arange(len(shown.part)), laid.kept)
    require_parts(shown, pool, kept, f"{train.length} (train.length)", 0)
    untouched = Task((), judged, (), judged, one, 0 * one, from_score_head=True)
    cfg = backbone_config(model.model, path)
    program = make_program(cfg, 1, train, make_mesh(mesh), steps=1, dtype=model.model.dtype)
    state = initial_state(program, path, untouched, seed)
    margins["initial"], probed["initial"] = test_margins(program, state), probe_margins(program, state)
    del state
    for run in lessons.runs:
        label, own_seed = lessons.labels_of(run), seed + run.seed
        counts = drawn_counts(pool, run.size, own_seed, replace=False)
        require_labels(run, label, (counts > 0) & np.isin(np.arange(len(label)), laid.kept))
        trees = [tree_of[int(n)] for n in np.flatnonzero((counts > 0) & (label >= 0)) if int(n) in tree_of]
        task = untouched._replace(trees=trees, targets=targets(label), watched=held_out[: train.watch])
        digest = {"labels": hashlib.sha256(label.tobytes() + counts.tobytes()).hexdigest()}
        trained = train_by_gradient(model, task, train, mesh, own_seed, passport | digest, folder, run.name)
        margins[run.name], said[run.name] = test_margins(trained.program, trained.state), trained.summary
        probed[run.name] = probe_margins(trained.program, trained.state)
    too_long = len(shown.human) - len(laid.kept) - int(refused.sum())
    said = {"method": "gradient", "comparisons_dropped_too_long": too_long, "training": said} | refusals
    if refused.any():
        said["comparisons_refused_by_template"] = int(refused.sum())
    return RewardModels(test, margins, probed, said)
