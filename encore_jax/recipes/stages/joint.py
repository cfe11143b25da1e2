"""Training of every arm of joint training: one model per arm and domain, all from the same initial values."""

from __future__ import annotations

import dataclasses
import functools
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from absl import logging

from encore_jax.data.left_out import Reason, require_some
from encore_jax.formats import counts_in_words
from encore_jax.model.heads import joint_head_names
from encore_jax.parallel.mesh import MeshSettings
from encore_jax.recipes.joint_config import LOSS_OF, JointTrainConfig
from encore_jax.recipes.outside import ModelFiles
from encore_jax.recipes.stages.gradient import train_by_gradient
from encore_jax.recipes.stages.ingest import COMPARISONS, RATED, Ingested
from encore_jax.recipes.stages.joint_texts import (
    ALL,
    JointTexts,
    joint_targets,
    joint_texts,
    joint_trees,
    rows_of,
)
from encore_jax.recipes.stages.tokenized import tokenized
from encore_jax.reward.passport import PASSPORT
from encore_jax.reward.trained_passport import trained_passport
from encore_jax.text.tokenizer import load_tokenizer
from encore_jax.train.batches import Targets
from encore_jax.train.fine_tune import Task, Trained
from encore_jax.train.metrics import read_metrics


class JointModels(NamedTuple):
    """The models of every arm and domain.

    Attributes:
      cells: the arm, the domain trained on, and the name of each model.
      comparison: int ``[N]``, numbers of the held-out comparisons that fit a row, of every domain.
      scores: fp32 ``[N, 2, H]`` by model, the preferred response first, the preference head last.
      ratings, rated: ``[N, 2, K]``, what is known of them.
      trained_ratings, trained_rated: ``[R, K]`` by domain trained on, for entropies.
      heads: kernel ``[D, H]`` and bias ``[H]`` by model.
      passport: of all of them but for what each was trained on.
      counts: of texts and trainings.
      metrics: lines of metrics.jsonl by model.
    """

    cells: list[dict[str, str]]
    comparison: np.ndarray
    scores: dict[str, np.ndarray]
    ratings: np.ndarray
    rated: np.ndarray
    trained_ratings: dict[str, np.ndarray]
    trained_rated: dict[str, np.ndarray]
    heads: dict[str, tuple[np.ndarray, np.ndarray]]
    passport: dict[str, Any]
    counts: dict[str, Any]
    metrics: dict[str, list[dict[str, Any]]] = {}

    def save(self, folder: Path) -> None:
        """Writes held_out.npz, trained.npz, MODEL/heads.npz, passport.json and counts.json."""
        scores = {f"scores {name}": value for name, value in self.scores.items()}
        known = {"comparison": self.comparison, "ratings": self.ratings, "rated": self.rated}
        np.savez(folder / "held_out.npz", **known, **scores)
        domains = list(self.trained_ratings)
        rows = {f"ratings {i}": self.trained_ratings[name] for i, name in enumerate(domains)}
        np.savez(folder / "trained.npz", **rows, **{f"rated {i}": self.trained_rated[d] for i, d in enumerate(domains)})
        for name, (kernel, bias) in self.heads.items():
            (folder / name).mkdir(exist_ok=True)
            np.savez(folder / name / "heads.npz", kernel=kernel, bias=bias)
        (folder / PASSPORT).write_text(json.dumps(self.passport, indent=1))
        told = {"cells": self.cells, "domains": domains, "counts": self.counts}
        (folder / "counts.json").write_text(json.dumps(told, indent=1))

    @classmethod
    def load(cls, folder: Path) -> JointModels:
        """What `save` wrote, and the metrics of the trainings."""
        told = json.loads((folder / "counts.json").read_text())
        names = [cell["name"] for cell in told["cells"]]
        with np.load(folder / "held_out.npz") as stored:
            held = dict(stored)
        with np.load(folder / "trained.npz") as stored:
            kept = dict(stored)
        heads = {}
        for name in names:
            with np.load(folder / name / "heads.npz") as stored:
                heads[name] = stored["kernel"], stored["bias"]
        return cls(
            told["cells"], held["comparison"], {name: held[f"scores {name}"] for name in names}, held["ratings"],
            held["rated"], {d: kept[f"ratings {i}"] for i, d in enumerate(told["domains"])},
            {d: kept[f"rated {i}"] for i, d in enumerate(told["domains"])}, heads,
            json.loads((folder / PASSPORT).read_text()), told["counts"],
            {name: read_metrics(folder / name / "metrics.jsonl") for name in names},
        )  # fmt: skip


def train_joint(
    model: ModelFiles,
    train: JointTrainConfig,
    mesh: MeshSettings,
    data: Ingested,
    domain: str,
    test_fraction: float,
    seed: int,
    folder: Path,
) -> JointModels:
    """Trains every arm on every domain asked for, and scores the held-out comparisons of all domains.

    Args:
      model: the backbone.
      train: how.
      mesh: of devices.
      data: comparisons, and rated responses, of which some may be theirs.
      domain: the field that says which distribution a record is of.
      test_fraction: share of the prompts that is held out.
      seed: of the split, of fresh heads and of the order of texts.
      folder: for checkpoints and metrics.

    Raises:
      InputError: nothing to train on or to judge by, a rule that no training text is rated on, a domain that is not
        there, or a rule with the preference head's name.
    """
    names, tokenizer = joint_head_names(data.pool.names), load_tokenizer(model.path)
    texts = joint_texts(data, domain, test_fraction, seed)
    sequences, counts = tokenized(tokenizer, texts.texts, model.model.pooling, lambda i: texts.names[i])
    trees = joint_trees(texts, sequences, train.length)
    targets = joint_targets(texts, trees.laid.same)
    kept = np.isin(np.arange(texts.comparisons), trees.laid.kept)
    held_out = trees.chosen(texts, texts.test & (np.arange(len(texts.texts)) < 2 * texts.comparisons))
    tested = np.flatnonzero(kept & texts.test[: 2 * texts.comparisons : 2])
    passport = _passport(model, tokenizer, names, train.length, data)
    preference = np.eye(len(names), dtype=np.float32)[-1]
    counts |= {"comparisons_dropped_too_long": int((~kept).sum()), "comparisons_held_out": len(tested)}
    cells, scores, heads, known, trained_on = [], {}, {}, {}, {}
    for number, name in enumerate(train.train_on or (ALL,)):
        rows = rows_of(texts, name)
        _require_texts(texts, rows, kept, name, train.length)
        training = trees.chosen(texts, rows & ~texts.test)
        keys = np.array([key for tree in training for key in tree.keys], np.int64)
        _require_ratings(texts, rows, keys, name, names[:-1], train.length)
        known[name], trained_on[name] = _rated_of(texts, keys)
        ratings, rated = texts.ratings[known[name]], texts.rated[known[name]]
        bias = (ratings * rated).sum(0) / np.maximum(rated.sum(0), 1)  # 0 of the preference head
        watched = trees.chosen(texts, rows & texts.test)[: train.watch]
        task = Task(training, targets, watched, targets, preference, bias.astype(np.float32))
        for arm in train.arms:
            cell = f"{arm}.{number}"
            settings = dataclasses.replace(train, loss=LOSS_OF[arm])
            told = passport | {"trained_on": name, "domain": domain}
            run = functools.partial(train_by_gradient, model, task, settings, mesh, seed, told, folder, cell)
            heads[cell], found, trained_on[name][arm] = _train_and_score(run, held_out, targets)
            scores[cell] = np.array([[found[2 * n], found[2 * n + 1]] for n in tested.tolist()], np.float32)
            cells.append({"arm": arm, "trained_on": name, "name": cell})
    counts["training"] = trained_on
    logging.info("%s", counts_in_words(counts))
    both = np.stack([2 * tested, 2 * tested + 1], 1)
    return JointModels(
        cells, tested, scores, texts.ratings[both][..., :-1], texts.rated[both][..., :-1],
        {name: texts.ratings[mask][:, :-1] for name, mask in known.items()},
        {name: texts.rated[mask][:, :-1] for name, mask in known.items()}, heads, passport, counts,
    )  # fmt: skip


def _train_and_score(run: Callable[[], Trained], held_out: list, targets: Targets):
    """Heads, scores by text, and the summary: all that is kept, so that no two models are in memory at once."""
    trained = run()
    return trained.heads, trained.scores(held_out, targets), trained.summary


def _require_texts(texts: JointTexts, rows: np.ndarray, kept: np.ndarray, name: str, length: int) -> None:
    """Raises InputError unless the domain has comparisons to train on and held-out ones to judge by, saying why not."""
    own, test = rows[: 2 * texts.comparisons : 2], texts.test[: 2 * texts.comparisons : 2]
    reasons = [
        Reason("are of other domains", ~own, "choose another config.train.train_on"),
        Reason(f"are longer than the {length} tokens of a row", ~kept, "raise --config.train.length"),
    ]
    for purpose, side in (("to train on", test), ("to judge by, held out", ~test)):
        more = [*reasons, Reason("are on the other side of the split", side, "change --config.data.test_fraction")]
        require_some(texts.comparisons, more, what="comparisons", purpose=purpose, where=f"domain {name}")


def _require_ratings(
    texts: JointTexts, rows: np.ndarray, keys: np.ndarray, name: str, rules: tuple[str, ...], length: int
) -> None:
    """Raises InputError where a rule has no rating among a domain's training texts `keys`, saying why not."""
    known = np.flatnonzero(texts.rated.any(1))
    others = [
        Reason("are of other domains", ~rows[known], "choose another config.train.train_on"),
        Reason("are on held-out prompts", texts.test[known], "hold out fewer by --config.data.test_fraction"),
        Reason(f"are longer than the {length} tokens of a row, or compared with a response that is",
               ~np.isin(known, keys), "raise --config.train.length"),
    ]  # fmt: skip
    for k, rule in enumerate(rules):
        unrated = Reason("are not rated on it", ~texts.rated[known, k], "rate more, or leave the rule out of the pool")
        where = f"rule {rule!r}, domain {name}"
        require_some(len(known), [unrated, *others], what="rated responses", purpose="to train on", where=where)


def _rated_of(texts: JointTexts, keys: np.ndarray) -> tuple[np.ndarray, dict[str, Any]]:
    """Numbers of the training texts `keys` with ratings, and how many texts have ratings, preferences or both."""
    pairs = keys[keys < 2 * texts.comparisons].reshape(-1, 2)
    both = texts.rated[pairs].any(2).all(1)
    counts = {
        "comparisons_with_ratings": int(both.sum()),
        "comparisons_without_ratings": int((~both).sum()),
        "rated_responses_without_preference": int((keys >= 2 * texts.comparisons).sum()),
    }
    return keys[texts.rated[keys].any(1)], counts


def _passport(model: ModelFiles, tokenizer, names: tuple[str, ...], length: int, data: Ingested) -> dict[str, Any]:
    return trained_passport(
        model.model.path,
        model.sha256,
        tokenizer,
        names,
        pooling=model.model.pooling,
        dtype=model.model.dtype,
        max_length=length,
        pool_sha256=data.pool.digest,
        data_revision=f"{data.revision[COMPARISONS]} {data.revision[RATED]}",
        weights=(0.0,) * (len(names) - 1) + (1.0,),
    ).to_dict()
