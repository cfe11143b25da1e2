"""Results of joint training: what every arm's rewards are worth, where it was trained and elsewhere.

Letters: N comparisons, K rules, H = K + 1 heads, the preference head last.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from encore_jax.composition import Margin, composed_margins
from encore_jax.composition.settings import ENCORE, UNIFORM
from encore_jax.evaluation.ramo import interval_of_means
from encore_jax.model.heads import PREFERENCE

PREFERENCE_HEAD = f"{PREFERENCE} head"
METHODS = {
    "preferences": (PREFERENCE_HEAD,),
    "rules": (ENCORE, UNIFORM),
    "joint": (PREFERENCE_HEAD, ENCORE, UNIFORM),
}
"""The rewards that each arm has learnt: heads that its loss does not reach are left out."""
JOINT_REWARD = "joint", PREFERENCE_HEAD
"""The arm and its reward that are asked whether joint training helps."""
ARM_WORDS = {"preferences": "preferences alone", "rules": "rules alone", "joint": "joint"}


def joint_margins(scores: np.ndarray, weights: Mapping[str, np.ndarray], method: str) -> Margin:
    """Margins ``[N]`` of one model's reward by a method.

    Args:
      scores: ``[N, 2, H]``, the preferred response first.
      weights: ``[K]`` of the rules by method; the preference head needs none.
      method: of `METHODS`.
    """
    if method == PREFERENCE_HEAD:
        return Margin(scores[:, 0, -1] - scores[:, 1, -1])
    first = np.zeros(len(scores), np.int32)
    return Margin(*map(np.asarray, composed_margins(scores[..., :-1], weights[method], first)))


def accuracy_rows(
    cells: Sequence[Mapping[str, str]],
    scores: Mapping[str, np.ndarray],
    weights: Mapping[str, Mapping[str, np.ndarray]],
    domain: np.ndarray,
    cluster: np.ndarray,
    seed: int,
    replicates: int,
) -> list[dict]:
    """Accuracy of every reward of every model on the held-out comparisons of every domain.

    Args:
      cells: arm, domain trained on and name of every model.
      scores: ``[N, 2, H]`` by model, the preferred response first.
      weights: of the rules, by domain trained on and method.
      domain, cluster: ``[N]``, the comparisons' domains and prompts.
      seed, replicates: of the bootstrap.

    Returns:
      One dict per model, tested domain and reward: accuracy (a tie counts half) and its difference from the preference
      head of preferences alone, trained on the same, on the same comparisons, both with 95 % intervals over prompts;
      the difference is None for that reward itself, and where that arm was not trained. `together` is the same
      difference of the joint preference head (None of every other reward) with an interval so wide that those of all
      its rows hold at once 95 % of the time (Bonferroni).
    """
    credit = {
        (cell["trained_on"], cell["arm"], method): joint_margins(
            scores[cell["name"]], weights[cell["trained_on"]], method
        ).credit
        for cell in cells
        for method in METHODS[cell["arm"]]
    }
    compared = [trained for trained, arm, _ in credit if arm == "preferences" and (trained, *JOINT_REWARD) in credit]
    level = 1 - 0.05 / max(1, len(compared) * len(np.unique(domain)))
    rows = []
    for tested in np.unique(domain):
        own = domain == tested
        for (trained, arm, method), values in credit.items():
            base = credit.get((trained, "preferences", PREFERENCE_HEAD))
            beside = base is not None and arm != "preferences"
            together = beside and (arm, method) == JOINT_REWARD
            options = cluster[own], seed, replicates
            rows.append({
                "trained_on": trained,
                "tested_on": str(tested),
                "arm": arm,
                "words": ARM_WORDS[arm],
                "method": method,
                "n": int(own.sum()),
                "prompts": len(np.unique(cluster[own])),
                "accuracy": interval_of_means(values[own], *options),
                "minus_preferences": interval_of_means((values - base)[own], *options) if beside else None,
                "together": interval_of_means((values - base)[own], *options, level) if together else None,
            })  # fmt: skip
    return rows


def error_rows(
    cells: Sequence[Mapping[str, str]],
    scores: Mapping[str, np.ndarray],
    ratings: np.ndarray,
    rated: np.ndarray,
    means: Mapping[str, np.ndarray],
    domain: np.ndarray,
    cluster: np.ndarray,
    seed: int,
    replicates: int,
) -> list[dict]:
    """Squared error of the rule heads on held-out ratings, each comparison's mean over its rated entries.

    Args:
      cells, scores, domain, cluster, seed, replicates: as in `accuracy_rows`.
      ratings, rated: ``[N, 2, K]``.
      means: ``[K]``, mean training ratings by domain trained on, which is what knows no text.

    Returns:
      One dict per trained domain, tested domain and arm with rules, and one of the constant: error with its interval,
      and its difference from that of rules alone (None for that arm, or without it). Domains without a rated held-out
      comparison have none.
    """

    def errors(predicted: np.ndarray) -> np.ndarray:
        count = rated.sum((1, 2))
        total = np.where(rated, (predicted - ratings) ** 2, 0).sum((1, 2))
        return np.where(count > 0, total / np.maximum(count, 1), np.nan)

    found = {}
    for cell in cells:
        trained = cell["trained_on"]
        found.setdefault((trained, "constant"), errors(means[trained]))
        if cell["arm"] != "preferences":
            found[trained, cell["arm"]] = errors(scores[cell["name"]][..., :-1])
    rows = []
    for tested in np.unique(domain):
        own = domain == tested
        for (trained, arm), values in found.items():
            if not np.isfinite(values[own]).any():
                continue
            base, options = found.get((trained, "rules")), (cluster[own], seed, replicates)
            beside = base is not None and arm != "rules"
            rows.append({
                "trained_on": trained,
                "tested_on": str(tested),
                "arm": arm,
                "words": ARM_WORDS.get(arm, "the mean of the training ratings"),
                "n": int(np.isfinite(values[own]).sum()),
                "error": interval_of_means(values[own], *options),
                "minus_rules": interval_of_means((values - base)[own], *options) if beside else None,
            })  # fmt: skip
    return rows
