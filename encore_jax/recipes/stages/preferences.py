"""Bradley-Terry training of one reward head on preferences, and how it agrees with people on held-out ones."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from absl import logging

from encore_jax.data import Comparison, prompt_key
from encore_jax.data.left_out import Reason, require_some
from encore_jax.data.prefix_tree import PrefixTree, make_trees
from encore_jax.data.split import group_ids, is_test
from encore_jax.recipes.config import ExperimentConfig
from encore_jax.recipes.manifest import file_sha256
from encore_jax.recipes.stages import ingest
from encore_jax.recipes.stages.gradient import train_by_gradient
from encore_jax.recipes.stages.probe import probe_sequences, save_probe
from encore_jax.recipes.stages.sides import TEST_FRACTION, on_either_side
from encore_jax.recipes.stages.tokenized import tokenized
from encore_jax.reward.passport import PASSPORT, Passport
from encore_jax.reward.sequences import fits
from encore_jax.text.tokenizer import load_tokenizer, template_digest
from encore_jax.train.batches import Targets
from encore_jax.train.fine_tune import Task, Trained

RULES = ("preference",)
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


def train_preferences(config: ExperimentConfig, model: Path, sha256: str, ingested: Path, folder: Path) -> None:
    """Trains on the training prompts and scores the held-out comparisons.

    Writes rewards.npz (numbers of the held-out comparisons and their rewards ``[N, 2]``, preferred response first),
    probe.npz (scores of the over-refusal probe), heads.npz, passport.json and counts.json; metrics.jsonl grows while
    training.
    """
    _, _, comparisons = ingest.load(ingested)
    tokenizer = load_tokenizer(model)
    ordered = [(c.prompt, c.responses[i]) for c in comparisons for i in (c.preferred, 1 - c.preferred)]
    sequences, refusals = tokenized(
        tokenizer, ordered, config.model.pooling, lambda i: f"comparison {comparisons[i // 2].id or i // 2}"
    )
    refused = np.array([sequence is None for sequence in sequences]).reshape(-1, 2).any(1)
    laid = lay_comparisons(sequences, config.train.length)
    _require_pairs(comparisons, sequences, refused, laid, config)
    test = held_out(comparisons, config)[laid.kept]
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
    logging.info("counts: %s", counts)
    one = np.ones(1, np.float32)
    task = Task(training, targets, testing[: config.train.watch], targets, one, 0 * one)
    passport = Passport(
        model=Path(config.model.path.split("?")[0]).name,
        model_sha256=sha256,
        template_sha256=template_digest(tokenizer),
        bos="chat template",
        pooling=config.model.pooling,
        pad_id=-1 if tokenizer.pad_token_id is None else tokenizer.pad_token_id,
        dtype=config.model.dtype,
        max_length=config.train.length,
        rules=RULES,
        pool_sha256="",
        data_revision=file_sha256(ingested / "comparisons.jsonl"),
        weights=(1.0,),
    ).to_dict()
    trained = train_by_gradient(config, model, task, passport, folder)
    rewards = held_out_rewards(trained, testing, targets)
    np.savez(folder / "rewards.npz", comparison=laid.kept[test], rewards=rewards)
    _score_probe(config, tokenizer, trained, folder)
    kernel, bias = trained.heads
    np.savez(folder / "heads.npz", kernel=kernel, bias=bias)
    (folder / PASSPORT).write_text(json.dumps(passport, indent=1))
    (folder / "counts.json").write_text(json.dumps(counts | {"training": trained.summary}, indent=1))


def _score_probe(config: ExperimentConfig, tokenizer, trained: Trained, folder: Path) -> None:
    sequences = probe_sequences(tokenizer, config.model.pooling)
    laid = lay_comparisons(sequences, config.train.length)
    scores = np.full((len(sequences) // 2, 2), np.nan, np.float32)
    if len(laid.kept):
        scores[laid.kept] = held_out_rewards(trained, laid.trees, preference_targets(len(scores), same=laid.same))
    save_probe(folder, scores.reshape(-1, 1))


def _require_pairs(comparisons, sequences, refused: np.ndarray, laid: Laid, config: ExperimentConfig) -> None:
    """Raises InputError unless there are comparisons to train on and some held out, saying why there are none."""
    total, length = len(comparisons), config.train.length
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
    out = held_out(comparisons, config)
    on_either_side(total, common, out, clusters(comparisons), config.data.test_fraction)
    pairs = [*common, Reason("are held out", out, TEST_FRACTION)]
    pairs += [Reason("have two responses of equal tokens", equal, "give responses that differ")]
    require_some(total, pairs, what="comparisons", purpose="to train on", where="training data")


def held_out(comparisons: Sequence[Comparison], config: ExperimentConfig) -> np.ndarray:
    """Which comparisons are held out, by prompt: bool ``[N]``."""
    return is_test([prompt_key(c.prompt) for c in comparisons], config.data.test_fraction, config.seed)


def clusters(comparisons: Sequence[Comparison]) -> np.ndarray:
    """Numbers of the prompts: comparisons of one prompt are resampled together."""
    return group_ids([prompt_key(c.prompt) for c in comparisons])


def held_out_rewards(trained: Trained, trees: Sequence[PrefixTree], targets: Targets) -> np.ndarray:
    """Rewards ``[N, 2]`` of N comparisons' trees, in their order."""
    found = trained.scores(trees, targets)
    return np.array([[found[key][0] for key in tree.keys] for tree in trees], np.float32).reshape(-1, 2)
