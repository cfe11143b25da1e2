"""Ratings of every compared response on every rule, from whatever source the run names.

The seam for sources: whatever makes a `RuleRatings` can feed an adapter and label comparisons.
"""

from __future__ import annotations

import json
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np
from absl import logging

from encore_jax.composition import RatingsWarning, rating_entropy
from encore_jax.data import prompt_key, stack_ratings
from encore_jax.data.distinct import on_distinct_rows
from encore_jax.data.split import folds
from encore_jax.errors import InputError
from encore_jax.recipes.ramo_config import AdapterConfig, RamoConfig
from encore_jax.recipes.stages import frozen, ingest
from encore_jax.recipes.stages.presented import Presented
from encore_jax.recipes.stages.probe import save_probe
from encore_jax.rules import RulePool
from encore_jax.train.ridge import fit_ridge

HEADS = (
    "Rule heads on the frozen backbone, ridge regression on a file of rated responses to other prompts: what they say "
    "stands for a judge's ratings. Model-rated; no judge and no person rated these comparisons."
)
FILE = "Ratings come with the comparisons' own file, on the scale 0 to 1."


class RuleRatings(NamedTuple):
    """Ratings of N comparisons on K rules.

    Attributes:
      ratings, rated: fp32 and bool ``[N, 2, K]``, A first; 0 where not rated.
      relevance: fp32 ``[N, K]``, or ``[N, 0]`` if the source says nothing of relevance.
      entropy: fp32 ``[K]``, of the ratings that the source learnt from, or itself gave.
    """

    ratings: np.ndarray
    rated: np.ndarray
    relevance: np.ndarray
    entropy: np.ndarray

    @property
    def usable(self) -> np.ndarray:
        """bool ``[N, K]``: both responses are rated."""
        return self.rated.all(1)

    @property
    def given_relevance(self) -> np.ndarray | None:
        """The relevance, or None."""
        return self.relevance if self.relevance.shape[1] else None


def rate_rules(
    config: AdapterConfig | RamoConfig, shown: Presented, ingested: Path, features: Path, folder: Path
) -> None:
    """Writes ratings.npz, rate.json (label, description, and counts), and of heads probe.npz (over-refusal)."""
    pool, _, _ = ingest.load(ingested)
    if config.select.r > len(pool):
        raise InputError(
            f"{config.select.r} of {len(pool)} rules", where="config.select.r", fix=f"choose at most {len(pool)}"
        )
    from_heads = config.rate.source == "heads"
    made = _by_heads(config, shown, ingested, features, folder) if from_heads else _from_comparisons(shown, pool)
    if config.select.relevance != "none":
        made = made._replace(relevance=_relevance(shown.comparisons, pool, made.usable, config.select.relevance))
    np.savez(folder / "ratings.npz", **made._asdict())
    said = {
        "label": "model-rated" if from_heads else config.rate.judged,
        "description": HEADS if from_heads else FILE,
        "comparisons_without_ratings": int((~made.usable.any(1)).sum()),
    }
    (folder / "rate.json").write_text(json.dumps(said, indent=1))


def load(folder: Path) -> RuleRatings:
    """What `rate_rules` wrote."""
    with np.load(folder / "ratings.npz") as stored:
        return RuleRatings(**{name: stored[name] for name in RuleRatings._fields})


def _by_heads(config, shown: Presented, ingested: Path, extracted: Path, folder: Path) -> RuleRatings:
    pool, records, _ = ingest.load(ingested)
    features = frozen.load(extracted)
    held_out = {prompt_key(c.prompt) for c, part in zip(shown.comparisons, shown.part, strict=True) if part == "test"}
    keys = [prompt_key(r.prompt) for r in records]
    fits = np.isfinite(features.rated).all(1) & np.array([key not in held_out for key in keys])
    ratings, rated = (np.stack([getattr(r, name) for r in records])[fits] for name in ("ratings", "mask"))
    for k in np.flatnonzero(~rated.any(0)):
        raise InputError("no response is rated on it", where=f"rule {pool.names[k]!r}", fix="use a pool without it")
    fold = folds([key for key, ok in zip(keys, fits, strict=True) if ok], config.rate.folds, config.seed + 1)
    fitted = fit_ridge(features.rated[fits], ratings, rated, fold, tuple(config.rate.alphas))
    logging.info("ridge penalties chosen by cross-validation: %s", [f"{alpha:g}" for alpha in fitted.alpha])

    def scores_of(responses: np.ndarray) -> np.ndarray:
        flat = responses.reshape(2 * len(responses), -1)
        return on_distinct_rows(lambda rows: rows @ fitted.kernel + fitted.bias, flat)

    save_probe(folder, scores_of(features.probe))
    scores = scores_of(features.response).reshape(len(features.response), 2, -1)
    kept = np.broadcast_to(features.kept[:, None, None], scores.shape)
    nothing = np.zeros((len(scores), 0), np.float32)
    return RuleRatings(
        np.where(kept, scores, 0).astype(np.float32), kept.copy(), nothing, _entropy(ratings, rated, pool)
    )


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
    return RuleRatings(ratings, rated, np.zeros((n, 0), np.float32), _entropy(ratings[own], rated[own], pool))


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
