"""Turns a view into results: every rule, every method, intervals, the premise. Plain dictionaries, ready for JSON."""

from __future__ import annotations

import dataclasses
import math
import warnings

import jax
import numpy as np

from encore_jax.composition import Margin, RatingsWarning, rule_accuracy
from encore_jax.composition.checks import observed_grids
from encore_jax.composition.settings import COMPOSED_BY, CompositionSettings
from encore_jax.errors import InputError
from encore_jax.evaluation.bootstrap import cluster_sums, percentile_interval, resampled_totals
from encore_jax.evaluation.method_names import REFERENCE, SINGLE
from encore_jax.evaluation.methods import Method, half_credit, weightings
from encore_jax.evaluation.paired import against_reference, pairwise
from encore_jax.evaluation.premise import Interval, bootstrap_accuracy, check_premise
from encore_jax.evaluation.rule_agreement import RuleAgreement, rule_agreement
from encore_jax.evaluation.sensitivity import (
    AGREEMENT_WEIGHTS,
    FITS,
    LEVELS,
    TAUS,
    agreement_sensitivity,
    sensitivity,
)
from encore_jax.evaluation.view import View

"""The method every other is compared with, pair by pair."""


@dataclasses.dataclass(frozen=True, eq=False)
class Scored:
    """A method's credit and ties per test comparison, averaged over its draws, and the draws' spread."""

    method: Method
    credit: np.ndarray
    ties: np.ndarray
    draw_sd: float


@dataclasses.dataclass(frozen=True, eq=False)
class Composition:
    """What a view's rules weigh.

    Attributes:
      entropy: ``[K]``.
      methods: every method with its weights; those that are refused say why.
      agreement: what the rules have in common.
      chosen: name of the method that composes the reward.
      warnings: what was to be warned of.
    """

    entropy: np.ndarray
    methods: list[Method]
    agreement: RuleAgreement
    chosen: str
    warnings: list[str]

    @property
    def composed_by(self) -> Method:
        """The method that composes the reward."""
        return next(method for method in self.methods if method.name == self.chosen)

    @property
    def weights(self) -> np.ndarray:
        """Weights ``[K]`` of the composed reward; NaN where its method is refused."""
        return np.full(len(self.entropy), np.nan) if self.composed_by.refused else self.composed_by.weights


def compose_view(view: View, settings: CompositionSettings, seed: int) -> Composition:
    """Entropies, what the rules have in common, and all weightings of a view.

    Raises:
      InputError: there is no rule of the anchor's name.
    """
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", RatingsWarning)
        entropy = settings.entropy(view.ratings, view.rated, view.rules)
    anchor = settings.anchor if settings.anchor in view.rules or view.name == "heads" else ""
    known = entropy if np.isfinite(entropy).all() else None
    agreement = rule_agreement(view.train, view.rules, entropy=known, tau=settings.tau, anchor=anchor, seed=seed)
    methods = weightings(view, settings, entropy, jax.random.key(seed), agreement)
    said = sorted({str(w.message) for w in caught})
    return Composition(entropy, methods, agreement, COMPOSED_BY[settings.method], said)


def ratings_entropy(view: View) -> np.ndarray | None:
    """Entropies ``[K]`` of a view's ratings by the settings that a run has unless told otherwise; None if unknown.

    So whoever reads a run's view later weighs by entropy as the run did.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RatingsWarning)
        try:
            entropy = CompositionSettings().entropy(view.ratings, view.rated, view.rules)
        except InputError:  # ratings off the scale from 0 to 1, or none
            return None
    return entropy if np.isfinite(entropy).all() else None


def evaluate_view(
    view: View, composition: Composition, settings: CompositionSettings, seed: int, replicates: int = 2000
) -> dict:
    """Everything `results.json` says about one view.

    Args:
      view: the data.
      composition: of this view.
      settings: how entropies became weights.
      seed: of the bootstrap.
      replicates: bootstrap replicates; test comparisons are resampled by prompt.
    """
    test_key, premise_key = jax.random.split(jax.random.key(seed))
    entropy, methods = composition.entropy, composition.methods
    refused = [method for method in methods if method.refused]
    methods = [method for method in methods if not method.refused]
    scored = [_score(view, method) for method in methods] + _score_rewards(view)
    accuracy = _with_intervals(view, scored, test_key, replicates)
    names, credit = [s.method.name for s in scored], np.stack([s.credit for s in scored], 1)
    flip_key = jax.random.fold_in(test_key, 1)
    tests = against_reference(names.index(REFERENCE), credit, view.test.cluster, flip_key)
    compared = [m for m, s in enumerate(scored) if not s.method.name.startswith(SINGLE)]
    gain = Interval(**accuracy["ENCORE"]["minus_uniform"])
    premise = check_premise(view, settings, entropy, gain, premise_key, replicates)
    return {
        "name": view.name,
        "label": view.label,
        "description": view.description,
        "comparisons": {"train": len(view.train), "test": len(view.test)},
        "prompts": {"train": _distinct(view.train.cluster), "test": _distinct(view.test.cluster)},
        "settings": dataclasses.asdict(settings),
        "warnings": composition.warnings,
        "premise": dataclasses.asdict(premise) | {"gain": premise.gain._asdict()},
        "rules": _rules(view, composition, settings, test_key, replicates),
        "methods": [
            {"name": s.method.name, "sees": s.method.sees, "oracle": s.method.is_oracle, "draw_sd": s.draw_sd}
            | accuracy[s.method.name]
            | {"test": test}
            for s, test in zip(scored, tests, strict=True)
        ],
        "refused": [{"name": method.name, "sees": method.sees, "why": method.refused} for method in refused],
        "weighting": composition.chosen,
        "agreement": agreement_facts(composition.agreement),
        "pairs": pairwise([names[m] for m in compared], credit[:, compared], view.test.cluster, flip_key),
        "sensitivity": {
            "tau": list(TAUS),
            "levels": list(LEVELS),
            "accuracy": sensitivity(view, settings).tolist(),
            "agreement": _agreement_sensitivity(view, composition.agreement),
        },
    }


def _agreement_sensitivity(view: View, found: RuleAgreement) -> dict | None:
    """None where the pool of rules justifies no agreement weights, or a part of it is followed."""
    if found.refused or found.camp:
        return None
    return {"fits": list(FITS), "weights": list(AGREEMENT_WEIGHTS), "accuracy": agreement_sensitivity(view)}


def agreement_facts(found: RuleAgreement) -> dict:
    """What `results.json` says of a view's agreement; numbers that are unknown are NaN."""
    return {
        "verdict": found.verdict,
        "recommendation": found.recommendation,
        "use": found.use,
        "refused": found.refused,
        "effective_rules": float(found.effective_rules),
        "follows": list(found.camp),
        "follows_by": found.camp_by,
    }


def finite(value):
    """The same value with null for numbers that JSON cannot hold: an accuracy of nothing, a bound at infinity."""
    if isinstance(value, dict):
        return {name: finite(item) for name, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _distinct(cluster: np.ndarray) -> int:
    return int(np.unique(cluster).size)


def _score(view: View, method: Method) -> Scored:
    credit, ties = half_credit(view.test, method.weights, method.critical)
    if credit.ndim == 1:
        return Scored(method, credit, ties.astype(np.float64), 0.0)
    return Scored(method, credit.mean(1), ties.mean(1), float(credit.mean(0).std()))


def _score_rewards(view: View) -> list[Scored]:
    """Methods that are no weighting of the rules: they come with rewards of their own."""
    sign = 1 - 2 * view.test.preferred.astype(np.float32)
    scored = []
    for name, (sees, reward) in view.rewards().items():
        margin = Margin((reward[:, 0] - reward[:, 1]) * sign)
        scored.append(Scored(Method(name, sees, None), margin.credit, margin.tied.astype(np.float64), 0.0))
    return scored


def _with_intervals(view: View, scored: list[Scored], key: jax.Array, replicates: int) -> dict[str, dict]:
    """Accuracy of every method with paired intervals: overall, per subset, and the subsets' mean."""
    subsets, subset_of = np.unique(view.test.subset, return_inverse=True)
    member = np.eye(len(subsets), dtype=np.float32)[subset_of]
    columns = np.stack([s.credit for s in scored], 1).astype(np.float32)
    stacked = np.concatenate([columns, np.ones((len(columns), 1), np.float32)], 1)
    per_subset = member[:, :, None] * stacked[:, None, :]
    sums = cluster_sums(per_subset, view.test.cluster, int(view.test.cluster.max()) + 1)
    sums = sums[np.unique(view.test.cluster)]
    totals = np.asarray(resampled_totals(sums, key, replicates), np.float64)
    with np.errstate(invalid="ignore", divide="ignore"):
        by_subset = totals[:, :, :-1] / totals[:, :, -1:]
        overall = totals[:, :, :-1].sum(1) / totals[:, :, -1:].sum(1)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # a replicate may miss every prompt of a subset
        macro = np.nanmean(by_subset, axis=1)
    names = [s.method.name for s in scored]
    reference = names.index(REFERENCE)
    sizes = member.sum(0)
    macro_point = np.mean((member.T @ columns) / sizes[:, None], 0)
    result = {}
    for m, s in enumerate(scored):
        entry = _interval(s.credit.mean(), overall[:, m])
        difference = _interval((s.credit - scored[reference].credit).mean(), overall[:, m] - overall[:, reference])
        result[s.method.name] = {
            "n": len(s.credit),
            "correct": float((s.credit - 0.5 * s.ties).sum()),
            "ties": float(s.ties.sum()),
            "accuracy": entry,
            "accuracy_ties_wrong": float((s.credit - 0.5 * s.ties).mean()),
            "subset_mean": _interval(macro_point[m], macro[:, m]),
            "minus_uniform": difference,
            "subsets": {
                str(subset): {
                    "n": int(sizes[j]),
                    "correct": float((s.credit - 0.5 * s.ties)[subset_of == j].sum()),
                    "ties": float(s.ties[subset_of == j].sum()),
                    "accuracy": _interval(s.credit[subset_of == j].mean(), by_subset[:, j, m]),
                }
                for j, subset in enumerate(subsets)
            },
        }
    return result


def _interval(value: float, samples: np.ndarray) -> dict[str, float]:
    low, high = percentile_interval(samples)
    return Interval(float(value), float(low), float(high))._asdict()


def _rules(view: View, composition: Composition, settings: CompositionSettings, key, replicates) -> list[dict]:
    """One row per rule; with the methods' bootstrap `key`, a rule's interval is that of its single-rule method."""
    accuracy = rule_accuracy(view.test.scores, view.test.preferred)
    half, wrong, decided = map(np.asarray, (accuracy.ties_half, accuracy.ties_wrong, accuracy.decided))
    samples = bootstrap_accuracy(view.test, key, replicates)
    grids = observed_grids(view.ratings, view.rated)
    low, high = settings.scale
    edges = np.linspace(low - (high - low) / 20, high + (high - low) / 20, 12)  # 11 cells, centred on 11 levels
    rows, found = [], composition.agreement
    for k, name in enumerate(view.rules):
        values = view.ratings[view.rated[:, k], k]
        counts, _ = np.histogram(values, bins=edges)
        rows.append(
            {
                "name": name,
                "n": int(values.size),
                "entropy": float(composition.entropy[k]),
                "bins": int(grids[k].size),
                "mean": float(values.mean()),
                "variance": float(values.var()),
                "histogram": counts.tolist(),
                "accuracy": _interval(half[k], np.asarray(samples)[:, k]),
                "accuracy_ties_wrong": float(wrong[k]),
                "accuracy_decided": float(decided[k]),
                "ties": int(accuracy.ties[k]),
                "comparisons": int(accuracy.n[k]),
                "weight": float(composition.weights[k]),
                "loading": Interval(*(float(part[k]) for part in (found.loading, found.low, found.high)))._asdict(),
            }
        )
    return rows
