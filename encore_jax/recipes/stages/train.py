"""Rule heads on the backbone, and their scores of every text."""

from __future__ import annotations

import functools
import json
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from absl import logging

from encore_jax.evaluation.chance import LARGEST_PENALTY
from encore_jax.parallel.mesh import MeshSettings
from encore_jax.recipes.config import TrainConfig
from encore_jax.recipes.outside import ModelFiles, Probe
from encore_jax.recipes.stages.extract import Extracted, Readable
from encore_jax.recipes.stages.extract import readable as readable_of
from encore_jax.recipes.stages.heads import Fit, Heads, ridge_heads
from encore_jax.recipes.stages.ingest import RATED, Ingested
from encore_jax.recipes.stages.probe import load_probe, probe_sequences, probe_texts, save_probe
from encore_jax.recipes.stages.rate import Ratings
from encore_jax.recipes.stages.texts import Split, Texts, texts_of
from encore_jax.recipes.stages.tokenized import record_name, tokenized
from encore_jax.recipes.stages.usable import require_usable
from encore_jax.reward.passport import PASSPORT, Passport, read_passport
from encore_jax.reward.trained_passport import trained_passport
from encore_jax.rules import RulePool
from encore_jax.text.tokenizer import load_tokenizer

TOO_LONG = "rated_responses_dropped_too_long", "comparisons_dropped_too_long"


class TrainedHeads(NamedTuple):
    """Rule heads and their scores.

    Attributes:
      heads: by whose ratings they were trained on: "human" and, if there are any, simulated "judges".
      scores: ``[T, K]`` of every text by each, NaN where it cannot be read.
      rows: int ``[R]``, the rated responses trained on.
      probe: scores ``[2 Q, K]`` of the over-refusal probe's texts by the heads trained on human ratings.
      passport: of the model.
      counts: of texts and training.
    """

    heads: dict[str, Heads]
    scores: dict[str, np.ndarray]
    rows: np.ndarray
    probe: np.ndarray
    passport: Passport
    counts: dict[str, Any]

    def save(self, folder: Path) -> None:
        """Writes heads-NAME.npz, scores-NAME.npy, rows.npy, probe.npz, passport.json and counts.json."""
        for name, heads in self.heads.items():
            heads.save(folder / f"heads-{name}.npz")
            np.save(folder / f"scores-{name}.npy", self.scores[name])
        save_probe(folder, self.probe)
        np.save(folder / "rows.npy", self.rows)
        (folder / "counts.json").write_text(json.dumps(self.counts, indent=1))
        (folder / PASSPORT).write_text(json.dumps(self.passport.to_dict(), indent=1))

    @classmethod
    def load(cls, folder: Path) -> TrainedHeads:
        """What `save` wrote."""
        names = sorted(path.stem.removeprefix("heads-") for path in folder.glob("heads-*.npz"))
        heads = {name: Heads.load(folder / f"heads-{name}.npz") for name in names}
        scores = {name: np.load(folder / f"scores-{name}.npy") for name in names}
        counts = json.loads((folder / "counts.json").read_text())
        return cls(heads, scores, np.load(folder / "rows.npy"), load_probe(folder), read_passport(folder), counts)


def train(
    model: ModelFiles,
    settings: TrainConfig,
    mesh: MeshSettings,
    data: Ingested,
    ratings: Ratings,
    split: Split,
    features: Extracted | None,
    probe: Probe,
    folder: Path,
) -> TrainedHeads:
    """Trains heads on the "human" ratings and, if there are any, on the simulated "judges".

    Args:
      model: the backbone.
      settings: how.
      mesh: of devices, for training by gradient.
      data: records.
      ratings: of the rated responses.
      split: of the prompts.
      features: of the frozen backbone; None where training changes the backbone.
      probe: the over-refusal probe.
      folder: for checkpoints and metrics.
    """
    texts, longest = texts_of(data, split), max(model.model.buckets)
    tokenizer = load_tokenizer(model.path)
    passport = _passport(model, tokenizer, data.pool, data.revision[RATED])
    if features is not None:
        readable, counts = features.readable, features.counts
    else:
        sequences, counts = tokenized(
            tokenizer,
            texts.texts,
            model.model.pooling,
            lambda i: record_name(texts.texts[i], data.rated, data.comparisons),
        )
        readable = readable_of(sequences, longest)
    ridge = settings.method == "ridge"
    require_usable(texts, ratings.targets, data.pool.names, readable, split=split, longest=longest, folds=ridge)
    rows = np.flatnonzero((readable.fits & ~texts.test)[texts.rated])
    if features is not None:
        fit = functools.partial(_by_ridge, settings.alphas, features, texts, rows, data.pool.names)
    else:
        from encore_jax.recipes.stages.gradient import train_by_gradient
        from encore_jax.recipes.stages.gradient_heads import heads_by_gradient

        asked = probe_texts(), probe_sequences(tokenizer, model.model.pooling)
        held_out = np.flatnonzero((readable.fits & texts.test)[texts.rated])
        run = functools.partial(train_by_gradient, model, train=settings, mesh=mesh, seed=split.seed, folder=folder)
        fit = functools.partial(
            heads_by_gradient, model.model, settings, run, passport, texts, sequences, asked, rows, held_out, folder
        )
    fits = {name: fit(name, target, mask) for name, (target, mask) in ratings.targets.items()}
    for fitted in fits.values():
        counts = fitted.counts | counts
    counts |= _counts(texts, readable, rows)
    logging.info(
        "heads: %d rated responses to train on, %d are too long; %d comparisons are too long",
        *(counts[name] for name in ("rated_responses_for_training", *TOO_LONG)),
    )
    return TrainedHeads(
        heads={name: fitted.heads for name, fitted in fits.items()},
        scores={name: fitted.heads.scores(fitted.features) for name, fitted in fits.items()},
        rows=rows,
        probe=fits["human"].heads.plain_scores(fits["human"].probe),
        passport=passport,
        counts=counts,
    )


def _by_ridge(alphas, features: Extracted, texts: Texts, rows, rules, name, target, mask) -> Fit:
    """Heads in closed form, on features that are the same for all ratings."""
    heads, penalty = ridge_heads(alphas, features.texts, target[rows], mask[rows], texts.rated[rows], texts.fold)
    idle = np.flatnonzero(penalty >= max(alphas)) if name == "human" and len(alphas) > 1 else ()
    counts = {LARGEST_PENALTY: {rules[k]: int(mask[rows, k].sum()) for k in idle}} if len(idle) else {}
    return Fit(heads, features.texts, features.probe, counts)


def _passport(model: ModelFiles, tokenizer, pool: RulePool, data: str) -> Passport:
    return trained_passport(
        model.model.path,
        model.sha256,
        tokenizer,
        pool.names,
        pooling=model.model.pooling,
        dtype=model.model.dtype,
        max_length=max(model.model.buckets),
        pool_sha256=pool.digest,
        data_revision=data,
        graph=pool.oriented_graph,
    )


def _counts(texts: Texts, readable: Readable, rows: np.ndarray) -> dict[str, int]:
    """How many records the model could read, and what became of the others."""
    long, refused = ~readable.fits & ~readable.refused, readable.refused[texts.compared].any(1)
    counts = {
        TOO_LONG[0]: int(long[texts.rated].sum()),
        "rated_responses_for_training": len(rows),
        TOO_LONG[1]: int((~readable.fits[texts.compared].all(1) & ~refused).sum()),
    }
    if readable.refused.any():
        counts |= {
            "rated_responses_refused_by_template": int(readable.refused[texts.rated].sum()),
            "comparisons_refused_by_template": int(refused.sum()),
        }
    return counts
