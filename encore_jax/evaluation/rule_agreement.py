"""What a view's rules have in common, and the weights that follow: from the scores of its training comparisons.

No label is looked at for the weights. Training labels are used for two other things: for the sentence that recommends a
weighting, and, where the pool splits, to tell which part of it is about quality.
"""

from __future__ import annotations

import dataclasses
import json

import numpy as np

from encore_jax.composition.agreement import FEWEST_RULES, agreement_weights
from encore_jax.composition.moments import grouped_moments, rating_rows, spreads
from encore_jax.errors import InputError
from encore_jax.evaluation.recommendation import recommendation
from encore_jax.evaluation.reliability import Reliability, reliability
from encore_jax.evaluation.view import Pairs

DRAWS = 500
"""Bootstrap draws of prompts, for the intervals of loadings and of the correlation between camps."""


@dataclasses.dataclass(frozen=True, eq=False)
class RuleAgreement:
    """What agreement says of K rules.

    Attributes:
      verdict: what the rules have in common, in words; "" with fewer than three rules.
      effective_rules: how many independent rules would average as well; NaN if unknown.
      loading, low, high: ``[K]``, on what the weights follow, with 95 % intervals over prompts (NaN where a camp is
        followed); NaN for a rule of which nothing is known.
      weights: ``[K]``, Bartlett's; None where they are refused.
      scale: ``[K]``, loading over spread: what a rule's margin is multiplied by to find critical rules; None as above.
      refused: why there are no weights, in words; "" if there are.
      camp: names of the rules that the weights follow, if the pool splits and an anchor or labels choose; else empty.
      camp_by: "anchor" or "train labels", if the pool splits and one of them chooses.
      recommendation: which weighting to use on these data, how sure that is, and what would settle it.
      use: that weighting's name; "" where there is nothing to weigh, or none is to be used.
    """

    verdict: str
    effective_rules: float
    loading: np.ndarray
    low: np.ndarray
    high: np.ndarray
    weights: np.ndarray | None
    scale: np.ndarray | None
    refused: str
    camp: tuple[str, ...]
    camp_by: str
    recommendation: str
    use: str = ""

    def to_json(self) -> str:
        """All of it as text; NaN as null."""
        values = {name: _plain(value) for name, value in vars(self).items()}
        return json.dumps(values, allow_nan=False)

    @classmethod
    def from_json(cls, text: str) -> RuleAgreement:
        """The inverse of `to_json`."""
        values = json.loads(text)
        for name in ("loading", "low", "high", "weights", "scale"):
            values[name] = None if values[name] is None else np.array(values[name], np.float32)
        values["effective_rules"] = np.nan if values["effective_rules"] is None else values["effective_rules"]
        return cls(**values | {"camp": tuple(values["camp"])})

    @property
    def by_labels(self) -> bool:
        """Whether the weights follow what training labels chose."""
        return self.camp_by == "train labels"


def _plain(value):
    if isinstance(value, np.ndarray):
        return [_plain(float(x)) for x in value]
    return None if isinstance(value, float) and not np.isfinite(value) else value


def rule_agreement(
    pairs: Pairs,
    rules: tuple[str, ...],
    *,
    labelled: bool = True,
    entropy: np.ndarray | None = None,
    tau: float = 2.0,
    anchor: str = "",
    seed: int = 0,
    draws: int = DRAWS,
) -> RuleAgreement:
    """What agreement says of the K rules that score N comparisons.

    Args:
      pairs: training comparisons; labels tell which weighting to recommend, and which camp is meant.
      rules: K names.
      labelled: whether labels may be looked at.
      entropy: ``[K]``, of the ratings, for ENCORE's weights in the recommendation; of the scores if left out.
      tau: temperature of those.
      anchor: a rule that is known to be about quality, if the pool splits; "" for none.
      seed, draws: of the bootstrap over prompts.

    Raises:
      InputError: there is no rule of the anchor's name, or the pool splits and the anchor agrees with no other rule.

    >>> rng = np.random.default_rng(0)
    >>> scores = rng.normal(size=(300, 2, 1)) * [1.0, 1.0, 1.0, 0.0] + rng.normal(size=(300, 2, 4))
    >>> pairs = Pairs(scores, scores[..., :3].sum(2).argmax(1), np.arange(300), np.array(["all"] * 300))
    >>> found = rule_agreement(pairs, ("safe", "honest", "kind", "coin"))
    >>> found.verdict, found.refused, round(float(found.weights[3]), 1)
    ('one common factor', '', 0.0)
    """
    if anchor and anchor not in rules:
        raise InputError(f"there is no rule {anchor!r}", where="anchor", fix=f"use one of {', '.join(rules)}"[:500])
    if len(rules) < FEWEST_RULES:
        return _too_few(len(rules))
    found = reliability(
        pairs.scores, pairs.preferred if labelled else None, prompt=pairs.cluster, rules=rules, anchor=anchor or None,
        tau=tau, entropy=entropy, draws=draws, seed=seed,
    )  # fmt: skip
    moments = grouped_moments(rating_rows(pairs.scores, None, pairs.cluster), seed).total()
    loading, low, high = found.common.loading, found.common.low, found.common.high
    if found.camp is not None:
        loading = np.where(np.isnan(loading), np.nan, found.agreement_loading)
        low = high = np.full(len(rules), np.nan)
    weights = found.weights.get("agreement")
    spread = spreads(moments)
    scale = None if weights is None else np.asarray(agreement_weights(loading, spread, method="loading"))
    camp = () if found.camp is None else tuple(rules[k] for k in found.common.camps[found.camp])
    return RuleAgreement(
        verdict=found.common.verdict,
        effective_rules=found.common.effective_rules,
        loading=np.asarray(loading, np.float32),
        low=np.asarray(low, np.float32),
        high=np.asarray(high, np.float32),
        weights=None if weights is None else np.asarray(weights, np.float32),
        scale=scale,
        refused=refusal(found) if weights is None else "",
        camp=camp,
        camp_by="" if not camp else "anchor" if anchor else "train labels",
        recommendation=recommendation(found, "training comparisons"),
        use="" if found.worse_than_chance else found.recommended,
    )


def loading_scale(
    ratings: np.ndarray, rules: tuple[str, ...], *, where: np.ndarray, prompt: np.ndarray, seed: int = 0
) -> tuple[np.ndarray | None, str]:
    """What margins are multiplied by to weigh rules by loading: loading / spread ``[K]``, 1 on average.

    Args:
      ratings, where: ``[N, 2, K]``, and which exist.
      rules: K names.
      prompt: ``[N]``.
      seed: of the bootstrap.

    Returns:
      The scale and ""; or None and, in words, why the ratings justify none.
    """
    if len(rules) < FEWEST_RULES:
        return None, few_rules(len(rules))[0]
    found = reliability(ratings, where=where, prompt=prompt, rules=rules, draws=DRAWS, seed=seed)
    if "agreement" not in found.weights:
        return None, refusal(found)
    spread = spreads(grouped_moments(rating_rows(ratings, where, prompt), seed).total())
    weights = np.asarray(agreement_weights(found.agreement_loading, spread, method="loading"))
    return (weights * (len(rules) / weights.sum())).astype(np.float32), ""


def _too_few(count: int) -> RuleAgreement:
    unknown = np.full(count, np.nan, np.float32)
    refused, use = few_rules(count)
    return RuleAgreement("", np.nan, unknown, unknown, unknown, None, None, refused, (), "", use, few_use(count))


def few_use(count: int) -> str:
    """Which weighting fewer than three rules get; one rule has nothing to weigh."""
    return "" if count == 1 else "uniform"


def few_rules(count: int) -> tuple[str, str]:
    """Why fewer than three rules have no agreement weights, and which weighting to use.

    >>> few_rules(1)
    ('agreement needs at least 3 rules, and there is 1', 'There is one rule, and nothing to weigh.')
    """
    refused = f"agreement needs at least {FEWEST_RULES} rules, and there {'is' if count == 1 else 'are'} {count}"
    if count == 1:
        return refused, "There is one rule, and nothing to weigh."
    return refused, (
        f"Use equal weights: which of {count} rules to trust, agreement cannot tell. Labels, or a third rule, would."
    )


def refusal(found: Reliability, most_names: int = 4) -> str:
    """Why there are no agreement weights, in words.

    Args:
      found: without agreement weights.
      most_names: rules of a camp that are named.
    """
    if found.common.verdict == "one common factor":
        return "as many rules run one way as the other, and nothing says which way is quality"
    if found.common.verdict != "the pool splits":
        return "the rules have too little in common to tell"
    names = [[found.rules[k].rule for k in camp] for camp in found.common.camps]
    camps = "; ".join(
        ", ".join(camp[:most_names]) + (f" and {len(camp) - most_names} more" if len(camp) > most_names else "")
        for camp in names
    )
    return f"the pool splits, and nothing says which part is about quality: these agree among themselves only: {camps}"
