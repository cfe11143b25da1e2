"""Does ENCORE's premise hold on *this* data? The question comes before any weight is trusted.

The premise: rules whose ratings have high entropy predict human preference badly, i.e. r(H_k, accuracy_k) < 0. With K
rules that is a correlation over K points, so it comes with two intervals: Fisher's (had there been other rules?) and
a bootstrap over prompts (had there been other comparisons and other rated responses?).
"""

from __future__ import annotations

import dataclasses
import math
import warnings
from typing import Literal, NamedTuple

import jax
import numpy as np

from encore_jax.composition import (
    Accuracy,
    effective_rules,
    entropy_accuracy_correlation,
    entropy_of_counts,
    entropy_weights,
    pearson,
    rating_counts,
    rule_accuracy,
)
from encore_jax.composition.checks import MAX_GRID, RatingsWarning, observed_grids
from encore_jax.composition.entropy import bin_edges, level_edges
from encore_jax.composition.settings import CompositionSettings
from encore_jax.composition.ties import credit
from encore_jax.evaluation.bootstrap import cluster_sums, percentile_interval, resampled_totals
from encore_jax.evaluation.view import Pairs, View

FEW_TIES = 0.005
"""A lower mean tie rate is not worth a sentence."""

Verdict = Literal["holds", "does not hold", "cannot tell at this size"]


class Interval(NamedTuple):
    """A number with its confidence interval."""

    value: float
    low: float
    high: float


@dataclasses.dataclass(frozen=True)
class Premise:
    """The outcome of `check_premise`; `reasons` says in words what led to the verdict.

    `policies` holds r with its Fisher interval where ties count "half", as "wrong", or are left out ("decided");
    `tie_rate` is the rules' mean, and `r_tie_rate` its correlation with entropy: NaN where no rule ties.
    """

    verdict: Verdict
    reasons: tuple[str, ...]
    r: float
    fisher: tuple[float, float]
    bootstrap: tuple[float, float]
    rules: int
    leave_one_out: dict[str, float]
    variants: dict[str, tuple[float, float, float]]
    grid_sizes: dict[str, int]
    weight_ratio: float
    effective_rules: float
    distance_from_uniform: float
    gain: Interval
    policies: dict[str, tuple[float, float, float]]
    tie_rate: float
    r_tie_rate: float


def check_premise(
    view: View,
    settings: CompositionSettings,
    entropy: np.ndarray,
    gain: Interval,
    key: jax.Array,
    replicates: int,
    judged_on: str = "held-out comparisons",
) -> Premise:
    """Judges the premise on a view's training ratings and test comparisons.

    Args:
      view: the data.
      settings: how entropies and weights are made.
      entropy: ``[K]``, by these settings.
      gain: accuracy of ENCORE minus uniform on the test comparisons, paired.
      key, replicates: of the bootstrap.
      judged_on: what the test comparisons are called.
    """
    counted = rule_accuracy(view.test.scores, view.test.preferred)
    accuracy = np.asarray(counted.ties_half)
    correlation = entropy_accuracy_correlation(entropy, accuracy)
    r_samples = bootstrap_correlation(view, settings, key, replicates)
    low, high = percentile_interval(r_samples)
    sizes = [grid.size for grid in observed_grids(view.ratings, view.rated)]
    weights = np.asarray(entropy_weights(entropy, settings.tau))
    uniform = 1 / len(weights)
    leave_one_out = _leave_one_out(entropy, accuracy, view.rules)
    facts = dict(
        r=correlation.r,
        fisher=(correlation.low, correlation.high),
        bootstrap=(float(low), float(high)),
        rules=correlation.n,
        leave_one_out=leave_one_out,
        variants=_variants(view, settings, accuracy),
        grid_sizes=dict(zip(view.rules, sizes, strict=True)),
        weight_ratio=float(weights.max() / weights.min()),
        effective_rules=float(effective_rules(weights)),
        distance_from_uniform=float(np.abs(weights - uniform).sum() / 2),
        gain=gain,
        **_ties(entropy, counted),
    )
    verdict, reasons = _judge(facts, view, judged_on)
    return Premise(verdict=verdict, reasons=tuple(reasons), **facts)


def bootstrap_correlation(view: View, settings: CompositionSettings, key: jax.Array, replicates: int) -> np.ndarray:
    """r(H, accuracy) ``[R]`` with training prompts (for H) and test prompts (for accuracy) drawn again."""
    rating_key, test_key = jax.random.split(key)
    edges = bin_edges(settings.bins, settings.scale) if settings.bins else level_edges(settings.levels, settings.scale)
    counts = _counts_by_response(view.ratings.astype(np.float32), view.rated, np.asarray(edges, np.float32))
    counts = cluster_sums(counts, view.rating_cluster, int(view.rating_cluster.max()) + 1)
    counts = resampled_totals(_present(counts, view.rating_cluster), rating_key, replicates)
    entropy = entropy_of_counts(counts, miller_madow=settings.estimator == "miller_madow", normalize=settings.normalize)
    return np.asarray(pearson(entropy, bootstrap_accuracy(view.test, test_key, replicates)))


@jax.jit
def _counts_by_response(ratings_RxK, rated_RxK, edges):
    return jax.vmap(lambda rating, rated: rating_counts(rating[None], rated[None], edges))(ratings_RxK, rated_RxK)


def bootstrap_accuracy(pairs: Pairs, key: jax.Array, replicates: int) -> np.ndarray:
    """Each rule's accuracy ``[R, K]`` (ties half) over resampled prompts."""
    first = pairs.first_preferred
    counted = np.concatenate([credit(first[:, 0] - first[:, 1]), np.ones((len(first), 1))], 1)
    sums = cluster_sums(counted, pairs.cluster, int(pairs.cluster.max()) + 1)
    totals = resampled_totals(_present(sums, pairs.cluster), key, replicates)
    return totals[:, :-1] / totals[:, -1:]


def _present(sums: np.ndarray, cluster: np.ndarray) -> np.ndarray:
    return sums[np.unique(cluster)]


def _leave_one_out(entropy, accuracy, rules) -> dict[str, float]:
    keep = ~np.eye(len(rules), dtype=bool)
    return {name: entropy_accuracy_correlation(entropy[keep[k]], accuracy[keep[k]]).r for k, name in enumerate(rules)}


def _ties(entropy: np.ndarray, counted: Accuracy) -> dict:
    """r under every policy of ties, and what entropy has to do with ties."""
    accuracies = {"half": counted.ties_half, "wrong": counted.ties_wrong, "decided": counted.decided}
    correlations = {name: entropy_accuracy_correlation(entropy, value) for name, value in accuracies.items()}
    rate = np.asarray(counted.ties / counted.n, np.float32)
    return {
        "policies": {name: (c.r, c.low, c.high) for name, c in correlations.items()},
        "tie_rate": float(rate.mean()),
        "r_tie_rate": float(entropy_accuracy_correlation(entropy, rate).r),
    }


def _variants(view, settings, accuracy) -> dict[str, tuple[float, float, float]]:
    """r with its Fisher interval under other ways to measure entropy, each on one common footing for all rules."""
    alternatives = {
        "as configured": settings,
        "each rule's own levels (H / log m)": dataclasses.replace(settings, normalize="observed"),
        "5 levels": dataclasses.replace(settings, levels=5, bins=0),
        "2 levels": dataclasses.replace(settings, levels=2, bins=0),
        "bias-corrected": dataclasses.replace(settings, estimator="miller_madow"),
        "differential (KDE)": dataclasses.replace(settings, estimator="kde"),
    }
    result = {}
    for name, alternative in alternatives.items():
        with warnings.catch_warnings():  # said once already, about the configured entropy
            warnings.simplefilter("ignore", RatingsWarning)
            entropy = alternative.entropy(view.ratings, view.rated)
        usable = np.isfinite(entropy)
        c = entropy_accuracy_correlation(entropy[usable], accuracy[usable])
        result[name] = (c.r, c.low, c.high)
    return result


def _r(value: float) -> str:
    """A correlation in words, which is none where one side never varies.

    >>> _r(-0.305), _r(float("nan"))
    ('-0.30', 'not defined')
    """
    return "not defined" if math.isnan(value) else f"{value:+.2f}"


def _judge(facts: dict, view: View, judged_on: str) -> tuple[Verdict, list[str]]:
    r, fisher, bootstrap, gain = facts["r"], facts["fisher"], facts["bootstrap"], facts["gain"]
    lowest, highest = min(fisher[0], bootstrap[0]), max(fisher[1], bootstrap[1])
    if math.isnan(r):
        reasons = [
            f"r(entropy, accuracy) is not defined over {facts['rules']} rules: all of them have the same accuracy, or "
            "the same entropy. ENCORE needs it negative."
        ]
    else:
        reasons = [
            f"r(entropy, accuracy) = {_r(r)} over {facts['rules']} rules; 95 % interval over rules "
            f"[{_r(fisher[0])}, {_r(fisher[1])}], over prompts [{_r(bootstrap[0])}, {_r(bootstrap[1])}]; "
            "ENCORE needs it negative."
        ]
    if facts["tie_rate"] >= FEW_TIES:
        r_of = {name: _r(value) for name, (value, *_) in facts["policies"].items()}
        reasons.append(
            f"Rules tie on {100 * facts['tie_rate']:.1f} % of the comparisons, on average, and a tie counts half: "
            f"r(entropy, tie rate) = {_r(facts['r_tie_rate'])}. With ties wrong r is {r_of['wrong']}, among decided "
            f"comparisons only {r_of['decided']}: what differs between these is the ties' doing."
        )
    without = {name: value for name, value in facts["leave_one_out"].items() if not math.isnan(value)}
    if without:
        weakest, strongest = min(without, key=without.get), max(without, key=without.get)
        reasons.append(
            f"Leaving one rule out moves r between {without[weakest]:+.2f} (without {weakest}) and "
            f"{without[strongest]:+.2f} (without {strongest})."
        )
    reasons.append(
        f"The weights' largest ratio is {facts['weight_ratio']:.2f}; they act like {facts['effective_rules']:.1f} of "
        f"{len(view.rules)} equal rules and move {100 * facts['distance_from_uniform']:.1f} % of the weight."
    )
    reasons.append(
        f"ENCORE minus uniform on {len(view.test)} {judged_on}: {100 * gain.value:+.1f} points, 95 % interval "
        f"[{100 * gain.low:+.1f}, {100 * gain.high:+.1f}]."
    )
    constant = [rule for rule, size in facts["grid_sizes"].items() if size == 1]
    if constant:
        reasons.append(
            f"Never varies and yet weighs most, because its entropy is 0: {', '.join(constant)}. Drop such rules."
        )
    sizes = {size for size in facts["grid_sizes"].values() if 1 < size <= MAX_GRID}
    if len(sizes) > 1:
        reasons.append(
            f"The rules are rated on grids of {min(sizes)} to {max(sizes)} levels, so part of any entropy difference "
            "is the grid's, not the judge's; see the common-footing variants."
        )
    if highest < 0:
        return "holds", reasons
    if lowest > 0 or gain.high < 0 or (fisher[0] > 0) or (bootstrap[0] > 0):
        return "does not hold", reasons
    return "cannot tell at this size", reasons
