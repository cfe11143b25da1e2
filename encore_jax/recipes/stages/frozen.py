"""Features of the frozen backbone for everything that runs on them: rule heads, an adapter's head, reward heads.

All texts of one prompt (both responses alone, and the pair in both orders) are branches of one prefix tree, so the
prompt is run once. The over-refusal probe is run with them where reward or rule heads are to be trained.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from absl import logging

from encore_jax.data.manifest import FIX
from encore_jax.formats import counts_in_words
from encore_jax.json_shape import read_json
from encore_jax.parallel.mesh import MeshSettings
from encore_jax.recipes.outside import ModelFiles, Probe
from encore_jax.recipes.stages.extract import extract
from encore_jax.recipes.stages.ingest import Ingested
from encore_jax.recipes.stages.presented import first_responses, pair_texts, response_texts
from encore_jax.recipes.stages.tokenized import record_name

ARRAYS = ("response", "pair", "rated", "probe")


class Features(NamedTuple):
    """fp32 features; NaN where a text is too long or refused by the chat template, zero columns where not needed.

    Attributes:
      response: ``[N, 2, D]`` of prompt and A, prompt and B.
      pair: ``[N, 2, D]`` of prompt, A, B, and of prompt, B, A.
      rated: ``[R, D]`` of the rated responses.
      probe: ``[P, 2, D]`` of the over-refusal probe's pairs, the preferred response first.
      counts: of texts, and of what is left out.
    """

    response: np.ndarray
    pair: np.ndarray
    rated: np.ndarray
    probe: np.ndarray
    counts: dict[str, Any]

    @property
    def kept(self) -> np.ndarray:
        """bool ``[N]``: every text of the comparison fits."""
        return np.isfinite(self.response).all((1, 2)) & np.isfinite(self.pair).all((1, 2))

    def save(self, folder: Path) -> None:
        """Writes an array per field, and counts.json."""
        for name in ARRAYS:
            np.save(folder / f"{name}.npy", getattr(self, name), allow_pickle=False)
        (folder / "counts.json").write_text(json.dumps(self.counts, indent=1))

    @classmethod
    def load(cls, folder: Path) -> Features:
        """What `save` wrote; only those rows are read from the disk that somebody takes."""
        arrays = {name: np.load(folder / f"{name}.npy", mmap_mode="r", allow_pickle=False) for name in ARRAYS}
        return cls(**arrays, counts=read_json(folder / "counts.json", dict[str, object], fix=FIX))


def frozen_features(
    model: ModelFiles, data: Ingested, probe: Probe | None, response: bool, pair: bool, rated: bool, seed: int,
    mesh: MeshSettings, folder: Path,
) -> Features:  # fmt: skip
    """Runs the texts that are needed through the frozen backbone once.

    Args:
      model: the backbone.
      data: comparisons and rated responses.
      probe: the over-refusal probe; None leaves it out.
      response, pair, rated: whether these fields of `Features` are needed.
      seed: of the draw which response is A.
      mesh: how devices share the model.
      folder: of finished batches, from which a killed run goes on.
    """
    first = first_responses(data.comparisons, seed)
    texts = {
        "response": response_texts(data.comparisons, first) if response else None,
        "pair": pair_texts(data.comparisons, first) if pair else None,
        "rated": [(r.prompt, r.response) for r in data.rated] if rated else None,
    }
    numbers: dict = {}
    rows = {
        name: np.array([numbers.setdefault(text, len(numbers)) for text in needed], np.int64)
        for name, needed in texts.items()
        if needed is not None
    }
    found, refused, counts = np.zeros((0, 0), np.float32), np.zeros(0, bool), {}
    of_probe = np.zeros((0, 0), np.float32)
    if numbers:
        distinct = list(numbers)
        extracted = extract(
            model.model,
            distinct,
            lambda i: record_name(distinct[i], data.rated, data.comparisons),
            folder / "batches",
            probe=probe is not None,
            mesh=mesh,
        )
        found, of_probe = extracted.texts, extracted.probe
        refused, counts = extracted.readable.refused, extracted.counts
    shapes = {"response": (-1, 2), "pair": (-1, 2), "rated": (-1,)}
    n = len(data.comparisons)
    empty = {"response": np.zeros((n, 2, 0)), "pair": np.zeros((n, 2, 0)), "rated": np.zeros((len(data.rated), 0))}
    made = {name: found[at].reshape(*shapes[name], found.shape[1]) for name, at in rows.items()}
    of_probe = of_probe.reshape(len(of_probe) // 2, 2, of_probe.shape[1])
    features = Features(**(empty | made), probe=of_probe, counts={})
    counts |= _left_out(features, {name: refused[at].reshape(shapes[name]) for name, at in rows.items()})
    logging.info("%s", counts_in_words(counts))
    return features._replace(counts=counts)


def _left_out(features: Features, refused: dict[str, np.ndarray]) -> dict[str, int]:
    """How many comparisons and rated responses are left out, and why.

    Args:
      features: of all texts.
      refused: by field, which texts the chat template refuses.
    """
    pairs = np.zeros(len(features.response), bool)
    for name in {"response", "pair"} & refused.keys():
        pairs |= refused[name].any(1)
    alone = refused.get("rated", np.zeros(len(features.rated), bool))
    counts = {
        "comparisons_dropped_too_long": int((~features.kept & ~pairs).sum()),
        "rated_responses_dropped_too_long": int((~np.isfinite(features.rated).all(1) & ~alone).sum()),
    }
    if any(rows.any() for rows in refused.values()):
        counts |= {"comparisons_refused_by_template": int(pairs.sum())}
        counts |= {"rated_responses_refused_by_template": int(alone.sum())}
    return counts
