"""How a Rule Adapter is fitted: heads on frozen features, or the backbone by gradient."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
from absl import logging

from encore_jax.composition import top_rules
from encore_jax.data.distinct import on_distinct_rows
from encore_jax.data.left_out import Reason, require_some
from encore_jax.evaluation.selection_metrics import recall_and_precision
from encore_jax.parallel.mesh import MeshSettings
from encore_jax.recipes.outside import ModelFiles
from encore_jax.recipes.ramo_config import AdapterTrainConfig
from encore_jax.recipes.stages.gradient import train_by_gradient
from encore_jax.recipes.stages.predicted_rules import comparison_digests
from encore_jax.recipes.stages.presented import Presented
from encore_jax.recipes.stages.tokenized import tokenized
from encore_jax.reward.sequences import fits, prompt_trees
from encore_jax.text.tokenizer import load_tokenizer, template_digest
from encore_jax.train.batches import Targets
from encore_jax.train.binary_heads import BinaryHeads, fit_binary_heads
from encore_jax.train.fine_tune import Task
from encore_jax.train.linear import best_penalty


class Lesson(NamedTuple):
    """What an adapter is to learn, from which of N comparisons.

    Attributes:
      shown: the comparisons.
      critical: bool ``[N, K]``, the truth.
      usable: bool ``[N]``, which the adapter may be trained on.
      validating: bool ``[N]``, which of them choose the penalty, or the checkpoint.
      r: rules to select.
      seed: of the orders.
    """

    shown: Presented
    critical: np.ndarray
    usable: np.ndarray
    validating: np.ndarray
    r: int
    seed: int


class Fitted(NamedTuple):
    """Logits ``[2, N, K]``, NaN where a text is too long; what is said of the fit; heads, if they are all of it."""

    logits: np.ndarray
    said: dict[str, Any]
    kernel: np.ndarray | None = None
    bias: np.ndarray | None = None


def recall_of(logits: np.ndarray, critical: np.ndarray, r: int) -> float:
    """Mean recall@r of logits ``[2, N, K]``, averaged over both orders."""
    recall, _ = recall_and_precision(np.asarray(top_rules(probability(logits).mean(0), r)), critical)
    return float(np.nanmean(recall))


def probability(logits: np.ndarray) -> np.ndarray:
    return np.asarray(jax.nn.sigmoid(np.asarray(logits, np.float32)))


def _orders(orders: str, seed: int, count: int) -> np.ndarray:
    """bool ``[2, N]``: the orders in which each comparison is trained on."""
    if orders == "both":
        return np.ones((2, count), bool)
    drawn = np.random.default_rng(seed).integers(0, 2, count)
    return np.stack([drawn == 0, drawn == 1])


def fit_heads(lesson: Lesson, pair_Nx2xD: np.ndarray, train: AdapterTrainConfig, longest: int) -> Fitted:
    pair_2xNxD = np.asarray(pair_Nx2xD).transpose(1, 0, 2)
    fits_rows = np.isfinite(pair_2xNxD).all((0, 2))
    _require_both(lesson, fits_rows, f"{longest} (model.buckets)")
    critical, validating, r = lesson.critical, lesson.validating, lesson.r
    usable = lesson.usable & fits_rows
    orders = _orders(train.orders, lesson.seed, len(usable))

    def fit(rows: np.ndarray, l2: float):
        order, number = np.nonzero(orders & rows[None])
        return fit_binary_heads(pair_2xNxD[order, number], critical[number], l2, train.positive_weight)

    def recall(l2: float) -> float:
        heads = fit(usable & ~validating, l2)
        found = recall_of(_logits(pair_2xNxD[:, usable & validating], heads), critical[usable & validating], r)
        logging.info("adapter, penalty %g: recall@%d %.3f on validation prompts", l2, r, found)
        return found

    search = best_penalty(train.penalties, recall)
    heads = fit(usable, search.best)
    said = {"method": "heads", "penalty": search.best, "validation_recall": search.told}
    return Fitted(_logits(pair_2xNxD, heads), said, heads.kernel, heads.bias)


def _require_both(lesson: Lesson, fit: np.ndarray, length: str) -> None:
    """Raises InputError unless comparisons are left to train on and to validate on, saying why there are none."""
    part, validating = lesson.shown.part == "adapter", lesson.validating
    reasons = [
        Reason("are held out, or the reward models'", ~part, "give more prompts, or another --config.seed"),
        Reason(
            "have no rule that is rated for both responses", part & ~lesson.usable, "have a judge rate both responses"
        ),
        Reason(
            f"are longer than the tokens of a row, {length}, or refused by the chat template", ~fit,
            "take longer rows: an adapter reads prompt and both responses as one text",
        ),
    ]  # fmt: skip
    fix = "give more prompts, or change the share of prompts for validation"
    for purpose, side in (("to train the adapter on", validating), ("to validate the adapter on", ~validating)):
        taken = Reason("are on the other side of the split into training and validation", side, fix)
        require_some(len(part), [*reasons, taken], what="comparisons", purpose=purpose, where="adapter")


def _logits(features_2xNxD: np.ndarray, heads: BinaryHeads) -> np.ndarray:
    """``[2, N, K]``; where A and B are the same text, both orders are the same text too, and have equal logits."""
    flat = features_2xNxD.reshape(-1, features_2xNxD.shape[-1])
    logits = on_distinct_rows(lambda rows: rows @ heads.kernel + heads.bias, flat)
    return logits.reshape(*features_2xNxD.shape[:2], -1)


def fit_backbone(
    lesson: Lesson,
    model: ModelFiles,
    train: AdapterTrainConfig,
    mesh: MeshSettings,
    passport: Mapping[str, Any],
    folder: Path,
) -> Fitted:
    shown, critical, usable, validating, r, seed = lesson
    tokenizer = load_tokenizer(model.path)
    texts = shown.pair_texts
    names = [f"comparison {c.id or n}" for n, c in enumerate(shown.comparisons)]
    sequences, refusals = tokenized(tokenizer, texts, model.model.pooling, lambda i: names[i // 2])
    short = np.array([fits(sequence, train.length) for sequence in sequences]).reshape(-1, 2).all(1)
    _require_both(lesson, short, f"{train.length} (train.length)")
    orders = _orders(train.orders, seed, len(usable)).T.reshape(-1)  # by text: comparison n is 2 n and 2 n + 1
    answers = np.repeat(critical, 2, 0).astype(np.float32)

    def laid(of_texts: np.ndarray):
        """Trees of some texts, and their targets; keys are positions in `of_texts`."""
        shown_as = [f"{names[t // 2]}, order {'AB'[t % 2]} first" for t in of_texts]
        trees = prompt_trees([texts[t] for t in of_texts], [sequences[t] for t in of_texts], train.length)
        return trees, Targets(answers[of_texts], np.ones(answers[of_texts].shape, bool), names=shown_as)

    both = np.repeat(short & usable, 2)
    training = np.flatnonzero(both & np.repeat(~validating, 2) & orders)
    watched = np.flatnonzero(np.repeat(short & usable & validating, 2))[: 2 * train.watch]
    trees, targets = laid(training)
    watched_trees, watched_targets = laid(watched)

    def measure(scores: Mapping[int, np.ndarray]) -> dict[str, float]:
        logits = np.stack([scores[i] for i in range(len(watched))]).reshape(-1, 2, critical.shape[1])
        return {"recall": recall_of(logits.transpose(1, 0, 2), critical[watched[::2] // 2], r)}

    k = critical.shape[1]
    frequency = np.clip(answers[training].mean(0), 1e-3, 1 - 1e-3)
    task = Task(trees, targets, watched_trees, watched_targets, np.full(k, 1 / k, np.float32),
                np.log(frequency / (1 - frequency)), measure)  # fmt: skip
    data = hashlib.sha256("".join(comparison_digests(texts).tolist()).encode() + critical.tobytes()).hexdigest()
    digest = {"template_sha256": template_digest(tokenizer), "data": data}
    trained = train_by_gradient(model, task, train, mesh, seed, {**passport, **digest}, folder, "adapter")
    every = np.flatnonzero(np.repeat(short, 2))
    every_trees, every_targets = laid(every)
    scores = trained.scores(every_trees, every_targets, "predicting")
    logits = np.full((len(texts), k), np.nan, np.float32)
    logits[every] = np.stack([scores[i] for i in range(len(every))])
    said = {"method": "gradient", "training": trained.summary} | refusals
    return Fitted(logits.reshape(-1, 2, k).transpose(1, 0, 2), said)
