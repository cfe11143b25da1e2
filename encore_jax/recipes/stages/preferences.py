"""Bradley-Terry training of one reward head on preferences, and how it agrees with people on held-out ones."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from absl import logging

from encore_jax.data import Comparison, prompt_key
from encore_jax.data.left_out import Reason, require_some
from encore_jax.data.prefix_tree import PrefixTree, make_trees
from encore_jax.data.split import group_ids, is_test
from encore_jax.formats import counts_in_words
from encore_jax.model.heads import PREFERENCE
from encore_jax.parallel.mesh import MeshSettings
from encore_jax.recipes.config import TrainConfig
from encore_jax.recipes.outside import ModelFiles
from encore_jax.recipes.stages.gradient import train_by_gradient
from encore_jax.recipes.stages.ingest import COMPARISONS, Ingested
from encore_jax.recipes.stages.probe import load_probe, probe_sequences, save_probe
from encore_jax.recipes.stages.sides import TEST_FRACTION, on_either_side
from encore_jax.recipes.stages.tokenized import tokenized
from encore_jax.reward.passport import PASSPORT
from encore_jax.reward.sequences import fits
from encore_jax.reward.trained_passport import trained_passport
from encore_jax.text.tokenizer import load_tokenizer
from encore_jax.train.batches import Targets
from encore_jax.train.fine_tune import Task, Trained
from encore_jax.train.metrics import read_metrics

RULES = (PREFERENCE,)
"""The one head's name."""


class Laid(NamedTuple):
    """Comparisons as trees, one each: text 2 n is the preferred response of comparison n, and 2 n + 1 the other.

    Attributes:
      trees: of the comparisons that fit a row.
      kept: their numbers.
      same: where the two responses are equal in every token, the second one's text and the first one's.
    """

    trees: list[PrefixTree]
    kept: np.ndarray
    same: dict[int, int]


def lay_comparisons(sequences: Sequence[np.ndarray | None], length: int) -> Laid:
    """One tree per comparison; `sequences` holds two per comparison, the preferred response's first.

    A comparison that does not fit a row of `length` tokens is left out whole.
    """
    trees, kept, same = [], [], {}
    for n in range(len(sequences) // 2):
        pair = sequences[2 * n : 2 * n + 2]
        if not all(fits(sequence, length) for sequence in pair):
            continue
        made = make_trees(pair, (2 * n, 2 * n + 1), length)
        if len(made) == 1:
            trees += made
            kept.append(n)
            if np.array_equal(*pair):
                same[2 * n + 1] = 2 * n
    return Laid(trees, np.array(kept, np.int64), same)


def preference_targets(count: int, names: Sequence[str] = (), same: Mapping[int, int] | None = None) -> Targets:
    """Targets of `count` comparisons laid out by `lay_comparisons`: which response of each is preferred."""
    numbers = np.arange(count)
    nothing = np.zeros((2 * count, 1), np.float32)
    pairs = np.stack([2 * numbers, 2 * numbers + 1], 1)
    texts = [f"{name}, {which}" for name in names for which in ("preferred", "other")]
    return Targets(nothing, nothing.astype(bool), pairs, names=texts, same=same)


class TrainedPreference(NamedTuple):
    """One head trained on preferences.

    Attributes:
      comparison: int ``[N]``, numbers of the held-out comparisons.
      rewards: ``[N, 2]`` of them, the preferred response first.
      probe: rewards ``[2 Q, 1]`` of the over-refusal probe's texts.
      kernel, bias: the head.
      passport: of the model, as plain values.
      counts: of comparisons and training.
      metrics: lines of metrics.jsonl, which grows while training.
    """

    comparison: np.ndarray
    rewards: np.ndarray
    probe: np.ndarray | None
    kernel: np.ndarray
    bias: np.ndarray
    passport: dict[str, Any]
    counts: dict[str, Any]
    metrics: list[dict[str, Any]] = []

    def save(self, folder: Path) -> None:
        """Writes rewards.npz, probe.npz, heads.npz, passport.json and counts.json."""
        np.savez(folder / "rewards.npz", comparison=self.comparison, rewards=self.rewards)
        save_probe(folder, self.probe)
        np.savez(folder / "heads.npz", kernel=self.kernel, bias=self.bias)
        (folder / PASSPORT).write_text(json.dumps(self.passport, indent=1))
        (folder / "counts.json").write_text(json.dumps(self.counts, indent=1))

    @classmethod
    def load(cls, folder: Path) -> TrainedPreference:
        """What `save` wrote, and the metrics of the training."""
        arrays = {}
        for name in ("rewards.npz", "heads.npz"):
            with np.load(folder / name) as stored:
                arrays |= dict(stored)
        return cls(
            **arrays,
            probe=load_probe(folder),
            passport=json.loads((folder / PASSPORT).read_text()),
            counts=json.loads((folder / "counts.json").read_text()),
            metrics=read_metrics(folder / "metrics.jsonl"),
        )


def train_preferences(
    model: ModelFiles,
    train: TrainConfig,
    mesh: MeshSettings,
    data: Ingested,
    test_fraction: float,
    seed: int,
    folder: Path,
) -> TrainedPreference:
    """Trains on the training prompts and scores the held-out comparisons.

    Args:
      model: the backbone.
      train: how.
      mesh: of devices.
      data: records.
      test_fraction: share of the prompts that is held out.
      seed: of the split and of the training.
      folder: for checkpoints and metrics.
    """
    comparisons, tokenizer = data.comparisons, load_tokenizer(model.path)
    ordered = [(c.prompt, c.responses[i]) for c in comparisons for i in (c.preferred, 1 - c.preferred)]
    sequences, refusals = tokenized(
        tokenizer, ordered, model.model.pooling, lambda i: f"comparison {comparisons[i // 2].id or i // 2}"
    )
    refused = np.array([sequence is None for sequence in sequences]).reshape(-1, 2).any(1)
    laid = lay_comparisons(sequences, train.length)
    out = held_out(comparisons, test_fraction, seed)
    _require_pairs(comparisons, sequences, refused, laid, train.length, out, test_fraction)
    test = out[laid.kept]
    targets = preference_targets(len(comparisons), [c.id or str(i) for i, c in enumerate(comparisons)], laid.same)
    training = [tree for tree, out in zip(laid.trees, test, strict=True) if not out]
    testing = [tree for tree, out in zip(laid.trees, test, strict=True) if out]
    counts = {
        "comparisons_dropped_too_long": len(comparisons) - len(laid.kept) - int(refused.sum()),
        "comparisons_for_training": len(training),
        "comparisons_held_out": len(testing),
    }
    counts |= refusals
    if refused.any():
        counts |= {"comparisons_refused_by_template": int(refused.sum())}
    logging.info("%s", counts_in_words(counts))
    one = np.ones(1, np.float32)
    task = Task(training, targets, testing[: train.watch], targets, one, 0 * one)
    passport = trained_passport(
        model.model.path,
        model.sha256,
        tokenizer,
        RULES,
        pooling=model.model.pooling,
        dtype=model.model.dtype,
        max_length=train.length,
        pool_sha256="",
        data_revision=data.revision[COMPARISONS],
        weights=(1.0,),
    ).to_dict()
    trained = train_by_gradient(model, task, train, mesh, seed, passport, folder)
    rewards = held_out_rewards(trained, testing, targets)
    probe = _probe(tokenizer, model.model.pooling, train.length, trained)
    kernel, bias = trained.heads
    return TrainedPreference(
        laid.kept[test], rewards, probe, kernel, bias, passport, counts | {"training": trained.summary}
    )


def _probe(tokenizer, pooling: str, length: int, trained: Trained) -> np.ndarray:
    sequences = probe_sequences(tokenizer, pooling)
    laid = lay_comparisons(sequences, length)
    scores = np.full((len(sequences) // 2, 2), np.nan, np.float32)
    if len(laid.kept):
        scores[laid.kept] = held_out_rewards(trained, laid.trees, preference_targets(len(scores), same=laid.same))
    return scores.reshape(-1, 1)


def _require_pairs(
    comparisons, sequences, refused: np.ndarray, laid: Laid, length: int, out: np.ndarray, test_fraction: float
) -> None:
    """Raises InputError unless there are comparisons to train on and some held out, saying why there are none."""
    total = len(comparisons)
    fitting = np.isin(np.arange(total), laid.kept)
    longest = max((len(sequence) for sequence in sequences if sequence is not None), default=0)
    equal = np.isin(2 * np.arange(total) + 1, list(laid.same))
    common = [
        Reason("are refused by the chat template", refused, "use a model whose template takes them"),
        Reason(
            f"are longer than the {length} tokens of a row (the longest text has {longest})", ~fitting,
            "raise --config.train.length: prompt and both responses share a row",
        ),
    ]  # fmt: skip
    on_either_side(total, common, out, clusters(comparisons), test_fraction)
    pairs = [*common, Reason("are held out", out, TEST_FRACTION)]
    pairs += [Reason("have two responses of equal tokens", equal, "give responses that differ")]
    require_some(total, pairs, what="comparisons", purpose="to train on", where="training data")


def held_out(comparisons: Sequence[Comparison], test_fraction: float, seed: int) -> np.ndarray:
    """Which comparisons are held out, by prompt: bool ``[N]``."""
    return is_test([prompt_key(c.prompt) for c in comparisons], test_fraction, seed)


def clusters(comparisons: Sequence[Comparison]) -> np.ndarray:
    """Numbers of the prompts: comparisons of one prompt are resampled together."""
    return group_ids([prompt_key(c.prompt) for c in comparisons])


def held_out_rewards(trained: Trained, trees: Sequence[PrefixTree], targets: Targets) -> np.ndarray:
    """Rewards ``[N, 2]`` of N comparisons' trees, in their order."""
    found = trained.scores(trees, targets)
    return np.array([[found[key][0] for key in tree.keys] for tree in trees], np.float32).reshape(-1, 2)
