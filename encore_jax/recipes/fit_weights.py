"""Weights of a fitted model's heads, by entropy, by agreement or none; and what the heads have in common.

Letters: R rated responses, K rules.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from encore_jax.composition import entropy_weights
from encore_jax.composition.agreement import FEWEST_RULES
from encore_jax.composition.settings import CompositionSettings
from encore_jax.errors import InputError
from encore_jax.evaluation.agreement_warning import agreement_warning
from encore_jax.evaluation.recommendation import recommendation
from encore_jax.evaluation.reliability import Reliability, reliability
from encore_jax.evaluation.rule_agreement import DRAWS, few_rules, refusal
from encore_jax.reward.rated_rows import RatedRows


class HeadsAgreement:
    """What heads have in common, by their scores of the rated responses.

    Args:
      rows: the ratings.
      scores: ``[R, K]`` of the responses by heads; NaN where there are none.
      prompt: ``[R]``, the prompt's number of every response.
      anchor: a rule about quality; "" for none.
      asked: whether weights are wanted: then what cannot be measured is refused, and else noted.

    Raises:
      InputError: weights are wanted, and the scores cannot be measured.
    """

    def __init__(self, rows: RatedRows, scores: np.ndarray, prompt: np.ndarray, anchor: str, asked: bool):
        self.rows, self.scores, self.note = rows, scores, ""
        known = np.isfinite(scores).all(1)
        self.both = known[rows.pair].all(1)
        self.found: Reliability | None = None
        options = {"rules": rows.rules, "anchor": anchor or None}
        if len(rows.rules) < FEWEST_RULES and not asked:
            self.note = few_rules(len(rows.rules))[0]
            return
        try:
            pair = rows.pair[self.both]
            if len(pair):
                self.found = reliability(
                    scores[pair], rows.preferred[self.both], prompt=prompt[pair[:, 0]], draws=DRAWS, **options
                )
            else:
                self.found = reliability(scores[known], prompt=prompt[known], draws=DRAWS, **options)
        except InputError as error:
            if asked:
                raise
            self.note = error.problem
            return
        self.note = refusal(self.found) if "agreement" not in self.found.weights else self.found.common.verdict

    def facts(self) -> dict[str, Any]:
        """The fields of a passport that hold it."""
        if self.found is None:
            return {"agreement_note": self.note}
        weights = self.found.weights.get("agreement")
        loading = self.found.common.loading if weights is None else self.found.agreement_loading
        facts = {"loading": tuple(np.nan_to_num(loading).astype(float).tolist()), "agreement_note": self.note}
        if weights is None:
            return facts
        return facts | {"agreement": tuple(weights.tolist()), "agreement_warning": self._warning(weights, loading)}

    def _warning(self, weights: np.ndarray, loading: np.ndarray) -> str:
        rows = self.rows
        said = self.both & (rows.preferred >= 0)
        of_ratings = None
        rated = rows.mask[rows.pair].all((1, 2))
        if rated.any() and self.found.camp is None:  # a part's loadings are on another thing than those of all
            try:
                of_ratings = reliability(rows.ratings[rows.pair[rated]], rules=rows.rules, draws=20).common.loading
            except InputError:  # ratings that say nothing have no loadings to compare with
                of_ratings = None
        scores = self.scores[rows.pair[said]]
        return agreement_warning(rows.rules, weights, scores, rows.preferred[said], loading, of_ratings)


def composed_weights(compose: CompositionSettings, entropy: np.ndarray, heads: HeadsAgreement) -> np.ndarray:
    """Weights ``[K]`` by the method that the settings name.

    Labels count for one thing: where what the rules have in common splits into parts, they say which one is meant.

    Args:
      compose: the settings.
      entropy: ``[K]``, of the ratings.
      heads: what they have in common.

    Raises:
      InputError: the ratings do not justify them.
    """
    if compose.method == "uniform":
        return np.full(len(entropy), 1 / len(entropy))
    by_entropy = np.asarray(entropy_weights(entropy, compose.tau))
    if compose.method == "entropy":
        return by_entropy
    if "agreement" not in heads.found.weights:
        fix = "compose=CompositionSettings(method='entropy'), or name a rule about quality as its anchor"
        raise InputError(f"is refused: {recommendation(heads.found)}", where=f"method {compose.method!r}", fix=fix)
    weights = heads.found.weights["agreement"] * (by_entropy if compose.method == "agreement_entropy" else 1)
    return weights / weights.sum()
