"""Stage 3, train: rule heads on the backbone, and their scores of every text."""

from __future__ import annotations

import functools
import json
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from absl import logging

from encore_jax.data import locate
from encore_jax.data.left_out import Reason, require_some
from encore_jax.errors import InputError
from encore_jax.interop.huggingface import load_backbone
from encore_jax.interop.passport import PASSPORT, Passport, read_passport
from encore_jax.interop.sequences import fits, prompt_trees
from encore_jax.interop.tokenizer import load_tokenizer, template_digest
from encore_jax.parallel.mesh import activate, batch_shards, replicated
from encore_jax.progress import track
from encore_jax.recipes.config import ExperimentConfig
from encore_jax.recipes.manifest import file_sha256
from encore_jax.recipes.stages import ingest, rate
from encore_jax.recipes.stages.gradient import train_by_gradient
from encore_jax.recipes.stages.heads import Heads, ridge_heads, without_held_out
from encore_jax.recipes.stages.probe import probe_sequences, probe_texts, save_probe
from encore_jax.recipes.stages.sides import on_either_side
from encore_jax.recipes.stages.texts import Texts, collect_texts
from encore_jax.recipes.stages.tokenized import record_name, tokenized
from encore_jax.rules import RulePool
from encore_jax.train.batches import Targets
from encore_jax.train.features import extract_features
from encore_jax.train.fine_tune import Task

FEATURES = "features.npy"


def texts_of(config: ExperimentConfig, ingested: Path) -> Texts:
    """The run's texts and split."""
    _, rated, comparisons = ingest.load(ingested)
    return collect_texts(rated, comparisons, config.data.test_fraction, config.train.folds, config.seed)


def train(config: ExperimentConfig, weights_sha256: str, ingested: Path, rated: Path, folder: Path) -> None:
    """Trains heads on the "human" ratings and, if there are any, on the simulated "judges".

    Writes heads-NAME.npz and scores-NAME.npy (scores ``[T, K]`` of every text, NaN if it is too long), rows.npy (the
    rated responses trained on), probe.npz (scores of the over-refusal probe by the heads trained on human ratings),
    passport.json and counts.json; with method "ridge" also features.npy ``[T, D]``.
    """
    pool, ratings = RulePool.from_yaml(ingested / "pool.yaml"), rate.load(rated)
    texts = texts_of(config, ingested)
    path, dtype = locate(config.model.path, offline=True), jnp.dtype(config.model.dtype)
    tokenizer = load_tokenizer(path)
    _, records, comparisons = ingest.load(ingested)
    sequences, refusals = tokenized(
        tokenizer, texts.texts, config.model.pooling, lambda i: record_name(texts.texts[i], records, comparisons)
    )
    passport = Passport(
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
        data_revision=file_sha256(ingested / "rated.jsonl"),
    )
    short = np.array([fits(sequence, passport.max_length) for sequence in sequences])
    refused = np.array([sequence is None for sequence in sequences])
    rows = np.flatnonzero(short[texts.rated] & ~texts.test[texts.rated])
    trained_on = texts.rated[rows]
    held_out = np.flatnonzero(short[texts.rated] & texts.test[texts.rated])
    _require_comparisons(config, texts, short, refused)

    probe = probe_sequences(tokenizer, config.model.pooling)

    def features_of(cfg, params, cache: str, of=(texts.texts, sequences), label: str = "features", **layout):
        return extract_features(
            cfg,
            params,
            *of,
            dtype=dtype,
            buckets=config.model.buckets,
            tokens_per_batch=config.model.tokens_per_batch,
            cache=folder / "batches" / cache,
            track=functools.partial(track, label=label, size=lambda batch: batch.tokens.size),
            **layout,
        )

    @functools.cache
    def frozen() -> tuple[np.ndarray, dict, np.ndarray]:
        """Features of the texts, counts, and features of the probe, the same for all ratings."""
        # XLA's CPU products are quicker from fp32 weights, cast layer by layer; elsewhere they would only cost memory.
        cfg, params, _ = load_backbone(path, jnp.float32 if jax.default_backend() == "cpu" else dtype)
        features, counts = features_of(cfg, params, passport.feature_digest[:16])
        return features, counts, features_of(cfg, params, f"probe-{passport.feature_digest[:16]}", *asked)[0]

    def by_ridge(name: str, target, mask) -> tuple[Heads, np.ndarray, dict]:
        features, counts, of_probe = frozen()
        heads = ridge_heads(config, features, target[rows], mask[rows], trained_on, texts.fold)
        if name == "human":
            save_probe(folder, heads.plain_scores(of_probe))
        return heads, features, counts

    def by_gradient(name: str, target, mask) -> tuple[Heads, np.ndarray, dict]:
        def trees_of(chosen):
            numbers = texts.rated[chosen]
            return prompt_trees([texts.texts[i] for i in numbers], [sequences[i] for i in numbers], config.train.length)

        task = _regression(config, trees_of, target, mask, rows, held_out)
        trained = train_by_gradient(config, path, task, passport.to_dict() | {"ratings": name}, folder, name)
        program = trained.program
        with activate(program.mesh):
            cache = f"trained-{name}-{trained.summary['used_step']}"
            layout = dict(sharding=replicated(program.mesh), multiple=batch_shards(program.mesh))
            features, counts = features_of(program.cfg, trained.backbone, cache, **layout)
            heads = without_held_out(*trained.heads)
            if name == "human":
                of_probe, _ = features_of(program.cfg, trained.backbone, f"probe-{cache}", *asked, **layout)
                save_probe(folder, heads.plain_scores(of_probe))
        return heads, features, counts | {f"training_{name}": trained.summary}

    asked = (probe_texts(), probe), "over-refusal probe"
    counts: dict = {}
    for name, (target, mask) in _targets(ratings).items():
        _require_ratings(config, texts, short, refused, mask, pool.names if name == "human" else ())
        fit = by_ridge if config.train.method == "ridge" else by_gradient
        heads, features, more = fit(name, target, mask)
        counts |= more
        heads.save(folder / f"heads-{name}.npz")
        np.save(folder / f"scores-{name}.npy", heads.scores(features))
    if config.train.method == "ridge":
        np.save(folder / FEATURES, features)  # of the frozen backbone, the same for all ratings
    counts |= {
        "rated_responses_dropped_too_long": int((~short & ~refused)[texts.rated].sum()),
        "rated_responses_for_training": len(rows),
        "comparisons_dropped_too_long": int((~short[texts.compared].all(1) & ~refused[texts.compared].any(1)).sum()),
    }
    counts |= refusals
    if refused.any():
        counts |= {
            "dropped": counts["dropped"] - int(refused.sum()),
            "rated_responses_refused_by_template": int(refused[texts.rated].sum()),
            "comparisons_refused_by_template": int(refused[texts.compared].any(1).sum()),
        }
    logging.info("counts: %s", counts)
    np.save(folder / "rows.npy", rows)
    (folder / "counts.json").write_text(json.dumps(counts, indent=1))
    (folder / PASSPORT).write_text(json.dumps(passport.to_dict(), indent=1))


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


def _targets(ratings: rate.Ratings) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Ratings and mask ``[R, K]`` by whose they are."""
    targets = {"human": (ratings.human, ratings.rated)}
    if ratings.simulated.shape[1]:
        known = np.isfinite(ratings.simulated)
        targets["judges"] = (np.where(known, ratings.simulated, 0), known)
    return targets


def _reasons(config: ExperimentConfig, short: np.ndarray, refused: np.ndarray, texts: np.ndarray) -> list[Reason]:
    """Why the model cannot score rows of some texts ``[N, ...]``."""
    rows = texts.reshape(len(texts), -1)
    return [
        Reason("are refused by the chat template", refused[rows].any(1), "use a model whose template takes them"),
        Reason(
            f"are longer than the {max(config.model.buckets)} tokens of a row",
            ~short[rows].all(1),
            "raise --config.model.buckets (and --config.train.length with it)",
        ),
    ]


def _require_comparisons(config: ExperimentConfig, texts: Texts, short: np.ndarray, refused: np.ndarray) -> None:
    """Raises InputError unless there are comparisons on both sides of the split, saying why there are none."""
    at = texts.compared
    reasons = _reasons(config, short, refused, at)
    on_either_side(len(at), reasons, texts.test[at[:, 0]], texts.cluster[at[:, 0]], config.data.test_fraction)


def _require_ratings(
    config: ExperimentConfig, texts: Texts, short: np.ndarray, refused: np.ndarray, mask: np.ndarray, names
) -> None:
    """Raises InputError unless every rule has ratings to train on, on prompts of two folds, saying why it has none."""
    out, ridge = texts.test[texts.rated], config.train.method == "ridge"
    fold, common = texts.fold[texts.rated], _reasons(config, short, refused, texts.rated)
    for k in range(mask.shape[1]):
        where = f"rule {names[k]!r}" if names else f"judge {k}"
        unrated = Reason("are not rated on it", ~mask[:, k], "rate more responses on it, or use a pool without it")
        held_out = Reason("are on held-out prompts", out, "hold out fewer by --config.data.test_fraction")
        options = {"what": "rated responses", "purpose": "to train on", "where": where}
        left = require_some(len(out), [unrated, *common, held_out], **options)
        if ridge and len(np.unique(fold[left])) < 2:
            raise InputError(
                f"its {int(left.sum())} ratings to train on are in one of the {config.train.folds} cross-validation "
                "folds, which never split a prompt",
                where=where,
                fix="rate responses to more prompts, or use a pool without it",
            )


def load_passport(folder: Path) -> Passport:
    """The passport that `train` wrote."""
    return read_passport(folder)


def load_scores(folder: Path, name: str) -> np.ndarray:
    """Scores ``[T, K]`` of every text by the heads trained on the named ratings."""
    return np.load(folder / f"scores-{name}.npy")
