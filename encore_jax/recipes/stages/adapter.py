"""The Rule Adapter: from prompt, response A and response B to the probability that each rule is critical."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import jax
import numpy as np
from absl import logging

from encore_jax.composition import critical_rules, selected, top_rules
from encore_jax.data import locate, prompt_key
from encore_jax.data.distinct import on_distinct_rows
from encore_jax.data.left_out import Reason, require_some
from encore_jax.data.split import hash_unit
from encore_jax.errors import InputError
from encore_jax.evaluation.selection_metrics import recall_and_precision
from encore_jax.recipes.ramo_config import AdapterConfig, AdapterTrainConfig, SelectConfig
from encore_jax.recipes.stages import frozen, rule_ratings
from encore_jax.recipes.stages.gradient import train_by_gradient
from encore_jax.recipes.stages.predicted_rules import PREDICTIONS, SAID, comparison_digests, read_predictions
from encore_jax.recipes.stages.presented import Presented
from encore_jax.recipes.stages.rule_ratings import RuleRatings
from encore_jax.recipes.stages.tokenized import tokenized
from encore_jax.reward.sequences import fits, prompt_trees
from encore_jax.rules import RulePool
from encore_jax.text.tokenizer import load_tokenizer, template_digest
from encore_jax.train.batches import Targets
from encore_jax.train.binary_heads import BinaryHeads, fit_binary_heads
from encore_jax.train.fine_tune import Task
from encore_jax.train.linear import best_penalty


class Predictions(NamedTuple):
    """What an adapter says of N comparisons.

    Attributes:
      probability: fp32 ``[2, N, K]``, A shown first, and B shown first; NaN where the text is too long.
      trained: bool ``[N]``, which comparisons it was trained (or validated) on.
      critical: bool ``[N, K]``, the truth where there are ratings.
      train_share: fp32 ``[K]``, how often each rule was critical in training.
    """

    probability: np.ndarray
    trained: np.ndarray
    critical: np.ndarray
    train_share: np.ndarray

    @property
    def known(self) -> np.ndarray:
        """bool ``[N]``: the adapter could read the comparison."""
        return np.isfinite(self.probability).all((0, 2))


def truth(ratings: RuleRatings, select: SelectConfig) -> np.ndarray:
    """Which rules are critical, by the ratings: bool ``[N, K]``."""
    rules = critical_rules(ratings.ratings, ratings.given_relevance, select.r, where=ratings.rated, half=select.half)
    return np.asarray(selected(rules, ratings.ratings.shape[2]))


def train_adapter(
    config: AdapterConfig, shown: Presented, sha256: str, ingested: Path, features: Path, rated: Path, folder: Path
) -> None:
    """Writes predictions.npz, adapter.json (passport, choices, counts) and, of method "heads", adapter-heads.npz."""
    pool, ratings = RulePool.from_yaml(ingested / "pool.yaml"), rule_ratings.load(rated)
    critical = truth(ratings, config.select)
    usable = (shown.part == "adapter") & ratings.usable.any(1)
    _require_a_choice(critical, usable, config.select.r)
    keys = np.array([prompt_key(c.prompt) for c in shown.comparisons])
    validating = np.array([hash_unit(key, config.seed + 4) < config.train.validation for key in keys])
    passport = {
        "model_sha256": sha256,
        "pooling": config.model.pooling,
        "dtype": config.model.dtype,
        "rules": list(pool.names),
        "pool_sha256": pool.digest,
        "select": dataclasses.asdict(config.select),
    }
    fit = _by_heads if config.train.method == "heads" else _by_gradient
    logits, said = fit(config, shown, critical, usable, validating, passport, features, folder)
    known = np.isfinite(logits).all((0, 2))
    trained = usable & known
    made = Predictions(_probability(logits), trained, critical, critical[trained].mean(0))
    np.savez(folder / PREDICTIONS, digests=comparison_digests(shown), **made._asdict())
    counts = {
        "comparisons_dropped_too_long": int((~known).sum()),
        "comparisons_for_training": int((trained & ~validating).sum()),
        "comparisons_for_validation": int((trained & validating).sum()),
    }
    logging.info("adapter: %s; %s", said, counts)
    (folder / SAID).write_text(json.dumps({"passport": passport, "counts": counts} | said, indent=1))


def load(folder: Path) -> Predictions:
    """What `train_adapter` or `adopt_adapter` wrote."""
    with np.load(folder / PREDICTIONS) as stored:
        return Predictions(**{name: stored[name] for name in Predictions._fields})


def adopt_adapter(source: Path, shown: Presented, pool: RulePool, folder: Path) -> None:
    """Takes over the predictions of a finished adapter run, for exactly these comparisons.

    Raises:
      InputError: there are none, they are of another rule pool, or a comparison is missing.
    """
    said, stored = read_predictions(source, pool)
    number = {digest: i for i, digest in enumerate(stored.pop("digests").tolist())}
    wanted = comparison_digests(shown)
    for n in np.flatnonzero([digest not in number for digest in wanted.tolist()]):
        raise InputError(
            "the adapter run did not predict for it", where=f"comparison {shown.comparisons[n].id or n}",
            fix="run the adapter with these comparisons among its own, and the same seed",
        )  # fmt: skip
    rows = np.array([number[digest] for digest in wanted.tolist()])
    share = stored.pop("train_share")
    made = {"probability": stored["probability"][:, rows]} | {n: stored[n][rows] for n in ("trained", "critical")}
    np.savez(folder / PREDICTIONS, digests=wanted, train_share=share, **made)
    (folder / SAID).write_text(json.dumps(said | {"adopted_from": str(source)}, indent=1))


def recall_of(logits: np.ndarray, critical: np.ndarray, r: int) -> float:
    """Mean recall@r of logits ``[2, N, K]``, averaged over both orders."""
    recall, _ = recall_and_precision(np.asarray(top_rules(_probability(logits).mean(0), r)), critical)
    return float(np.nanmean(recall))


def _probability(logits: np.ndarray) -> np.ndarray:
    return np.asarray(jax.nn.sigmoid(np.asarray(logits, np.float32)))


def _orders(config: AdapterTrainConfig, seed: int, count: int) -> np.ndarray:
    """bool ``[2, N]``: the orders in which each comparison is trained on."""
    if config.orders == "both":
        return np.ones((2, count), bool)
    drawn = np.random.default_rng(seed).integers(0, 2, count)
    return np.stack([drawn == 0, drawn == 1])


def _by_heads(config, shown, critical, usable, validating, passport, features: Path, folder: Path):
    pair_2xNxD = frozen.load(features).pair.transpose(1, 0, 2)
    fits_rows = np.isfinite(pair_2xNxD).all((0, 2))
    _require_both(config, shown, usable, fits_rows, validating, f"{max(config.model.buckets)} (model.buckets)")
    usable = usable & fits_rows
    orders = _orders(config.train, config.seed, len(usable))
    settings, r = config.train, config.select.r

    def fit(rows: np.ndarray, l2: float):
        order, number = np.nonzero(orders & rows[None])
        return fit_binary_heads(pair_2xNxD[order, number], critical[number], l2, settings.positive_weight)

    def recall(l2: float) -> float:
        heads = fit(usable & ~validating, l2)
        found = recall_of(_logits(pair_2xNxD[:, usable & validating], heads), critical[usable & validating], r)
        logging.info("adapter, penalty %g: recall@%d %.3f on validation prompts", l2, r, found)
        return found

    search = best_penalty(settings.penalties, recall)
    heads = fit(usable, search.best)
    np.savez(folder / "adapter-heads.npz", kernel=heads.kernel, bias=heads.bias)
    said = {"method": "heads", "penalty": search.best, "validation_recall": search.told}
    return _logits(pair_2xNxD, heads), said


def _require_both(config: AdapterConfig, shown: Presented, usable, fit, validating, length: str) -> None:
    """Raises InputError unless comparisons are left to train on and to validate on, saying why there are none."""
    part = shown.part == "adapter"
    reasons = [
        Reason("are held out, or the reward models'", ~part, "give more prompts, or another --config.seed"),
        Reason("have no rule that is rated for both responses", part & ~usable, "have a judge rate both responses"),
        Reason(
            f"are longer than the tokens of a row, {length}, or refused by the chat template", ~fit,
            "take longer rows: an adapter reads prompt and both responses as one text",
        ),
    ]  # fmt: skip
    fix = "give more prompts, or change the share of prompts for validation"
    for purpose, side in (("to train the adapter on", validating), ("to validate the adapter on", ~validating)):
        taken = Reason("are on the other side of the split into training and validation", side, fix)
        require_some(len(part), [*reasons, taken], what="comparisons", purpose=purpose, where="adapter")


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


def _logits(features_2xNxD: np.ndarray, heads: BinaryHeads) -> np.ndarray:
    """``[2, N, K]``; where A and B are the same text, both orders are the same text too, and have equal logits."""
    flat = features_2xNxD.reshape(-1, features_2xNxD.shape[-1])
    logits = on_distinct_rows(lambda rows: rows @ heads.kernel + heads.bias, flat)
    return logits.reshape(*features_2xNxD.shape[:2], -1)


def _by_gradient(config, shown, critical, usable, validating, passport, features: Path, folder: Path):
    path = locate(config.model.path, offline=True)
    tokenizer = load_tokenizer(path)
    texts = shown.pair_texts
    names = [f"comparison {c.id or n}" for n, c in enumerate(shown.comparisons)]
    sequences, refusals = tokenized(tokenizer, texts, config.model.pooling, lambda i: names[i // 2])
    short = np.array([fits(sequence, config.train.length) for sequence in sequences]).reshape(-1, 2).all(1)
    _require_both(config, shown, usable, short, validating, f"{config.train.length} (train.length)")
    orders = _orders(config.train, config.seed, len(usable)).T.reshape(-1)  # by text: comparison n is 2 n and 2 n + 1
    answers = np.repeat(critical, 2, 0).astype(np.float32)

    def laid(of_texts: np.ndarray):
        """Trees of some texts, and their targets; keys are positions in `of_texts`."""
        shown_as = [f"{names[t // 2]}, order {'AB'[t % 2]} first" for t in of_texts]
        trees = prompt_trees([texts[t] for t in of_texts], [sequences[t] for t in of_texts], config.train.length)
        return trees, Targets(answers[of_texts], np.ones(answers[of_texts].shape, bool), names=shown_as)

    both = np.repeat(short & usable, 2)
    training = np.flatnonzero(both & np.repeat(~validating, 2) & orders)
    watched = np.flatnonzero(np.repeat(short & usable & validating, 2))[: 2 * config.train.watch]
    trees, targets = laid(training)
    watched_trees, watched_targets = laid(watched)

    def measure(scores: Mapping[int, np.ndarray]) -> dict[str, float]:
        logits = np.stack([scores[i] for i in range(len(watched))]).reshape(-1, 2, critical.shape[1])
        return {"recall": recall_of(logits.transpose(1, 0, 2), critical[watched[::2] // 2], config.select.r)}

    k = critical.shape[1]
    frequency = np.clip(answers[training].mean(0), 1e-3, 1 - 1e-3)
    task = Task(trees, targets, watched_trees, watched_targets, np.full(k, 1 / k, np.float32),
                np.log(frequency / (1 - frequency)), measure)  # fmt: skip
    data = hashlib.sha256("".join(comparison_digests(shown).tolist()).encode() + critical.tobytes()).hexdigest()
    digest = {"template_sha256": template_digest(tokenizer), "data": data}
    trained = train_by_gradient(config, path, task, passport | digest, folder, "adapter")
    every = np.flatnonzero(np.repeat(short, 2))
    every_trees, every_targets = laid(every)
    scores = trained.scores(every_trees, every_targets, "predicting")
    logits = np.full((len(texts), k), np.nan, np.float32)
    logits[every] = np.stack([scores[i] for i in range(len(every))])
    said = {"method": "gradient", "training": trained.summary} | refusals
    return logits.reshape(-1, 2, k).transpose(1, 0, 2), said
