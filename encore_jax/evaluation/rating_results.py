"""What a judge's ratings look like, rule by rule: how many, how spread, how relevant, and with whom they agree."""

from __future__ import annotations

import warnings
from collections.abc import Iterable

import numpy as np

from encore_jax.composition.settings import CompositionSettings
from encore_jax.composition.ties import credit
from encore_jax.data.comparison import Comparison, RatedResponse, prompt_key
from encore_jax.evaluation.advice import advice
from encore_jax.evaluation.label_next import listed

BINS = 11
"""Of the histograms: around 0, 0.1, ..., 1."""


def rating_results(
    rated: Iterable[RatedResponse], comparisons: Iterable[Comparison], settings: CompositionSettings
) -> dict:
    """Per rule, as JSON values: ratings `n`, `mean`, `histogram` over `BINS`, `entropy` (as ENCORE would use it, None
    without ratings), and mean `relevance` (None where the judge gives none). On `pairs` that somebody labelled also the
    `accuracy` with which the rule alone finds the preferred response; a tie counts half.

    Args:
      rated: every different response once, oriented, on the unit scale.
      comparisons: rated on the same rules.
      settings: how entropy is computed.

    Returns:
      `rules`; `warnings`: what ENCORE says of ratings that would mislead it; and `advice`, which weighting to use
      (`encore_jax.evaluation.advice`; `label_next` holds ids of comparisons, `label_texts` how
      their texts begin), None without ratings.
    """
    rated, comparisons = list(rated), list(comparisons)
    if not rated:
        return {"rules": [], "warnings": ["there is no rating at all"], "advice": None}
    names = rated[0].rules
    ratings, mask = np.stack([r.ratings for r in rated]), np.stack([r.mask for r in rated])
    relevance = _relevance(rated, names)
    total, pairs = _credit(comparisons, len(names))
    some = mask.any(0)
    entropy = np.full(len(names), np.nan)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        if some.any():
            kept = [name for name, ok in zip(names, some, strict=True) if ok]
            entropy[some] = settings.entropy(ratings[:, some], mask[:, some], kept)
    edges = (np.arange(BINS + 1) - 0.5) / (BINS - 1)
    rules = []
    for k, name in enumerate(names):
        values = ratings[mask[:, k], k].astype(np.float64)
        rules.append(
            {
                "name": name,
                "n": len(values),
                "mean": _or_none(values.mean() if len(values) else np.nan),
                "entropy": _or_none(entropy[k]),
                "histogram": np.histogram(values, edges)[0].tolist(),
                "relevance": _or_none(relevance[k]),
                "accuracy": _or_none(total[k] / pairs[k] if pairs[k] else np.nan),
                "pairs": int(pairs[k]),
            }
        )
    told = _advice(comparisons, names, entropy if np.isfinite(entropy).all() else None, settings.tau)
    return {"rules": rules, "warnings": [str(w.message) for w in caught], "advice": told}


def _advice(comparisons: list[Comparison], names: tuple[str, ...], entropy: np.ndarray | None, tau: float) -> dict:
    rated = [c for c in comparisons if c.ratings is not None]
    told = advice(
        [c.ratings for c in rated],
        [c.preferred for c in rated],
        [prompt_key(c.prompt) for c in rated],
        names,
        [c.mask for c in rated],
        entropy=entropy,
        tau=tau,
    )
    return told | listed([rated[i] for i in told["label_next"]], told["label_next"])


def _relevance(rated: list[RatedResponse], names: tuple[str, ...]) -> np.ndarray:
    """Mean relevance ``[K]``, NaN where there is none."""
    known = [r.extra["relevance"] for r in rated if "relevance" in r.extra]
    means = []
    for name in names:
        values = [told[name] for told in known if told.get(name) is not None]
        means.append(np.mean(values) if values else np.nan)
    return np.array(means)


def _credit(comparisons: Iterable[Comparison], rules: int) -> tuple[np.ndarray, np.ndarray]:
    """Of labelled pairs rated on both sides: credit and how many, ``[K]`` each."""
    total, pairs = np.zeros(rules), np.zeros(rules, np.int64)
    for c in comparisons:
        if c.preferred is not None and len(c.responses) == 2 and c.ratings is not None:
            both = c.mask.all(0)
            total += np.where(both, credit(c.ratings[c.preferred] - c.ratings[1 - c.preferred]), 0.0)
            pairs += both
    return total, pairs


def _or_none(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None
