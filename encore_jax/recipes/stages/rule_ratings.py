"""Ratings of every compared response on every rule, from whatever source the run names.

The seam for sources: whatever makes a `RuleRatings` can feed an adapter and label comparisons.
"""

from __future__ import annotations

import json
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple, TypedDict

import numpy as np
from absl import logging

from encore_jax.composition import RatingsWarning, rating_entropy
from encore_jax.data import prompt_key, stack_ratings
from encore_jax.data.distinct import on_distinct_rows
from encore_jax.data.manifest import FIX
from encore_jax.data.split import folds
from encore_jax.errors import InputError
from encore_jax.json_shape import read_json
from encore_jax.recipes.ramo_config import RateConfig, SelectConfig
from encore_jax.recipes.stages.frozen import Features
from encore_jax.recipes.stages.ingest import Ingested
from encore_jax.recipes.stages.presented import PartSplit, Presented, present
from encore_jax.recipes.stages.probe import load_probe, save_probe
from encore_jax.rules import RulePool
from encore_jax.train.ridge import fit_ridge

HEADS = (
    "Rule heads on the frozen backbone, ridge regression on a file of rated responses to other prompts: what they say "
    "stands for a judge's ratings. Model-rated; no judge and no person rated these comparisons."
)
FILE = "Ratings come with the comparisons' own file, on the scale 0 to 1."


class _Said(TypedDict):
    label: str
    description: str


class RuleRatings(NamedTuple):
    """Ratings of N comparisons on K rules.

    Attributes:
      ratings, rated: fp32 and bool ``[N, 2, K]``, A first; 0 where not rated.
      relevance: fp32 ``[N, K]``, or ``[N, 0]`` if the source says nothing of relevance.
      entropy: fp32 ``[K]``, of the ratings that the source learnt from, or itself gave.
      label: "model-rated" or "human-rated".
      description: of the source.
      probe: fp32 ``[2 P, K]``, of the over-refusal probe's texts, by rule heads; None by any other source.
    """

    ratings: np.ndarray
    rated: np.ndarray
    relevance: np.ndarray
    entropy: np.ndarray
    label: str = "model-rated"
    description: str = ""
    probe: np.ndarray | None = None

    def save(self, folder: Path) -> None:
        """Writes ratings.npz, rate.json (what they are, and how many are missing), and of rule heads probe.npz."""
        np.savez(folder / "ratings.npz", **{name: getattr(self, name) for name in _ARRAYS})
        if self.probe is not None:
            save_probe(folder, self.probe)
        (folder / "rate.json").write_text(json.dumps(self.said, indent=1))

    @classmethod
    def load(cls, folder: Path) -> RuleRatings:
        """What `save` wrote; without `probe` where it was of another wording."""
        said = read_json(folder / "rate.json", _Said, fix=FIX)
        with np.load(folder / "ratings.npz") as stored:
            arrays = {name: stored[name] for name in _ARRAYS}
        return cls(**arrays, label=said["label"], description=said["description"], probe=load_probe(folder))

    @property
    def said(self) -> dict[str, str | int]:
        """What a report says of them."""
        missing = int((~self.usable.any(1)).sum())
        return {"label": self.label, "description": self.description, "comparisons_without_ratings": missing}

    @property
    def usable(self) -> np.ndarray:
        """bool ``[N, K]``: both responses are rated."""
        return self.rated.all(1)

    @property
    def given_relevance(self) -> np.ndarray | None:
        """The relevance, or None."""
        return self.relevance if self.relevance.shape[1] else None


_ARRAYS = ("ratings", "rated", "relevance", "entropy")


def rate_rules(
    data: Ingested, features: Features, rate: RateConfig, select: SelectConfig, split: PartSplit
) -> RuleRatings:
    """Ratings of all comparisons.

    Args:
      data: comparisons, and of rule heads the rated responses that they are fitted on.
      features: of rule heads.
      rate: where ratings come from.
      select: which relevance is wanted, and how many rules.
      split: held-out prompts are no prompts to fit on, nor to measure entropies on.
    """
    pool, shown = data.pool, present(data.comparisons, split)
    if select.r > len(pool):
        raise InputError(f"{select.r} of {len(pool)} rules", where="config.select.r", fix=f"choose at most {len(pool)}")
    if rate.source == "heads":
        made = _by_heads(data, features, rate, shown, split.seed)
    else:
        made = _from_comparisons(shown, pool)._replace(label=rate.judged)
    if select.relevance != "none":
        made = made._replace(relevance=_relevance(shown.comparisons, pool, made.usable, select.relevance))
    return made


def _by_heads(data: Ingested, features: Features, rate: RateConfig, shown: Presented, seed: int) -> RuleRatings:
    pool, records = data.pool, data.rated
    held_out = {prompt_key(c.prompt) for c, part in zip(shown.comparisons, shown.part, strict=True) if part == "test"}
    keys = [prompt_key(r.prompt) for r in records]
    fits = np.isfinite(features.rated).all(1) & np.array([key not in held_out for key in keys])
    ratings, rated = (np.stack([getattr(r, name) for r in records])[fits] for name in ("ratings", "mask"))
    for k in np.flatnonzero(~rated.any(0)):
        raise InputError("no response is rated on it", where=f"rule {pool.names[k]!r}", fix="use a pool without it")
    fold = folds([key for key, ok in zip(keys, fits, strict=True) if ok], rate.folds, seed + 1)
    fitted = fit_ridge(features.rated[fits], ratings, rated, fold, tuple(rate.alphas))
    logging.info("ridge penalties chosen by cross-validation: %s", [f"{alpha:g}" for alpha in fitted.alpha])

    def scores_of(responses: np.ndarray) -> np.ndarray:
        flat = responses.reshape(2 * len(responses), -1)
        return on_distinct_rows(lambda rows: rows @ fitted.kernel + fitted.bias, flat)

    scores = scores_of(features.response).reshape(len(features.response), 2, -1)
    kept = np.broadcast_to(features.kept[:, None, None], scores.shape)
    nothing = np.zeros((len(scores), 0), np.float32)
    return RuleRatings(
        np.where(kept, scores, 0).astype(np.float32), kept.copy(), nothing, _entropy(ratings, rated, pool),
        label="model-rated", description=HEADS, probe=scores_of(features.probe),
    )  # fmt: skip


def _from_comparisons(shown: Presented, pool: RulePool) -> RuleRatings:
    n, k = len(shown.comparisons), len(pool)
    ratings, rated = np.zeros((n, 2, k), np.float32), np.zeros((n, 2, k), bool)
    given = np.array([c.ratings is not None and bool(c.mask.any()) for c in shown.comparisons])
    if not given.any():
        raise InputError(
            "no comparison has ratings", where="config.data.path",
            fix="have a judge rate them, or use --config.rate.source=heads with a file of rated responses",
        )  # fmt: skip
    ratings[given], rated[given] = stack_ratings([c for c, ok in zip(shown.comparisons, given, strict=True) if ok])
    ratings, rated = shown.oriented(ratings), shown.oriented(rated)
    own = given & (shown.part != "test")
    entropy = _entropy(ratings[own], rated[own], pool)
    return RuleRatings(ratings, rated, np.zeros((n, 0), np.float32), entropy, description=FILE)


def _entropy(ratings: np.ndarray, rated: np.ndarray, pool: RulePool) -> np.ndarray:
    """``[K]``; NaN for a rule without ratings."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", RatingsWarning)
        given = rated.reshape(-1, len(pool)).any(0)
        names = [name for name, ok in zip(pool.names, given, strict=True) if ok]
        entropy = np.full(len(pool), np.nan, np.float32)
        entropy[given] = rating_entropy(ratings[..., given], rated[..., given], names=names)
    for warning in caught:
        logging.warning("%s", warning.message)
    return entropy


OVER_RESPONSES = {"mean": np.mean, "max": np.max, "min": np.min}


def _relevance(comparisons, pool: RulePool, usable: np.ndarray, how: str) -> np.ndarray:
    """fp32 ``[N, K]``; 0 where a rule is not rated for both responses."""
    found = np.zeros(usable.shape, np.float32)
    for n in np.flatnonzero(usable.any(1)):
        where = f"comparison {comparisons[n].id or n}, field 'extra.relevance'"
        given = comparisons[n].extra.get("relevance")
        for k in np.flatnonzero(usable[n]):
            value = given.get(pool.names[k]) if isinstance(given, Mapping) else None
            found[n, k] = _one_relevance(value, how, f"{where}, rule {pool.names[k]!r}")
    return found


def _one_relevance(value, how: str, where: str) -> float:
    numbers = value if isinstance(value, (list, tuple)) else [value, value]
    if len(numbers) != 2 or not all(isinstance(x, (int, float)) and np.isfinite(x) for x in numbers):
        raise InputError(
            f"is {value!r}: neither a finite number nor one for each of the two responses",
            where=where, fix="give them, or --config.select.relevance=none",
        )  # fmt: skip
    return float(OVER_RESPONSES[how](numbers))
