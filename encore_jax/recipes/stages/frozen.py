"""Features of the frozen backbone for everything that runs on them: rule heads, an adapter's head, reward heads.

All texts of one prompt (both responses alone, and the pair in both orders) are branches of one prefix tree, so the
prompt is run once. The over-refusal probe is run with them where reward or rule heads are to be trained.
"""

from __future__ import annotations

import functools
import json
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from absl import logging

from encore_jax.data import locate
from encore_jax.interop.huggingface import load_backbone
from encore_jax.interop.tokenizer import load_tokenizer
from encore_jax.progress import track
from encore_jax.recipes.config import ModelConfig
from encore_jax.recipes.stages import ingest
from encore_jax.recipes.stages.presented import Presented
from encore_jax.recipes.stages.probe import probe_sequences, probe_texts
from encore_jax.recipes.stages.tokenized import record_name, tokenized
from encore_jax.train.features import extract_features


class Features(NamedTuple):
    """fp32 features; NaN where a text is too long or refused by the chat template, zero columns where not needed.

    Attributes:
      response: ``[N, 2, D]`` of prompt and A, prompt and B.
      pair: ``[N, 2, D]`` of prompt, A, B, and of prompt, B, A.
      rated: ``[R, D]`` of the rated responses.
      probe: ``[P, 2, D]`` of the over-refusal probe's pairs, the preferred response first.
    """

    response: np.ndarray
    pair: np.ndarray
    rated: np.ndarray
    probe: np.ndarray = np.zeros((0, 2, 0), np.float32)

    @property
    def kept(self) -> np.ndarray:
        """bool ``[N]``: every text of the comparison fits."""
        return np.isfinite(self.response).all((1, 2)) & np.isfinite(self.pair).all((1, 2))


def features(model: ModelConfig, shown: Presented, ingested: Path, needed: tuple[str, ...], folder: Path) -> None:
    """Writes features.npz and counts.json; `needed` names fields of `Features`."""
    _, rated, _ = ingest.load(ingested)
    texts = {
        "response": shown.response_texts,
        "pair": shown.pair_texts,
        "rated": [(r.prompt, r.response) for r in rated],
    }
    numbers: dict = {}
    rows = {
        name: np.array([numbers.setdefault(text, len(numbers)) for text in texts[name]], np.int64)
        for name in needed
        if name != "probe"
    }
    found, refused, counts = np.zeros((0, 0), np.float32), np.zeros(0, bool), {}
    probe = np.zeros((0, 0), np.float32)
    if numbers:
        asked = list(numbers), "probe" in needed
        found, refused, counts, probe = _extract(model, *asked, rated, shown.comparisons, folder)
    shapes = {"response": (-1, 2), "pair": (-1, 2), "rated": (-1,)}
    n = len(shown.comparisons)
    empty = Features(np.zeros((n, 2, 0)), np.zeros((n, 2, 0)), np.zeros((len(rated), 0)))
    made = empty._replace(
        probe=probe.reshape(len(probe) // 2, 2, probe.shape[1]),
        **{name: found[at].reshape(*shapes[name], found.shape[1]) for name, at in rows.items()},
    )
    refused_rows = {name: refused[at].reshape(shapes[name]) for name, at in rows.items()}
    pairs = sum((refused_rows[name].any(1) for name in ("response", "pair") if name in rows), np.zeros(n, bool))
    alone = refused_rows.get("rated", np.zeros(len(rated), bool))
    counts |= {
        "comparisons_dropped_too_long": int((~made.kept & ~pairs).sum()),
        "rated_responses_dropped_too_long": int((~np.isfinite(made.rated).all(1) & ~alone).sum()),
    }
    if refused.any():
        counts |= {"comparisons_refused_by_template": int(pairs.sum())}
        counts |= {"rated_responses_refused_by_template": int(alone.sum())}
    logging.info("counts: %s", counts)
    np.savez(folder / "features.npz", **made._asdict())
    (folder / "counts.json").write_text(json.dumps(counts, indent=1))


def load(folder: Path) -> Features:
    """What `features` wrote."""
    with np.load(folder / "features.npz") as stored:
        return Features(**{name: stored[name] for name in Features._fields if name in stored})


def _extract(
    model: ModelConfig, texts: list, probed: bool, rated: list, comparisons, folder: Path
) -> tuple[np.ndarray, np.ndarray, dict, np.ndarray]:
    """Features ``[T, D]``, bool ``[T]``: refused by the template, counts, and features of the probe if it is wanted."""
    path, dtype = locate(model.path, offline=True), jnp.dtype(model.dtype)
    tokenizer = load_tokenizer(path)
    sequences, refusals = tokenized(
        tokenizer, texts, model.pooling, lambda i: record_name(texts[i], rated, comparisons)
    )
    # XLA's CPU products are quicker from fp32 weights, cast layer by layer; elsewhere they would only cost memory.
    cfg, params, _ = load_backbone(path, jnp.float32 if jax.default_backend() == "cpu" else dtype)

    def features_of(texts, sequences, cache: str, label: str):
        return extract_features(
            cfg, params, texts, sequences,
            dtype=dtype, buckets=model.buckets, tokens_per_batch=model.tokens_per_batch, cache=folder / cache,
            track=functools.partial(track, label=label, size=lambda batch: batch.tokens.size),
        )  # fmt: skip

    found, counts = features_of(texts, sequences, "batches", "features")
    probe = np.zeros((0, cfg.width), np.float32)
    if probed:
        asked = probe_texts(), probe_sequences(tokenizer, model.pooling)
        probe, _ = features_of(*asked, "probe-batches", "over-refusal probe")
    refused = np.array([sequence is None for sequence in sequences])
    return found, refused, counts | {"dropped": counts["dropped"] - int(refused.sum())} | refusals, probe
