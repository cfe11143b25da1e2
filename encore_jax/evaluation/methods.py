"""Every way of weighting rules that the paper compares, as one plain table of weights."""

import dataclasses
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np

from encore_jax.composition import (
    Margin,
    composed_margins,
    entropy_weights,
    lowest_entropy_weights,
    margin_accuracy,
    margins,
    rule_accuracy,
)
from encore_jax.composition.settings import AGREEMENT, ENCORE, PRODUCT, UNIFORM, CompositionSettings
from encore_jax.composition.ties import INPUT_ERRORS, UNIT_ROUNDOFF, is_tie, rule_tolerance
from encore_jax.evaluation.method_names import SINGLE
from encore_jax.evaluation.rule_agreement import RuleAgreement
from encore_jax.evaluation.view import Pairs, Sees, View
from encore_jax.train.bradley_terry import bradley_terry_weights, hinge_weights

CRITICAL = (1, 3, 5)
"""How many critical rules decide a comparison, in the tables."""


@dataclasses.dataclass(frozen=True, eq=False)
class Method:
    """A named weighting (or several draws of one), and what it was allowed to look at.

    Attributes:
      name: as in the report.
      sees: what the weights were chosen from; "test labels" marks an oracle.
      weights: ``[K]``, ``[K, M]`` for M draws, or `None` for a baseline that reads no rule, or a refused method.
      critical: decide every comparison by so many rules alone, those of largest ``|w_k Δ_k|``; 0 for all rules.
      refused: why there are no weights, in words.
    """

    name: str
    sees: Sees
    weights: np.ndarray | None
    critical: int = 0
    refused: str = ""

    @property
    def is_oracle(self) -> bool:
        """Whether the method looked at the labels it is judged by."""
        return self.sees == "test labels"


def weightings(
    view: View,
    settings: CompositionSettings,
    entropy: np.ndarray,
    key: jax.Array,
    agreement: RuleAgreement | None = None,
) -> list[Method]:
    """All weightings of the view's K rules, ENCORE first.

    Train scores are held-out scores, so methods that see training labels are not flattered by overfitted heads.

    Args:
      view: the data.
      settings: how entropies become weights.
      entropy: ``[K]``.
      key: of the random weightings.
      agreement: of the view's rules; without it there are no rows of agreement.
    """
    rules = len(view.rules)
    keep = settings.keep or max(1, rules // 2)
    train_accuracy = np.asarray(rule_accuracy(view.train.scores, view.train.preferred).ties_half)
    test_accuracy = np.asarray(rule_accuracy(view.test.scores, view.test.preferred).ties_half)
    identity = np.eye(rules, dtype=np.float32)
    train_margins = margins(view.train.scores, view.train.preferred)
    singles = [Method(f"{SINGLE}{name}", "nothing", identity[k]) for k, name in enumerate(view.rules)]
    return [
        Method(ENCORE, "ratings", np.asarray(entropy_weights(entropy, settings.tau))),
        Method(UNIFORM, "nothing", np.full(rules, 1 / rules, np.float32)),
        *(agreement_methods(agreement, np.asarray(entropy_weights(entropy, settings.tau))) if agreement else ()),
        *critical_methods("critical rules", np.ones(rules, np.float32)),
        Method("random (Dirichlet)", "nothing", dirichlet_draws(rules, settings.draws, key)),
        Method(f"lowest-{keep} entropy", "ratings", np.asarray(lowest_entropy_weights(entropy, keep))),
        Method("inverse variance", "ratings", inverse_variance_weights(view.ratings, view.rated)),
        Method("Bradley-Terry weights", "train labels", np.asarray(bradley_terry_weights(train_margins, settings.l2))),
        Method("rule-based reward (hinge)", "train labels", np.asarray(hinge_weights(train_margins, settings.l2))),
        Method("best single rule", "train labels", identity[train_accuracy.argmax()]),
        Method("best single rule (oracle)", "test labels", identity[test_accuracy.argmax()]),
        Method("accuracy-weighted (oracle)", "test labels", accuracy_weights(test_accuracy)),
        *singles,
    ]


def agreement_methods(found: RuleAgreement, entropy_weight: np.ndarray | None) -> list[Method]:
    """The rows of agreement: its weights, their product with ENCORE's if there are any, and critical rules by loading.

    Where the pool splits, the rows that look at no label are refused, and if training labels tell which part is about
    quality there are rows that follow it.
    """
    rows: list[Method] = []
    if found.weights is None or found.by_labels:
        why = found.refused or (
            f"ratings alone do not say which part of the pool is about quality; training labels say "
            f"{', '.join(found.camp[:6])}{' and more' if len(found.camp) > 6 else ''}"
        )
        rows += [Method(name, "scores", None, refused=why) for name in (AGREEMENT, PRODUCT, BY_LOADING)]
    if found.weights is not None:
        sees, by = ("train labels", ", part by labels") if found.by_labels else ("scores", "")
        rows.append(Method(AGREEMENT + by, sees, found.weights))
        if entropy_weight is not None:
            product = found.weights * entropy_weight
            rows.append(Method(PRODUCT + by, sees, product / max(product.sum(), 1e-30)))
        rows += critical_methods(BY_LOADING + by, found.scale, sees)
    return rows


BY_LOADING = "critical rules × loading"


def critical_methods(name: str, scale: np.ndarray, sees: Sees = "scores") -> list[Method]:
    """Every comparison decided by its r rules of largest ``|scale_k Δ_k|``: a row for each r below the number of rules.

    With scale 1 they are the second paper's critical rules without relevance: the largest discrepancies decide.
    """
    return [Method(f"{name}, r = {r}", sees, scale, critical=r) for r in CRITICAL if r < len(scale)]


def dirichlet_draws(rules: int, draws: int, key: jax.Array) -> np.ndarray:
    """Uniform random weightings on the simplex: ``[K, draws]``."""
    return np.asarray(jax.random.dirichlet(key, jnp.ones(rules, jnp.float32), (draws,)).T)


def inverse_variance_weights(ratings: np.ndarray, rated: np.ndarray) -> np.ndarray:
    """Weights ``∝ 1 / Var ψ_k`` over the unmasked ratings; rules without variance get none, unless all are so."""
    variance = np.var(np.asarray(ratings, np.float64), axis=0, where=rated)
    inverse = np.where(variance > 0, 1 / np.where(variance > 0, variance, 1), 0)
    inverse = inverse if inverse.any() else np.ones_like(inverse)
    return (inverse / inverse.sum()).astype(np.float32)


def accuracy_weights(accuracy: np.ndarray) -> np.ndarray:
    """Weights proportional to how far each rule's accuracy is above chance; uniform if none is.

    >>> accuracy_weights(np.array([0.75, 0.5, 0.625])).round(3).tolist()
    [0.667, 0.0, 0.333]
    """
    above = np.nan_to_num(np.maximum(np.asarray(accuracy, np.float64) - 0.5, 0))
    above = above if above.any() else np.ones_like(above)
    return above / above.sum()


def reward_margins(pairs: Pairs, weights: np.ndarray) -> Margin:
    """Margins of the test pairs' composed rewards with their tolerances; ``[N]``, or ``[N, M]`` for M draws."""
    return Margin(*map(np.asarray, composed_margins(pairs.scores, weights, pairs.preferred)))


def critical_margins(pairs: Pairs, scale: np.ndarray, r: int) -> Margin:
    """Margins ``[N]`` of the r rules of largest ``|scale_k Δ_k|`` of every comparison; the others have no say.

    Rules that tie for the last places share them in equal parts, so nothing depends on the rules' order.

    Args:
      pairs: N comparisons.
      scale: ``[K]``, what each rule's margin is multiplied by.
      r: how many rules.
    """
    first, scale = pairs.first_preferred.astype(np.float64), np.asarray(scale, np.float64)
    better, other = first[:, 0], first[:, 1]
    delta = (better - other) * scale
    size, rounding = abs(delta), INPUT_ERRORS * UNIT_ROUNDOFF * (abs(better) + abs(other)) * abs(scale)
    last = -np.sort(-size, axis=1)[:, r - 1 : r]
    at_last = is_tie(size - last, rounding.max(1, keepdims=True))
    above = (size > last) & ~at_last
    part = above + at_last * (r - above.sum(1, keepdims=True)) / at_last.sum(1, keepdims=True)
    several = (part > 0).sum(1) > 1  # one rule alone ties only where it rates both alike
    slack = (part * abs(scale) * rule_tolerance(better, other)).sum(1)
    return Margin((part * delta).sum(1), np.where(several, slack, 0.0))


def half_credit(pairs: Pairs, weights: np.ndarray, critical: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Per comparison: credit (1 right, 0.5 tie, 0 wrong) and whether it ties; ``[N]``, or ``[N, M]`` for draws.

    Args:
      pairs, weights: N comparisons, and ``[K]`` or ``[K, M]``.
      critical: decide by so many critical rules alone (`critical_margins`); 0 for all rules.
    """
    margin = critical_margins(pairs, weights, critical) if critical else reward_margins(pairs, weights)
    return margin.credit, margin.tied


def margins_by_method(scores: np.ndarray, methods: Sequence[Method]) -> dict[str, Margin]:
    """Margins ``[P]`` of P other pairs ``[P, 2, K]``, preferred first, by every method that weighs all rules once.

    Rules used alone, random draws and refused methods are left out.
    """
    n = len(scores)
    pairs = Pairs(np.asarray(scores, np.float32), np.zeros(n, np.int64), np.arange(n), np.full(n, "all"))
    return {
        m.name: critical_margins(pairs, m.weights, m.critical) if m.critical else reward_margins(pairs, m.weights)
        for m in methods
        if m.weights is not None and m.weights.ndim == 1 and not m.name.startswith(SINGLE)
    }


def accuracy_under(pairs: Pairs, weights: np.ndarray) -> np.ndarray:
    """Accuracy (ties half) under many weightings ``[K, M]`` at once: ``[M]``."""
    margin = composed_margins(pairs.scores, weights, pairs.preferred)
    return np.asarray(margin_accuracy(margin.value, tolerance=margin.tolerance).ties_half)
