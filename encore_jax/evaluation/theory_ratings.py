"""The theory on real ratings: do trained Bradley-Terry weights fall where entropy is high?"""

from __future__ import annotations

import math
import warnings
from typing import Literal

import jax
import jax.numpy as jnp
import numpy as np

from encore_jax.composition import RatingsWarning, fisher_interval, margins, pearson, rating_entropy
from encore_jax.evaluation.bootstrap import percentile_interval
from encore_jax.evaluation.view import View
from encore_jax.train.bradley_terry import bradley_terry_weights

Verdict = Literal["agrees", "contradicts", "cannot tell at this size"]


def trained_weights(view: View, seed: int, replicates: int, levels: int = 11, l2: float = 1e-3) -> dict:
    """Entropies of the training ratings beside Bradley-Terry weights of the training comparisons, ready for JSON.

    ENCORE reads the theorem as: rules of high entropy are noise, so preferences give them little weight, and entropy
    and trained weight should correlate negatively. Weights are per standard deviation of the rule's margin, so that
    scales do not matter. Intervals (95 %): over prompts by bootstrap, over rules by Fisher.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RatingsWarning)
        entropy = np.asarray(rating_entropy(view.ratings, jnp.asarray(view.rated), levels=levels), np.float64)
    delta = np.asarray(margins(view.train.scores, view.train.preferred))
    deviation = np.sqrt((delta**2).mean(0))
    scaled = jnp.asarray(delta / np.where(deviation > 0, deviation, 1))
    samples = np.asarray(_resampled(scaled, view.train.cluster, seed, replicates, l2))
    weights, low, high = samples[0], *percentile_interval(samples[1:])
    h = jnp.broadcast_to(jnp.asarray(entropy, jnp.float32)[None], samples.shape)
    r = np.asarray(pearson(h, jnp.asarray(samples)))
    over_prompts, over_rules = tuple(map(float, percentile_interval(r[1:]))), fisher_interval(float(r[0]), len(entropy))
    lows, highs = zip(over_prompts, over_rules, strict=True)
    verdict: Verdict = "cannot tell at this size"
    if max(highs) < 0:
        verdict = "agrees"
    elif min(lows) > 0:
        verdict = "contradicts"
    return {
        "view": view.name,
        "label": view.label,
        "description": view.description,
        "comparisons": len(view.train),
        "prompts": len(np.unique(view.train.cluster)),
        "r": float(r[0]) if math.isfinite(r[0]) else None,
        "over_prompts": over_prompts,
        "over_rules": over_rules,
        "verdict": verdict,
        "rules": [
            {"name": name, "entropy": float(e), "weight": {"value": float(w), "low": float(a), "high": float(b)}}
            for name, e, w, a, b in zip(view.rules, entropy, weights, low, high, strict=True)
        ],
    }


def _resampled(delta, cluster, seed: int, replicates: int, l2: float):
    """Weights ``[1 + replicates, K]``: of the data, then of prompts drawn again.

    A comparison drawn twice counts twice: its margins stand in the sample as often as its prompt was drawn. Samples are
    filled up to the data's size, or cut, so that one program fits all.
    """
    rng, n = np.random.default_rng(seed), len(delta)
    of_prompt = [np.flatnonzero(cluster == prompt) for prompt in np.unique(cluster)]
    rows = [np.arange(n)]
    for _ in range(replicates):
        drawn = []
        while sum(map(len, drawn)) < n:
            drawn.append(of_prompt[rng.integers(len(of_prompt))])
        rows.append(np.concatenate(drawn)[:n])
    return jax.lax.map(lambda row: bradley_terry_weights(delta[row], l2), jnp.asarray(np.stack(rows)))
