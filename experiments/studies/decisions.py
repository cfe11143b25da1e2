"""How rules, weightings and critical rules decide pairs: which they get right, and which they leave open.

Letters: N pairs, K rules, r critical rules.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from jaxtyping import Float

from encore_jax.composition.ties import Margin, rule_tolerance, weighted_margin
from encore_jax.data.judged import JudgedResponses
from experiments.studies.resampled import Hits

TIE_BREAKS = 20
"""Random orders of rules whose discrepancies tie; the mean over them is what breaking ties at random gives."""


def margin_hits(margin: Margin, counted: Float[np.ndarray, "N M"]) -> Hits:
    """Hits of margins, preferred minus other."""
    correct, tied = margin.sign > 0, margin.tied
    return Hits(counted.astype(np.float64), (correct & counted).astype(np.float64), (tied & counted).astype(np.float64))


def rule_hits(data: JudgedResponses) -> Hits:
    """Hits ``[N, K]`` of every rule on the pairs in which it rates both responses."""
    first, second = data.pairs.T
    return margin_hits(Margin(data.ratings[first] - data.ratings[second]), data.mask[first] & data.mask[second])


def complete_pairs(data: JudgedResponses) -> np.ndarray:
    """Of every pair, whether all rules rate both responses."""
    return data.mask[data.pairs].all((1, 2))


def weighting_hits(data: JudgedResponses, weights: Sequence[Float[np.ndarray, " K"]]) -> Hits:
    """Hits ``[N, M]`` of rewards under M weightings, on the complete pairs."""
    first, second = (data.ratings[side].astype(np.float64) for side in data.pairs.T)
    columns = np.stack(weights, 1).astype(np.float64)
    margin = weighted_margin(first - second, rule_tolerance(*data.ratings[data.pairs].swapaxes(0, 1)), columns)
    return margin_hits(margin, np.broadcast_to(complete_pairs(data)[:, None], margin.value.shape))


def random_rule_hits(hits: Hits, data: JudgedResponses) -> Hits:
    """Hits ``[N, 1]`` of a rule drawn at random for every pair: the mean over the rules."""
    complete = complete_pairs(data)[:, None]
    return Hits(*(np.where(complete, part, 0).mean(1, keepdims=True) for part in hits))


def critical_hits(
    data: JudgedResponses, scales: Mapping[str, Float[np.ndarray, " K"]], numbers: Sequence[int], seed: int
) -> tuple[list[str], Hits]:
    """Hits of pairs decided by their r rules of largest ``|scale_k Δ_k|``, whose ``scale_k Δ_k`` are added up.

    Rules tie for a place where ratings have few levels; they are then ordered at random, and the hits are means over
    `TIE_BREAKS` orders.

    Returns:
      A name for every scale and r, and ``[N, M]``.
    """
    first, second = data.ratings[data.pairs].swapaxes(0, 1)
    rng, complete = np.random.default_rng(seed), complete_pairs(data)[:, None]
    names, columns = [], []
    for name, scale in scales.items():
        value = (first - second).astype(np.float64) * scale
        size = np.round(np.abs(value) / max(np.abs(value).max(), 1e-30), 6)  # so that equal steps of a grid are equal
        ranks = [np.lexsort((rng.random(size.shape), -size), axis=1) for _ in range(TIE_BREAKS)]
        for r in numbers:
            tolerance = rule_tolerance(first, second, terms=r) * np.abs(scale)
            hits = [
                margin_hits(Margin(*(np.take_along_axis(part, rank[:, :r], 1).sum(1) for part in (value, tolerance))),
                            complete[:, 0])
                for rank in ranks
            ]  # fmt: skip
            names.append(f"{name}, r = {r}")
            columns.append([np.mean([getattr(hit, part) for hit in hits], 0) for part in Hits._fields])
    return names, Hits(*(np.stack(part, 1) for part in zip(*columns, strict=True)))
