"""What junk rules do to a pool of real ones: 24 rules that say nothing, or that share a nuisance, are added to six.

Letters: T responses, J junk rules, D draws of the junk.
"""

from __future__ import annotations

import dataclasses

import numpy as np
from jaxtyping import Float

from encore_jax.composition import entropy_weights
from encore_jax.composition.agreement import agreement_weights
from encore_jax.composition.camps import commonality
from encore_jax.composition.moments import moments_of, prompt_groups, spreads
from encore_jax.data.judged import JudgedResponses
from experiments.studies.decisions import rule_hits, weighting_hits
from experiments.studies.judges import AGREEMENT, ENCORE, UNIFORM, study_rows
from experiments.studies.resampled import accuracies, correlation, entropies

JUNK_RULES = 24
KINDS = {
    "none": "no junk",
    "uniform": "uniform noise: 1 to 5, equally often",
    "skewed": "skewed noise: nearly always 1",
    "nuisance": "one shared nuisance, say length, and as much noise of their own",
}
SKEWED = (0.92, 0.04, 0.02, 0.01, 0.01)
"""Shares of the ratings 1 to 5 of a skewed junk rule."""
POOL = ("ChatGPT", "1")
"""Judge and prompt of the six real rules."""


def real_rules(data: JudgedResponses) -> JudgedResponses | None:
    """HANNA with ChatGPT's six criteria under its first prompt; None if it has no such columns."""
    judge, prompt = POOL
    kept = [k for k, rule in enumerate(data.rules) if rule.startswith(f"{judge} ") and rule.endswith(f" {prompt}")]
    if len(kept) < 3:
        return None
    return dataclasses.replace(
        data, rules=tuple(data.rules[k] for k in kept), ratings=data.ratings[:, kept], mask=data.mask[:, kept]
    )


def with_junk(data: JudgedResponses, kind: str, rng: np.random.Generator) -> JudgedResponses:
    """The same data with `JUNK_RULES` more rules."""
    if kind == "none":
        return data
    junk = junk_ratings(kind, len(data.ratings), rng)
    return dataclasses.replace(
        data,
        rules=(*data.rules, *(f"junk {j}" for j in range(1, JUNK_RULES + 1))),
        ratings=np.hstack([data.ratings, junk]).astype(np.float32),
        mask=np.hstack([data.mask, np.ones(junk.shape, bool)]),
    )


def junk_ratings(kind: str, responses: int, rng: np.random.Generator) -> Float[np.ndarray, "T J"]:
    """Ratings 1 to 5 that do not depend on quality."""
    shape = (responses, JUNK_RULES)
    if kind == "uniform":
        return rng.integers(1, 6, shape).astype(float)
    if kind == "skewed":
        return rng.choice(np.arange(1.0, 6), shape, p=SKEWED)
    nuisance = rng.normal(size=(responses, 1))
    return np.clip(np.round(3 + nuisance + rng.normal(size=shape)), 1, 5)


def study_junk(data: JudgedResponses, kind: str, *, draws: int, tau: float, seed: int) -> dict:
    """Means over D draws of the junk, and how far they vary.

    Args:
      data: the real rules.
      kind: of `KINDS`.
      draws: D; the real rules alone are measured once.
      tau: temperature of the entropy weights.
      seed: of the junk, and of everything random about each draw.
    """
    rng = np.random.default_rng(seed)
    found = [_measure(with_junk(data, kind, rng), tau, seed) for _ in range(1 if kind == "none" else draws)]
    numbers = [name for name in found[0] if name != "verdict"]
    verdicts = [row["verdict"] for row in found]
    return {
        "kind": KINDS[kind],
        "rules": len(data.rules) + (0 if kind == "none" else JUNK_RULES),
        "draws": len(found),
        "verdicts": {verdict: verdicts.count(verdict) for verdict in dict.fromkeys(verdicts)},
        **{name: _spread([row[name] for row in found]) for name in numbers},
    }


def _measure(data: JudgedResponses, tau: float, seed: int) -> dict:
    units = int(data.unit.max()) + 1
    times, group = np.ones((1, units)), prompt_groups(np.arange(units), seed)
    rows = study_rows(data)
    moments = moments_of(rows, group[rows.prompt])
    common = commonality(moments, draws=100, seed=seed)
    entropy, of_rules = entropies(data, times), accuracies(rule_hits(data), times, data)
    bartlett = np.asarray(agreement_weights(common.loading, spreads(moments.total())), np.float64)
    weights = {
        UNIFORM: np.full(len(data.rules), 1 / len(data.rules)),
        ENCORE: np.asarray(entropy_weights(entropy[0], tau), np.float64),
        AGREEMENT: bartlett,
    }
    accuracy = accuracies(weighting_hits(data, list(weights.values())), times, data).half[0]
    return {
        "verdict": common.verdict,
        "entropy": float(correlation(entropy, of_rules.half)[0]),
        "entropy_decided": float(correlation(entropy, of_rules.decided)[0]),
        "loading": float(correlation(common.loading[None], of_rules.half)[0]),
        **dict(zip(weights, accuracy.tolist(), strict=True)),
    }


def _spread(values: list[float]) -> dict[str, float]:
    return {"value": float(np.mean(values)), "low": float(np.min(values)), "high": float(np.max(values))}
