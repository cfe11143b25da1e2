"""Stage train: rule heads on the backbone, and their scores of every text."""

from __future__ import annotations

import functools
import json
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from absl import logging

from encore_jax.data import locate
from encore_jax.parallel.mesh import activate, batch_shards, replicated
from encore_jax.recipes.config import ExperimentConfig
from encore_jax.recipes.manifest import file_sha256
from encore_jax.recipes.stages import extract, ingest, rate
from encore_jax.recipes.stages.gradient import train_by_gradient
from encore_jax.recipes.stages.heads import Heads, ridge_heads, without_held_out
from encore_jax.recipes.stages.probe import probe_sequences, probe_texts, save_probe
from encore_jax.recipes.stages.texts import Texts, texts_of
from encore_jax.recipes.stages.tokenized import record_name, tokenized
from encore_jax.recipes.stages.usable import require_usable
from encore_jax.reward.passport import PASSPORT, Passport, read_passport
from encore_jax.reward.sequences import prompt_trees
from encore_jax.rules import RulePool
from encore_jax.text.tokenizer import load_tokenizer, template_digest
from encore_jax.train.batches import Targets
from encore_jax.train.fine_tune import Task


class Fit(NamedTuple):
    """Heads, and what they score.

    Attributes:
      heads: as trained on some ratings.
      features: ``[T, D]`` of every text, by the backbone that the heads belong to.
      probe: ``[2 Q, D]`` of the over-refusal probe's texts; None where it was not run.
      counts: of texts and training.
    """

    heads: Heads
    features: np.ndarray
    probe: np.ndarray | None
    counts: dict[str, Any]


def train(
    config: ExperimentConfig, weights_sha256: str, ingested: Path, rated: Path, features: Path | None, folder: Path
) -> None:
    """Trains heads on the "human" ratings and, if there are any, on the simulated "judges".

    Writes heads-NAME.npz and scores-NAME.npy (scores ``[T, K]`` of every text, NaN if it is too long), rows.npy (the
    rated responses trained on), probe.npz (scores of the over-refusal probe by the heads trained on human ratings),
    passport.json and counts.json.

    `features` is the folder of the stage that ran the frozen backbone; None where training changes the backbone.
    """
    pool, targets = RulePool.from_yaml(ingested / "pool.yaml"), rate.load(rated).targets
    texts = texts_of(config, ingested)
    tokenizer = load_tokenizer(locate(config.model.path, offline=True))
    passport = _passport(config, weights_sha256, tokenizer, pool, file_sha256(ingested / "rated.jsonl"))
    if features is not None:
        extracted = extract.load(features)
        readable, counts = extracted.readable, extracted.counts
    else:
        _, records, comparisons = ingest.load(ingested)
        sequences, counts = tokenized(
            tokenizer, texts.texts, config.model.pooling, lambda i: record_name(texts.texts[i], records, comparisons)
        )
        readable = extract.readable(sequences, passport.max_length)
    require_usable(config, texts, targets, pool.names, readable)
    rows = np.flatnonzero((readable.fits & ~texts.test)[texts.rated])
    if features is not None:
        fit = functools.partial(_by_ridge, config, extracted, texts, rows)
    else:
        asked = probe_texts(), probe_sequences(tokenizer, config.model.pooling)
        held_out = np.flatnonzero((readable.fits & texts.test)[texts.rated])
        fit = functools.partial(_by_gradient, config, passport, texts, sequences, asked, rows, held_out, folder)
    for name, (target, mask) in targets.items():
        fitted = fit(name, target, mask)
        counts = fitted.counts | counts
        fitted.heads.save(folder / f"heads-{name}.npz")
        np.save(folder / f"scores-{name}.npy", fitted.heads.scores(fitted.features))
        if name == "human":
            save_probe(folder, fitted.heads.plain_scores(fitted.probe))
    counts |= _counts(texts, readable, rows)
    logging.info("counts: %s", counts)
    np.save(folder / "rows.npy", rows)
    (folder / "counts.json").write_text(json.dumps(counts, indent=1))
    (folder / PASSPORT).write_text(json.dumps(passport.to_dict(), indent=1))


def _by_ridge(config: ExperimentConfig, extracted: extract.Extracted, texts: Texts, rows, name, target, mask) -> Fit:
    """Heads in closed form, on features that are the same for all ratings."""
    heads = ridge_heads(config, extracted.texts, target[rows], mask[rows], texts.rated[rows], texts.fold)
    return Fit(heads, extracted.texts, extracted.probe, {})


def _by_gradient(
    config: ExperimentConfig,
    passport: Passport,
    texts: Texts,
    sequences: list[np.ndarray | None],
    asked: extract.Part,
    rows: np.ndarray,
    held_out: np.ndarray,
    folder: Path,
    name: str,
    target: np.ndarray,
    mask: np.ndarray,
) -> Fit:
    """Heads and what the configuration trains of the backbone; the trained backbone then runs every text."""

    def trees_of(chosen):
        numbers = texts.rated[chosen]
        return prompt_trees([texts.texts[i] for i in numbers], [sequences[i] for i in numbers], config.train.length)

    task = _regression(config, trees_of, target, mask, rows, held_out)
    model = locate(config.model.path, offline=True)
    trained = train_by_gradient(config, model, task, passport.to_dict() | {"ratings": name}, folder, name)
    program = trained.program
    with activate(program.mesh):
        cache = folder / "batches" / f"trained-{name}-{trained.summary['used_step']}"
        layout = dict(sharding=replicated(program.mesh), multiple=batch_shards(program.mesh))
        parts = [(texts.texts, sequences), asked if name == "human" else ((), ())]
        (features, probe), counts = extract.features_of(
            program.cfg, trained.backbone, config.model, parts, cache, **layout
        )
    return Fit(without_held_out(*trained.heads), features, probe, counts | {f"training_{name}": trained.summary})


def _passport(config: ExperimentConfig, weights_sha256: str, tokenizer, pool: RulePool, data: str) -> Passport:
    return Passport(
        model=Path(config.model.path.split("?")[0]).name,
        model_sha256=weights_sha256,
        template_sha256=template_digest(tokenizer),
        bos="chat template",
        pooling=config.model.pooling,
        pad_id=-1 if tokenizer.pad_token_id is None else tokenizer.pad_token_id,
        dtype=config.model.dtype,
        max_length=max(config.model.buckets),
        rules=pool.names,
        pool_sha256=pool.digest,
        data_revision=data,
    )


def _counts(texts: Texts, readable: extract.Readable, rows: np.ndarray) -> dict[str, int]:
    """How many records the model could read, and what became of the others."""
    long, refused = ~readable.fits & ~readable.refused, readable.refused[texts.compared].any(1)
    counts = {
        "rated_responses_dropped_too_long": int(long[texts.rated].sum()),
        "rated_responses_for_training": len(rows),
        "comparisons_dropped_too_long": int((~readable.fits[texts.compared].all(1) & ~refused).sum()),
    }
    if readable.refused.any():
        counts |= {
            "rated_responses_refused_by_template": int(readable.refused[texts.rated].sum()),
            "comparisons_refused_by_template": int(refused.sum()),
        }
    return counts


def _regression(config: ExperimentConfig, trees_of, target, mask, rows, held_out) -> Task:
    """Multi-output regression on ratings; keys of trees are positions in `rows` (or in `held_out`)."""
    watched = trees_of(held_out)[: config.train.watch] if config.train.watch else []
    k = target.shape[1]
    return Task(
        trees=trees_of(rows),
        targets=Targets(target[rows], mask[rows], names=[f"rated response {row}" for row in rows]),
        watched=watched,
        watched_targets=Targets(target[held_out], mask[held_out]),
        weights=np.full(k, 1 / k, np.float32),
        bias=(target * mask)[rows].sum(0) / mask[rows].sum(0),
    )


def load_passport(folder: Path) -> Passport:
    """The passport that `train` wrote."""
    return read_passport(folder)


def load_scores(folder: Path, name: str) -> np.ndarray:
    """Scores ``[T, K]`` of every text by the heads trained on the named ratings."""
    return np.load(folder / f"scores-{name}.npy")
