"""One Bradley-Terry reward model per arm, number of rules, size and seed, all from the same initial one."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Container, Iterator
from pathlib import Path
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from absl import logging

from encore_jax.composition.ties import sign
from encore_jax.data import locate, prompt_key
from encore_jax.data.left_out import Reason, require_some
from encore_jax.data.split import folds
from encore_jax.errors import InputError
from encore_jax.parallel.mesh import make_mesh
from encore_jax.progress import track
from encore_jax.recipes.ramo_config import RamoConfig
from encore_jax.recipes.stages import adapter, arms, frozen
from encore_jax.recipes.stages.arms import Cell
from encore_jax.recipes.stages.gradient import backbone_config, train_by_gradient
from encore_jax.recipes.stages.preferences import lay_comparisons, preference_targets
from encore_jax.recipes.stages.presented import Presented
from encore_jax.recipes.stages.probe import probe_sequences, save_margins
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


class Run(NamedTuple):
    """One reward model.

    Attributes:
      cell: whose labels.
      size: training comparisons drawn; 0 is all.
      seed: of the draw.
    """

    cell: Cell
    size: int
    seed: int

    @property
    def key(self) -> str:
        return f"{self.cell.key}.n{self.size}.s{self.seed}"


def runs(config: RamoConfig, labelled: Container[str]) -> Iterator[Run]:
    """Every cell on all comparisons; the smaller sizes at `select.r` only. `labelled`: keys of cells with labels."""
    for cell in arms.cells(config):
        if cell.key not in labelled:
            continue
        sizes = (0, *config.train.sizes) if cell.r in (0, config.select.r) else (0,)
        yield from (Run(cell, size, seed) for size in sizes for seed in range(config.train.seeds))


def train_arms(
    config: RamoConfig, shown: Presented, sha256: str, features: Path, predicted: Path, labelled: Path, folder: Path
) -> None:
    """Writes margins.npz (held-out comparisons' numbers, and for every run reward(A) - reward(B)), probe-margins.npz
    (the same of the over-refusal probe) and counts.json."""
    train = _by_heads if config.train.method == "heads" else _by_gradient
    trained = adapter.load(predicted).trained
    labels = arms.load(labelled)
    for n in np.flatnonzero((shown.part == "test") & (shown.human < 0)):
        where = f"comparison {shown.comparisons[n].id or n}"
        raise InputError(
            "held out to judge by, and people did not label it", where=where, fix="leave it out, or label it"
        )
    pool = (shown.part == "reward") & ~trained
    test, margins, probe, counts = train(config, shown, sha256, features, pool, labels, folder)
    counts |= {"comparisons_for_training": int(pool.sum()), "comparisons_held_out": len(test)}
    logging.info("counts: %s", counts)
    np.savez(folder / "margins.npz", test=test, **margins)
    save_margins(folder, probe)
    (folder / "counts.json").write_text(json.dumps(counts, indent=1))


def load(folder: Path) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """Numbers of the held-out comparisons, and margins ``[T]`` by run ("initial", or `Run.key`)."""
    with np.load(folder / "margins.npz") as stored:
        margins = dict(stored)
    return margins.pop("test"), margins


def drawn_counts(pool: np.ndarray, size: int, seed: int, replace: bool = True) -> np.ndarray:
    """How often each comparison of the pool is drawn: int ``[N]``; the same for every arm.

    With replacement, as convex heads are trained, even draws of all comparisons differ from seed to seed.
    """
    numbers = np.flatnonzero(pool)
    size = size or len(numbers)
    chosen = np.random.default_rng([seed, size]).choice(numbers, size if replace else min(size, len(numbers)), replace)
    return np.bincount(chosen, minlength=len(pool))


def _labels_of(labels: dict[str, np.ndarray], run: Run) -> np.ndarray:
    rows = labels[run.cell.key]
    return rows[run.seed % len(rows)]


def _by_heads(config: RamoConfig, shown: Presented, sha256: str, features: Path, pool, labels, folder: Path):
    found = frozen.load(features)
    difference = found.response[:, 0] - found.response[:, 1]
    fits = np.isfinite(difference).all(1)
    own = fits & (shown.part == "adapter") & (shown.human >= 0)
    test = np.flatnonzero(fits & (shown.part == "test"))
    _require_parts(shown, pool, fits, f"{max(config.model.buckets)} (model.buckets)", FOLDS)
    scale = feature_scale(difference[fits & (shown.part != "test")])
    x = (np.where(fits[:, None], difference, 0) / scale).astype(np.float32)
    search, initial = _initial(config, x, shown, own)
    margins, probe = {"initial": x[test] @ initial}, (found.probe[:, 0] - found.probe[:, 1]) / scale
    probed = {"initial": probe @ initial}
    plan = list(runs(config, labels))
    for run in track(plan, len(plan), "reward heads"):
        label = _labels_of(labels, run)
        usable = drawn_counts(pool & fits, run.size, config.seed + run.seed) * (label >= 0)
        _require_labels(run, label, drawn_counts(pool & fits, run.size, config.seed + run.seed) > 0)
        rows = np.flatnonzero(pool & fits)
        signed = x[rows] * np.where(label[rows] == 1, -1.0, 1.0)[:, None]
        head = bradley_terry_weights(
            jnp.asarray(signed, jnp.float32), search.best, counts=jnp.asarray(usable[rows], jnp.float32), start=initial
        )
        margins[run.key], probed[run.key] = x[test] @ np.asarray(head), probe @ np.asarray(head)
    np.savez(folder / "initial.npz", kernel=initial / scale)
    said = {"method": "heads", "penalty": search.best, "cross_validated_accuracy": search.told, "runs": len(plan),
            "comparisons_of_initial_head": int(own.sum())}  # fmt: skip
    return test, margins, probed, said


def _require_parts(shown: Presented, pool: np.ndarray, fits: np.ndarray, length: str, initial: int) -> None:
    """Raises InputError unless there are comparisons for the initial head, for the arms and to judge by, saying why.

    Args:
      shown, pool: all comparisons, and bool ``[N]``, those that the arms may be trained on.
      fits: bool ``[N]``, which the model can read.
      length: what the others exceed, in words.
      initial: how many labelled comparisons the initial head needs; 0 for a checkpoint's own.
    """
    long = Reason(
        f"are longer than the tokens of a row, {length}, or refused by the chat template", ~fits, "take longer rows"
    )
    fractions = "give more prompts, or change --config.adapter_fraction or --config.data.test_fraction"
    adapter = shown.part == "adapter"
    unlabelled = Reason("are not labelled by people", adapter & (shown.human < 0), "label the adapter's comparisons")
    wanted = [("to train the initial head on", adapter, [unlabelled], initial)] if initial else []
    wanted += [("to train the arms on", pool, [], 1), ("to judge by, held out", shown.part == "test", [], 1)]
    for purpose, part, more, least in wanted:
        reasons = [Reason("are for other purposes", ~part, fractions), long, *more]
        options = {"what": "comparisons", "purpose": purpose, "where": "training data", "least": least}
        require_some(len(fits), reasons, **options)


def _require_labels(run: Run, label: np.ndarray, drawn: np.ndarray) -> None:
    """Raises InputError unless a comparison that a run draws has a label."""
    unlabelled = "have the judge rate both responses on the rules that the arm selects"
    tied = "let ties count by --config.select.ties, select more rules, or leave the arm out of --config.train.arms"
    reasons = [
        Reason("are unlabelled", label[drawn] < -1, unlabelled),
        Reason("are ties on the selected rules", label[drawn] == -1, tied),
    ]
    options = {"what": "drawn comparisons", "purpose": "to train on", "where": f"arm {run.key}"}
    require_some(int(drawn.sum()), reasons, **options)


def _initial(config: RamoConfig, x: np.ndarray, shown: Presented, own: np.ndarray):
    """The penalty that cross-validation prefers, and a head on people's labels of the adapter's comparisons."""
    rows = np.flatnonzero(own)
    signed = (x[rows] * np.where(shown.human[rows] == 1, -1.0, 1.0)[:, None]).astype(np.float32)
    fold = folds([prompt_key(shown.comparisons[n].prompt) for n in rows], FOLDS, config.seed + 5)
    search = best_penalty(
        config.train.penalties, lambda l2: float((sign(held_out_margins(signed, fold, l2)) > 0).mean())
    )
    logging.info("initial head: penalty %g, accuracy %.3f across folds", search.best, search.tried[search.best])
    return search, np.asarray(bradley_terry_weights(jnp.asarray(signed), search.best))


def _by_gradient(config: RamoConfig, shown: Presented, sha256: str, features: Path, pool, labels, folder: Path):
    path = locate(config.model.path, offline=True)
    tokenizer = load_tokenizer(path)
    names = [f"comparison {c.id or n}, response {ab}" for n, c in enumerate(shown.comparisons) for ab in "AB"]
    sequences, refusals = tokenized(tokenizer, shown.response_texts, config.model.pooling, lambda i: names[i])
    refused = np.array([sequence is None for sequence in sequences]).reshape(-1, 2).any(1)
    laid = lay_comparisons(sequences, config.train.length)
    tree_of = dict(zip(laid.kept.tolist(), laid.trees, strict=True))
    test = np.array([n for n in laid.kept if shown.part[n] == "test"], np.int64)
    passport = {"model_sha256": sha256, "template_sha256": template_digest(tokenizer), "pooling": config.model.pooling}
    one, margins, probed, said = np.ones(1, np.float32), {}, {}, {}
    asked = probe_sequences(tokenizer, config.model.pooling)
    probe = lay_comparisons(asked, config.train.length)

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
    _require_parts(shown, pool, kept, f"{config.train.length} (train.length)", 0)
    untouched = Task((), judged, (), judged, one, 0 * one, from_score_head=True)
    program = make_program(
        backbone_config(config.model, path), 1, config.train, make_mesh(config.mesh), steps=1, dtype=config.model.dtype
    )
    state = initial_state(program, path, untouched, config.seed)
    margins["initial"], probed["initial"] = test_margins(program, state), probe_margins(program, state)
    del state
    for run in runs(config, labels):
        label, seed = _labels_of(labels, run), config.seed + run.seed
        counts = drawn_counts(pool, run.size, seed, replace=False)
        _require_labels(run, label, (counts > 0) & np.isin(np.arange(len(label)), laid.kept))
        trees = [tree_of[int(n)] for n in np.flatnonzero((counts > 0) & (label >= 0)) if int(n) in tree_of]
        task = untouched._replace(trees=trees, targets=targets(label), watched=held_out[: config.train.watch])
        digest = {"labels": hashlib.sha256(label.tobytes() + counts.tobytes()).hexdigest()}
        trained = train_by_gradient(
            dataclasses.replace(config, seed=seed), path, task, passport | digest, folder, run.key
        )
        margins[run.key], said[run.key] = test_margins(trained.program, trained.state), trained.summary
        probed[run.key] = probe_margins(trained.program, trained.state)
    too_long = len(shown.human) - len(laid.kept) - int(refused.sum())
    said = {"method": "gradient", "comparisons_dropped_too_long": too_long, "training": said} | refusals
    if refused.any():
        said["comparisons_refused_by_template"] = int(refused.sum())
    return test, margins, probed, said
