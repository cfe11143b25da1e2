"""Judged responses resampled by unit: everything that a study of judges says comes with the same draws.

Letters: T responses, U units, K rules, N pairs, R draws, M methods, L levels.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int

from encore_jax.composition.entropy import bin_edges, entropy_of_counts, level_edges
from encore_jax.data.judged import JudgedResponses
from encore_jax.evaluation.bootstrap import percentile_interval
from encore_jax.evaluation.premise import Interval
from encore_jax.evaluation.rule_reliability import LEVELS_OF_CONTINUOUS

AT_ONCE = 100
"""Draws whose weights of all pairs are held in memory."""

POLICIES = ("half", "wrong", "decided")
"""What a tie counts: half, as wrong, or not at all."""


class Hits(NamedTuple):
    """Of pairs and columns (rules or methods): in which they count, prefer what people do, and tie; ``[N, M]``."""

    counted: Float[np.ndarray, "N M"]
    correct: Float[np.ndarray, "N M"]
    tied: Float[np.ndarray, "N M"]


class Accuracies(NamedTuple):
    """Of every draw and column under each policy, and the tie rate; ``[R, M]``, NaN where nothing counts."""

    half: Float[np.ndarray, "R M"]
    wrong: Float[np.ndarray, "R M"]
    decided: Float[np.ndarray, "R M"]
    tie_rate: Float[np.ndarray, "R M"]


def draw_units(units: int, draws: int, seed: int) -> Float[np.ndarray, "R+1 U"]:
    """How often each unit occurs: once in the first row, which is the data itself, then of R draws with replacement."""
    rng = np.random.default_rng(seed)
    times = rng.multinomial(units, np.full(units, 1 / units), draws)
    return np.concatenate([np.ones((1, units)), times.astype(np.float64)])


def pair_weights(times_RxU: Float[np.ndarray, "R U"], data: JudgedResponses) -> Float[np.ndarray, "R N"]:
    """How often each pair occurs: as often as its unit, or the product of both if its responses are of two units."""
    first, second = data.unit[data.pairs].T
    weight = times_RxU[:, first]
    return weight if data.within_units else np.where(first == second, weight, weight * times_RxU[:, second])


def accuracies(hits: Hits, times_RxU: Float[np.ndarray, "R U"], data: JudgedResponses) -> Accuracies:
    """Accuracies of R draws; rows of `hits` are the data's pairs."""
    parts = []
    for start in range(0, len(times_RxU), AT_ONCE):
        weight = pair_weights(times_RxU[start : start + AT_ONCE], data)
        parts.append([weight @ part for part in hits])
    counted, correct, tied = (np.concatenate(part) for part in zip(*parts, strict=True))
    with np.errstate(invalid="ignore", divide="ignore"):
        return Accuracies((correct + tied / 2) / counted, correct / counted, correct / (counted - tied), tied / counted)


def entropies(data: JudgedResponses, times_RxU: Float[np.ndarray, "R U"]) -> Float[np.ndarray, "R K"]:
    """Entropy of every rule's ratings in R draws, in nats, on the data's levels or in bins where it has none."""
    edges = level_edges(data.levels, data.scale) if data.levels else bin_edges(LEVELS_OF_CONTINUOUS, data.scale)
    level = np.searchsorted(edges, data.ratings, side="right")
    rules = data.ratings.shape[1]
    counts = np.zeros((int(data.unit.max()) + 1, rules, len(edges) + 1), np.float32)
    unit, rule = np.broadcast_arrays(data.unit[:, None], np.arange(rules))
    np.add.at(counts, (unit[data.mask], rule[data.mask], level[data.mask]), 1)
    return np.asarray(entropy_of_counts(np.einsum("ru,ukl->rkl", times_RxU.astype(np.float32), counts, optimize=True)))


def correlation(x_RxK: Float[np.ndarray, "R K"], y_RxK: Float[np.ndarray, "R K"]) -> Float[np.ndarray, " R"]:
    """Pearson's r of every draw, over the rules for which the data themselves give both."""
    known = np.isfinite(x_RxK[0]) & np.isfinite(y_RxK[0])
    x, y = (side[:, known].astype(np.float64) for side in (x_RxK, y_RxK))
    x, y = (side - side.mean(1, keepdims=True) for side in (x, y))
    with np.errstate(invalid="ignore", divide="ignore"):
        return (x * y).sum(1) / np.sqrt((x * x).sum(1) * (y * y).sum(1))


def interval(samples: Float[np.ndarray, " R+1"]) -> Interval:
    """The data's own value, which comes first, with the central 95 % of the draws."""
    low, high = percentile_interval(samples[1:])
    return Interval(float(samples[0]), float(low), float(high))


def group_times(times_RxU: Float[np.ndarray, "R U"], group_U: Int[np.ndarray, " U"]) -> Float[np.ndarray, "R G"]:
    """How often each group of units occurs, where all units of a group occur equally often."""
    first = np.unique(group_U, return_index=True)[1]
    return times_RxU[:, first]
