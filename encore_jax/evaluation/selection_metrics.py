"""How well critical rules are predicted: retrieval metrics, per-rule AUC, calibration, and the floors beside them.

The accuracy of 100 yes/no answers of which 5 are yes is 0.905 for a random choice, and its macro-F1 about 0.50: neither
is used. Recall@r of a random choice is r/K, and a constant choice of the rules that are most often critical is a floor
that is often hard to beat, because it reads no text.

Letters: N comparisons, K rules.
"""

from __future__ import annotations

import warnings

import jax
import numpy as np
from jaxtyping import Bool, Float, Int

from encore_jax.composition import random_rules, selected, top_rules
from encore_jax.errors import InputError

BINS = 10
"""Of the calibration table, equally wide."""


def recall_and_precision(
    rules: Int[np.ndarray, "N s"], critical: Bool[np.ndarray, "N K"]
) -> tuple[Float[np.ndarray, " N"], Float[np.ndarray, " N"]]:
    """Of every comparison: the share of its critical rules among the s predicted, and of the predicted that are
    critical. NaN where there is no critical rule, or no prediction."""
    predicted = np.asarray(selected(rules, critical.shape[1]))
    hits = (predicted & critical).sum(1)
    with np.errstate(invalid="ignore"):
        return hits / critical.sum(1), hits / predicted.sum(1)


def average_precision(scores: Float[np.ndarray, "N K"], critical: Bool[np.ndarray, "N K"]) -> Float[np.ndarray, " N"]:
    """Average precision of every comparison's ranking of the rules, ties taken together as scikit-learn does; their
    mean is mAP. NaN where no rule is critical."""
    scores, critical = np.asarray(scores, np.float64), np.asarray(critical, bool)
    order = np.argsort(-scores, axis=1, kind="stable")
    ranked, hits = np.take_along_axis(scores, order, 1), np.take_along_axis(critical, order, 1)
    total = hits.cumsum(1)
    last = np.ones(ranked.shape, bool)
    last[:, :-1] = ranked[:, :-1] != ranked[:, 1:]  # the end of a run of equal scores
    precision = total / np.arange(1, ranked.shape[1] + 1)[None]
    gained = np.where(last, total, 0)
    before = np.concatenate([np.zeros((len(scores), 1)), np.maximum.accumulate(gained, 1)[:, :-1]], 1)
    with np.errstate(invalid="ignore"):
        return np.where(last, (total - before) * precision, 0).sum(1) / critical.sum(1)


def auc_per_rule(scores: Float[np.ndarray, "N K"], critical: Bool[np.ndarray, "N K"]) -> Float[np.ndarray, " K"]:
    """Area under each rule's ROC curve, from mid-ranks; NaN for a rule that is always, or never, critical."""
    scores, critical = np.asarray(scores, np.float64), np.asarray(critical, bool)
    found = np.full(scores.shape[1], np.nan)
    for k in range(scores.shape[1]):
        positive = int(critical[:, k].sum())
        negative = len(scores) - positive
        if positive and negative:
            _, place, counts = np.unique(scores[:, k], return_inverse=True, return_counts=True)
            ranks = (np.cumsum(counts) - (counts - 1) / 2)[place]
            rank_sum = ranks[critical[:, k]].sum()
            found[k] = (rank_sum - positive * (positive + 1) / 2) / (positive * negative)
    return found


def calibration(probability: Float[np.ndarray, "N K"], critical: Bool[np.ndarray, "N K"]) -> dict:
    """Brier score, expected calibration error, and the table behind it: predicted and observed share by bin."""
    p, y = np.asarray(probability, np.float64).ravel(), np.asarray(critical, float).ravel()
    if p.size == 0 or p.min() < 0 or p.max() > 1:
        raise InputError("these are no probabilities", where="calibration", fix="pass values between 0 and 1")
    place = np.minimum((p * BINS).astype(int), BINS - 1)
    table, error = [], 0.0
    for b in range(BINS):
        inside = place == b
        if inside.any():
            predicted, observed = float(p[inside].mean()), float(y[inside].mean())
            table.append({"n": int(inside.sum()), "predicted": predicted, "observed": observed})
            error += inside.mean() * abs(predicted - observed)
    return {"brier": float(np.mean((p - y) ** 2)), "expected_error": float(error), "bins": table}


def consistency(rules: Int[np.ndarray, "2 N s"]) -> float:
    """Mean share of the s rules that are chosen in both orders of the responses."""
    first, second = rules
    return float((first[:, :, None] == second[:, None, :]).any(2).mean())


def adapter_metrics(
    probability: Float[np.ndarray, "2 N K"],
    critical: Bool[np.ndarray, "N K"],
    train_share: Float[np.ndarray, " K"],
    r: int,
    rules: tuple[str, ...],
    seed: int,
) -> dict:
    """Everything the report says of an adapter, with both floors.

    Args:
      probability: in both orders; their mean is what the adapter says.
      critical: held-out truth.
      train_share: how often each rule was critical in training, from which the most frequent rules come.
      r: rules selected.
      rules: names.
      seed: of the random floor.

    Returns:
      Per chooser ("adapter", "most frequent", "random") recall, precision, mAP, macro AUC and per-comparison values
      (`each`, for intervals); per rule AUC and train_share; calibration; consistency of the two orders.
    """
    n, num_rules = critical.shape
    mean = probability.mean(0)
    noise = np.asarray(jax.random.uniform(jax.random.key(seed), (n, num_rules)))
    choosers = {
        "adapter": (mean, np.asarray(top_rules(mean, r))),
        "most frequent": (np.broadcast_to(train_share, mean.shape), None),
        "random": (noise, np.asarray(random_rules(jax.random.key(seed), np.ones(mean.shape, bool), r))),
    }
    found = {}
    for name, (scores, chosen) in choosers.items():
        chosen = np.asarray(top_rules(scores, r)) if chosen is None else chosen
        recall, precision = recall_and_precision(chosen, critical)
        ranking = average_precision(scores, critical)
        found[name] = {
            "recall": _mean(recall),
            "precision": _mean(precision),
            "map": _mean(ranking),
            "macro_auc": _mean(auc_per_rule(scores, critical)),
            "each": {"recall": recall, "precision": precision, "map": ranking},
        }
    auc = auc_per_rule(mean, critical)
    both = np.stack([np.asarray(top_rules(p, r)) for p in probability])
    return {
        "choosers": found,
        "rules": [
            {"name": name, "auc": float(auc[k]), "train_share": float(train_share[k]),
             "share": float(critical[:, k].mean())}
            for k, name in enumerate(rules)
        ],
        "calibration": calibration(mean, critical),
        "consistency": consistency(both),
        "mean_difference_of_orders": float(np.abs(probability[0] - probability[1]).mean()),
        "random_recall": r / num_rules,
    }  # fmt: skip


def _mean(values: np.ndarray) -> float:
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Mean of empty slice", RuntimeWarning)
        return float(np.nanmean(values))
