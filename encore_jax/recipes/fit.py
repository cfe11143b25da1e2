"""A reward model from rated responses in one call: rule heads on a frozen or a trained backbone, composed.

What a run of `encore fit` does in stages with files, without the held-out half: here everything that is rated is
trained on, and what is held out is up to the caller.

Letters: R rated responses, D features, K rules, N comparisons.
"""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import json
import tempfile
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from absl import logging
from jax.sharding import Mesh
from jaxtyping import Bool

from encore_jax.checkpoints.huggingface import load_backbone, load_config
from encore_jax.composition.conformal import COVERAGE, fewest_prompts
from encore_jax.composition.settings import COMPOSED_BY, CompositionSettings
from encore_jax.data import Comparison, RatedResponse, locate, prompt_key
from encore_jax.data.left_out import Reason, require_some
from encore_jax.data.split import folds as folds_of
from encore_jax.data.split import group_ids
from encore_jax.errors import InputError
from encore_jax.evaluation.own_grid import own_grid
from encore_jax.parallel.mesh import MeshSettings, make_mesh
from encore_jax.parallel.placement import backbone_shardings
from encore_jax.progress import track
from encore_jax.recipes.config import SMOLLM2
from encore_jax.recipes.fit_by_gradient import Rows, Tuned, check_settings, tune
from encore_jax.recipes.fit_weights import HeadsAgreement, composed_weights
from encore_jax.recipes.stages.tokenized import tokenized
from encore_jax.reward.calibrate import calibration_of_rows
from encore_jax.reward.calibration import OUT_OF_FOLD, Calibration
from encore_jax.reward.passport import DTYPES, Passport, model_digest
from encore_jax.reward.rated_rows import RatedRows, rated_rows
from encore_jax.reward.reward_model import RewardModel
from encore_jax.reward.sequences import fits
from encore_jax.reward.trained_passport import trained_passport
from encore_jax.rules import RulePool
from encore_jax.text.tokenizer import load_tokenizer
from encore_jax.train.features import extract_features
from encore_jax.train.ridge import ALPHAS, fit_ridge
from encore_jax.train.settings import TrainSettings

METHODS = ("ridge", "gradient")


def fit(
    rated: Iterable[Comparison | RatedResponse],
    *,
    backbone: str | Path = SMOLLM2,
    pool: RulePool | None = None,
    compose: CompositionSettings | None = None,
    method: str = "ridge",
    train: TrainSettings | None = None,
    held_out: Iterable[Comparison | RatedResponse] | None = None,
    checkpoints: str | Path | None = None,
    mesh: MeshSettings | None = None,
    dtype: str = "float32",
    buckets: Sequence[int] = (256, 512),
    tokens_per_batch: int = 4096,
    folds: int = 5,
    coverage: float = COVERAGE,
    alphas: Sequence[float] = ALPHAS,
    seed: int = 0,
    cache: str | Path | None = None,
    offline: bool = False,
) -> RewardModel:
    """Trains one head per rule, on a frozen backbone or together with it, and composes them.

    Args:
      rated: comparisons whose responses are rated, or rated responses, or both; all on the same K rules.
      backbone: a Hugging Face folder, a .gguf file, an hf:// or wheel:// uri; SmolLM2-135M if left out.
      pool: what the rules say; only its digest is kept, in the passport. That of `rated` if it has one.
      compose: how weights follow from the ratings: ENCORE's entropy weights with τ = 2 on the ratings' own scale if
        left out; what is given names the scale (`scale=(1, 5), levels=5`). Method "agreement" looks at the heads'
        scores of the rated responses: with "ridge" each by heads that saw no response to the same prompt, with
        "gradient" by the trained heads themselves.
      method: "ridge", heads in closed form on the features of the frozen backbone; or "gradient", by AdamW, where
        `train` says whether the backbone changes as well.
      train: of "gradient": `TrainSettings(trainable="lora", lr=1e-4, epochs=2)`; heads alone if left out.
      held_out: of "gradient": rated records whose loss is told while training; not trained on. The model's intervals
        (`RewardModel.rewards(..., intervals=True)`) are calibrated on them; without them it has none.
      checkpoints: of "gradient": a folder; a call that was ended goes on from there. Nothing is kept if left out.
      mesh: how all devices share model and work; the first device alone if left out.
      dtype: of weights and computation; heads are float32.
      buckets: row lengths in tokens; a longer text is left out, and counted.
      tokens_per_batch: of "ridge": tokens that go through the backbone at once.
      folds: of "ridge": of the cross-validation that chooses each head's penalty; a prompt is never split. Its
        out-of-fold scores calibrate the model's intervals.
      coverage: share of ratings that intervals are to hold.
      alphas: of "ridge": the penalties to choose from.
      seed: of the folds; of fresh heads and the order of the data.
      cache: of "ridge": folder for features; a call that was ended goes on from there. A temporary one if left out.
      offline: fetch nothing.

    Returns:
      The model: `model.rewards(prompts, responses)`, `model.save(folder)`, `model.export(folder)`.

    Raises:
      InputError: nothing is rated, records of different rules, ratings off their scale, a rule rated on prompts of
        fewer than two folds, no text that the backbone takes, settings that cannot be, or weights that the ratings do
        not justify.

    >>> import encore_jax as enc
    >>> prompt = (enc.Message("user", "Hi"),)
    >>> rated = [enc.Comparison(prompt, ("Hello", "Go away"), 0, ("kind",), [[1.0], [0.0]])]
    >>> enc.fit(rated, backbone="no/such/model")  # doctest: +ELLIPSIS
    Traceback (most recent call last):
        ...
    encore_jax.errors.InputError: no/such/model: no such file or folder. Fix: ...
    """
    own_scale, compose = compose is None, compose or CompositionSettings()
    train = TrainSettings() if train is None and method == "gradient" else train
    _check(compose, dtype, buckets, tokens_per_batch, folds, method)
    fewest_prompts(coverage)
    _check_gradient(method, train, held_out, checkpoints)
    pool = getattr(rated, "pool", None) if pool is None else pool
    rows = rated_rows(rated)
    if pool is not None and pool.names != rows.rules:
        problem = f"its rules are {', '.join(pool.names[:5])}, and the ratings' {', '.join(rows.rules[:5])}"
        raise InputError(problem, where="pool", fix="read the ratings with this pool")
    if own_scale and rows.mask.any() and not _on_unit_scale(rows):
        compose = own_grid(rows.ratings, rows.mask)
        logging.info("ratings from %g to %g, as they are", *compose.scale)
    graph = None if pool is None else pool.oriented_graph
    if graph is not None:
        graph.check_scale(compose.scale)
    entropy = compose.entropy(rows.ratings, rows.mask, rows.rules)  # a scale that does not fit is told before long work
    path = locate(backbone, offline=offline)
    tokenizer = load_tokenizer(path)
    longest = max(buckets) if train is None else min(max(buckets), train.length)
    data = _usable(tokenizer, rows, longest)
    passport = trained_passport(
        backbone, model_digest(path), tokenizer, rows.rules, pooling="last", dtype=dtype, max_length=max(buckets),
        pool_sha256=hashlib.sha256(json.dumps(rows.rules).encode()).hexdigest() if pool is None else pool.digest,
        data_revision=rows.digest, graph=graph,
    )  # fmt: skip
    keys = [prompt_key(prompt) for prompt, _ in rows.texts]
    if method == "gradient":
        watched_rows = None if held_out is None else _of_rules(held_out, rows.rules)
        watched = None if held_out is None else _usable(tokenizer, watched_rows, longest)
        options = {"mesh": mesh, "dtype": dtype, "seed": seed, "checkpoints": checkpoints, "passport": passport}
        fitted = tune(path, data, watched, train, **options)
    else:
        fold = folds_of(keys, folds, seed)
        _require_folds(rows, data.usable, fold)
        work = Features(tuple(sorted(set(buckets))), tokens_per_batch, dtype, cache, mesh and make_mesh(mesh))
        fitted = _ridge(path, data, fold, tuple(alphas), work, passport)
    if fitted.digest:
        passport = dataclasses.replace(passport, model=f"{passport.model}, fine-tuned", model_sha256=fitted.digest)
    by_agreement = "agreement" in compose.method
    heads = HeadsAgreement(rows, fitted.scores, group_ids(keys), compose.anchor, by_agreement)
    weights, agreement = composed_weights(compose, entropy, heads), heads.facts()
    if by_agreement and agreement.get("agreement_warning"):
        logging.warning("agreement weights may mislead: %s", agreement["agreement_warning"])
    passport = dataclasses.replace(
        passport,
        entropy=tuple(entropy.tolist()),
        weights=tuple(np.asarray(weights, np.float32).tolist()),
        weighting=COMPOSED_BY[compose.method],
        **agreement,
    )
    model = RewardModel(
        fitted.cfg,
        fitted.params,
        tokenizer,
        fitted.kernel,
        fitted.bias,
        passport,
        tuple(sorted(set(buckets))),
        origin="" if fitted.digest else str(backbone),
        own_backbone=bool(fitted.digest),
        mesh=make_mesh(mesh) if mesh is not None and method == "ridge" else None,
        calibration=_out_of_fold(rows, fitted.scores, keys, coverage) if method == "ridge" else None,
    )
    if held_out is None:
        return model
    return dataclasses.replace(model, calibration=calibration_of_rows(model, watched_rows, coverage))


def _out_of_fold(rows: RatedRows, scores: np.ndarray, keys: Sequence[str], coverage: float) -> Calibration | None:
    """The training ratings beside scores by heads that saw no rating of the same prompt."""
    known = np.isfinite(scores).all(1) & rows.mask.any(1)
    ratings = np.where(rows.mask, rows.ratings, np.nan)
    return Calibration(scores[known], ratings[known], group_ids(keys)[known], OUT_OF_FOLD, coverage)


class Features(NamedTuple):
    """How features are computed.

    Attributes:
      buckets, tokens_per_batch, dtype: see `fit`.
      cache: folder that they are kept in, or None.
      mesh: of devices that share the backbone, or None.
    """

    buckets: tuple[int, ...]
    tokens_per_batch: int
    dtype: str
    cache: str | Path | None
    mesh: Mesh | None


def _ridge(path: Path, data: Rows, fold: np.ndarray, alphas: tuple, work: Features, passport: Passport) -> Tuned:
    """Heads in closed form on the features of the frozen backbone; scores are by heads that saw no such prompt."""
    rows, usable = data.rows, data.usable
    shardings = None if work.mesh is None else backbone_shardings(load_config(path), work.mesh)
    cfg, params, _ = load_backbone(path, jnp.dtype(work.dtype), shardings, lm_head=False)
    with tempfile.TemporaryDirectory(prefix="encore_jax-") as temporary:
        features, _ = extract_features(
            cfg,
            params,
            rows.texts,
            data.sequences,
            dtype=jnp.dtype(work.dtype),
            buckets=work.buckets,
            tokens_per_batch=work.tokens_per_batch,
            cache=Path(temporary if work.cache is None else work.cache) / passport.feature_digest[:16],
            track=functools.partial(track, label="features", size=lambda batch: batch.tokens.size),
            mesh=work.mesh,
        )
    fitted = fit_ridge(features[usable], rows.ratings[usable], rows.mask[usable], fold[usable], alphas)
    logging.info("%d heads on %d rated responses, penalties %s", len(rows.rules), usable.sum(), fitted.alpha.tolist())
    scores = np.full(rows.ratings.shape, np.nan, np.float32)
    scores[usable] = fitted.held_out_scores
    return Tuned(cfg, params, fitted.kernel, fitted.bias, scores, "")


def _usable(tokenizer, rows: RatedRows, longest: int) -> Rows:
    """The rows with their token ids; which of them are left out is told in a line."""
    sequences, _ = tokenized(tokenizer, rows.texts, "last", lambda i: rows.names[i])
    usable = _that_fit(rows, sequences, longest)
    for k, name in enumerate(rows.rules):
        if not (usable & rows.mask[:, k]).any():
            problem = "no response that the backbone takes is rated on it"
            raise InputError(problem, where=f"rule {name!r}", fix="rate more responses, or drop the rule")
    return Rows(rows, sequences, usable)


def _of_rules(records: Iterable[Comparison | RatedResponse], rules: tuple[str, ...]) -> RatedRows:
    rows = rated_rows(records)
    if rows.rules != rules:
        problem = f"is rated on {', '.join(rows.rules[:5])}, and training data on {', '.join(rules[:5])}"
        raise InputError(problem, where="held_out", fix="read all with one rule pool")
    return rows


def _on_unit_scale(rows: RatedRows) -> bool:
    values = rows.ratings[rows.mask]
    return bool(values.min() >= 0 and values.max() <= 1)


def _that_fit(rows: RatedRows, sequences: Sequence[np.ndarray | None], longest: int) -> Bool[np.ndarray, " R"]:
    """Which responses the backbone takes; those it does not are told in a line."""
    refused = np.array([sequence is None for sequence in sequences])
    long = np.array([not fits(sequence, longest) for sequence in sequences]) & ~refused
    reasons = [
        Reason("are refused by the chat template", refused, "use a model whose template takes them"),
        Reason(f"are longer than the {longest} tokens of a row", long, "give longer buckets=(512, 1024)"),
    ]
    left = require_some(len(rows.texts), reasons, what="rated responses", purpose="to train on", where="rated")
    if not left.all():
        told = ", ".join(f"{int(reason.rows.sum())} {reason.text}" for reason in reasons if reason.rows.any())
        logging.warning("%d of %d rated responses are left out: %s", (~left).sum(), len(left), told)
    return left


def _require_folds(rows: RatedRows, left: np.ndarray, fold: np.ndarray) -> None:
    for k, name in enumerate(rows.rules):
        mine = left & rows.mask[:, k]
        if len(np.unique(fold[mine])) < 2:
            problem = f"has {int(mine.sum())} ratings, on prompts of fewer than two folds"
            raise InputError(problem, where=f"rule {name!r}", fix="rate responses to more prompts, or drop the rule")


def _check_gradient(method: str, train, held_out, checkpoints) -> None:
    """Refuses settings of the other method, and those of training that cannot be."""
    if method == "gradient":
        check_settings(train, held_out is not None)
        return
    given = {"train": train, "held_out": held_out, "checkpoints": checkpoints}
    for name, value in given.items():
        if value is not None:
            fix = "pass method='gradient', or leave it out"
            raise InputError(f"method {method!r} does not read it", where=name, fix=fix)


def _check(
    compose: CompositionSettings, dtype: str, buckets: Sequence[int], tokens: int, folds: int, method: str
) -> None:
    if method not in METHODS:
        raise InputError(f"{method!r} is unknown", where="method", fix=f"use one of {', '.join(METHODS)}")
    if compose.method not in COMPOSED_BY:
        fix = f"use one of {', '.join(COMPOSED_BY)}"
        raise InputError(f"{compose.method!r} is unknown", where="compose.method", fix=fix)
    if dtype not in DTYPES:
        raise InputError(f"{dtype!r} is unknown", where="dtype", fix=f"use one of {', '.join(DTYPES)}")
    if not buckets or min(buckets) < 1:
        raise InputError(f"{tuple(buckets)} are no row lengths", where="buckets", fix="e.g. (256, 512)")
    if tokens < 1:
        raise InputError(f"is {tokens}", where="tokens_per_batch", fix="give a positive number")
    if folds < 2:
        raise InputError(f"is {folds}", where="folds", fix="give 2 or more")
