"""Features of the frozen backbone for everything that runs on them: rule heads, an adapter's head, reward heads.

All texts of one prompt (both responses alone, and the pair in both orders) are branches of one prefix tree, so the
prompt is run once. The over-refusal probe is run with them where reward or rule heads are to be trained.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import NamedTuple

import numpy as np
from absl import logging

from encore_jax.recipes.config import ModelConfig
from encore_jax.recipes.stages import ingest
from encore_jax.recipes.stages.extract import extract
from encore_jax.recipes.stages.presented import Presented
from encore_jax.recipes.stages.tokenized import record_name


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
        distinct = list(numbers)
        extracted = extract(
            model,
            distinct,
            lambda i: record_name(distinct[i], rated, shown.comparisons),
            folder / "batches",
            probe="probe" in needed,
        )
        found, probe = extracted.texts, extracted.probe
        refused, counts = extracted.readable.refused, extracted.counts
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
