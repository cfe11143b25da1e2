"""A reward taken apart: what every rule contributes to every margin, and to the accuracy as a whole.

The reward is linear, so with margins Δ the composed margin is the sum of the rules' contributions, c_nk = w_k Δ_nk, and
the Shapley value of rule k for comparison n *is* c_nk. Accuracy is not linear: there the Shapley value of a rule is its
mean marginal gain over all orders in which rules could be added, from v(no rule) = 1/2 on,

    shapley_k = Σ_{S without k} |S|! (K - |S| - 1)! / K! (v(S with k) - v(S)),      Σ_k shapley_k = v(all) - 1/2,

by enumeration of all subsets up to `EXACT` rules, by random orders beyond.

Contributions come with their `tolerances`, by how much rounding may move each: what is within the sum of them is a tie.
Without, the scores that they were made of count as exact.

Letters: N comparisons, K rules, R random orders.
"""

from __future__ import annotations

import functools
import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

from encore_jax.composition import Margin, margin_tolerances, margins
from encore_jax.composition.rule_graph import CompiledGraph, decide
from encore_jax.composition.ties import credit, rule_tolerance
from encore_jax.errors import InputError

EXACT = 16
"""Up to so many rules all 2^K subsets are evaluated."""
ORDERS = 2000
"""Random orders of the rules beyond that."""
_CELLS = 1 << 22
"""Margins held at once."""


class Shapley(NamedTuple):
    """Shapley values ``[K]`` of the rules for accuracy, and their standard errors (0 where exact)."""

    value: np.ndarray
    standard_error: np.ndarray


def contributions(scores: Float[Array, "N 2 K"], preferred: Array, weights: Float[Array, " K"]) -> np.ndarray:
    """``c_nk = w_k Δ_nk``, fp32 ``[N, K]``, preferred minus other: the rows sum to the margins of the composed reward.

    >>> contributions(np.array([[[0.0, 1.0], [1.0, 0.5]]]), np.array([0]), np.array([0.5, 2.0])).tolist()
    [[-0.5, 1.0]]
    """
    delta, weights = np.asarray(margins(scores, preferred)), np.asarray(weights, np.float32)
    if weights.shape != delta.shape[1:]:
        raise InputError(f"weights {weights.shape} for {delta.shape[1]} rules", where="contributions", fix="pass [K]")
    return delta * weights[None]


def tolerances(scores: Float[Array, "N 2 K"], weights: Float[Array, " K"]) -> np.ndarray:
    """By how much rounding may move each contribution to a sum of them: fp32 ``[N, K]``."""
    return np.asarray(margin_tolerances(scores)) * np.abs(np.asarray(weights, np.float32))[None]


class GraphParts(NamedTuple):
    """A reward under a rule graph, as terms that add up to it: C = K, or K + 1 with vetoes.

    Attributes:
      scores: ``[N, 2, C]``, the preferred response first; a rule that does not count has the lowest score, and the last
        column is what a veto takes away.
      contribution, tolerance: ``[N, C]``, as those of a weighted sum.
      decided_by: ``[N, 2]``: the rule whose veto set the reward, -1 where none did.
      not_counted: bool ``[N, 2, K]``.
      plain: the margins ``[N]`` of the weighted sum alone.
    """

    scores: np.ndarray
    contribution: np.ndarray
    tolerance: np.ndarray
    decided_by: np.ndarray
    not_counted: np.ndarray
    plain: Margin


def graph_parts(
    scores: Float[np.ndarray, "N 2 K"], weights: Float[np.ndarray, " K"], graph: CompiledGraph
) -> GraphParts:
    """What rules and vetoes contribute to the margins of pairs.

    Args:
      scores: the preferred response first.
      weights, graph: of the model.
    """
    scores = np.asarray(scores, np.float32)
    first = np.zeros(len(scores), np.int64)
    plain = whole_margin(contributions(scores, first, weights), tolerances(scores, weights))
    decision = decide(scores.reshape(-1, scores.shape[2]), weights, graph)
    terms, prices = decision.counted, np.asarray(weights, np.float32)
    if len(graph.cap):
        terms = np.concatenate([terms, (decision.rewards - decision.before)[:, None]], 1)
        prices = np.append(prices, np.float32(1))
    terms = terms.reshape(*scores.shape[:2], -1)
    slack = tolerances(terms, prices)
    slack[:, : scores.shape[2]] = tolerances(scores, weights)
    return GraphParts(
        terms,
        contributions(terms, first, prices),
        slack,
        decision.decided_by.reshape(-1, 2),
        decision.not_counted.reshape(*scores.shape),
        plain,
    )


def whole_margin(contribution: Float[np.ndarray, "N K"], tolerance: Float[np.ndarray, "N K"] | None = None) -> Margin:
    """The composed margins ``[N]``."""
    return Margin(np.asarray(contribution, np.float64).sum(1), _known(contribution, tolerance).sum(1))


def _known(contribution: np.ndarray, tolerance: np.ndarray | None) -> np.ndarray:
    return np.asarray(rule_tolerance(np.asarray(contribution)) if tolerance is None else tolerance, np.float64)


def flips(
    contribution: Float[np.ndarray, "N K"], tolerance: Float[np.ndarray, "N K"] | None = None
) -> tuple[Bool[np.ndarray, "N K"], Bool[np.ndarray, "N K"]]:
    """Which comparisons change when a rule is left out: lost (right with it only), and gained (right without it only).

    Rescaling the other weights changes no sign, so it does not matter whether they are made to sum to 1 again.

    >>> [x.tolist() for x in flips(np.array([[3.0, -1.0], [-3.0, 1.0]]))]
    [[[True, False], [False, False]], [[False, False], [True, False]]]
    """
    won = whole_margin(contribution, tolerance).sign[:, None] > 0
    won_without = without(contribution, tolerance).sign > 0
    return won & ~won_without, ~won & won_without


def accuracy_without(
    contribution: Float[np.ndarray, "N K"], tolerance: Float[np.ndarray, "N K"] | None = None
) -> np.ndarray:
    """Accuracy (ties half) when each rule is left out, ``[K]``."""
    return without(contribution, tolerance).credit.mean(0)


def without(contribution: Float[np.ndarray, "N K"], tolerance: Float[np.ndarray, "N K"] | None = None) -> Margin:
    """Margins with one rule left out, ``[N, K]``; summed, not subtracted, so that nothing of the rule remains."""
    rest = 1.0 - np.eye(np.shape(contribution)[1])
    return Margin(np.asarray(contribution, np.float64) @ rest, _known(contribution, tolerance) @ rest)


def shapley_accuracy(
    contribution: Float[np.ndarray, "N K"],
    key: Array,
    orders: int = ORDERS,
    tolerance: Float[np.ndarray, "N K"] | None = None,
) -> Shapley:
    """Shapley values of the rules for accuracy with ties half.

    Args:
      contribution: ``[N, K]``, as from `contributions`.
      key: of the random orders, used beyond `EXACT` rules only.
      orders: how many.
      tolerance: ``[N, K]``, as from `tolerances`.
    """
    tolerance = jnp.asarray(_known(contribution, tolerance), jnp.float32)
    contribution = jnp.asarray(contribution, jnp.float32)
    if contribution.shape[1] <= EXACT:
        value = _exact(subset_accuracy(contribution, tolerance))
        return Shapley(value, np.zeros_like(value))
    gains = np.asarray(_order_gains(contribution, tolerance, key, orders), np.float64)
    return Shapley(gains.mean(0), gains.std(0, ddof=1) / math.sqrt(orders))


def subset_accuracy(contribution: Float[Array, "N K"], tolerance: Float[Array, "N K"] | None = None) -> np.ndarray:
    """Accuracy with every subset of the rules, ``[2^K]``; bit k of the index says whether rule k is in it."""
    tolerance = jnp.asarray(_known(np.asarray(contribution), tolerance), jnp.float32)
    n, k = contribution.shape
    if k > EXACT:
        raise InputError(f"2^{k} subsets", where="subset_accuracy", fix=f"take at most {EXACT} rules")
    chunk = min(1 << k, 1 << max(0, int(math.log2(max(_CELLS // n, 1)))))
    numbers = np.arange(1 << k, dtype=np.int32).reshape(-1, chunk)
    return np.asarray(_accuracy_of_subsets(jnp.asarray(contribution), tolerance, numbers)).reshape(-1)


@jax.jit
def _accuracy_of_subsets(contribution, tolerance, numbers):
    def one(numbers):
        rules = jnp.arange(contribution.shape[1], dtype=jnp.int32)
        member = ((numbers[None, :] >> rules[:, None]) & 1).astype(jnp.float32)
        sums = (jnp.matmul(values, member, precision="highest") for values in (contribution, tolerance))
        return credit(*sums).mean(0)

    return jax.lax.map(one, numbers)


def _exact(accuracy: np.ndarray) -> np.ndarray:
    accuracy = accuracy.astype(np.float64)
    k = accuracy.size.bit_length() - 1
    subsets = np.arange(accuracy.size)
    size = np.array([int(s).bit_count() for s in subsets])
    share = np.array([1 / (k * math.comb(k - 1, s)) for s in range(k)])
    values = []
    for rule in range(k):
        absent = subsets[(subsets >> rule) & 1 == 0]
        values.append(np.dot(share[size[absent]], accuracy[absent | (1 << rule)] - accuracy[absent]))
    return np.array(values)


@functools.partial(jax.jit, static_argnames=("orders",))
def _order_gains(contribution, tolerance, key, orders):
    """Every rule's gain in accuracy when it is added in random orders: ``[R, K]``."""

    def one(order_key):
        order = jax.random.permutation(order_key, contribution.shape[1])
        accuracy = credit(*(jnp.cumsum(values[:, order], axis=1) for values in (contribution, tolerance))).mean(0)
        gains = jnp.diff(accuracy, prepend=jnp.float32(0.5))
        return jnp.zeros_like(gains).at[order].set(gains)

    return jax.lax.map(one, jax.random.split(key, orders))


def audit_rules(
    names: tuple[str, ...],
    weights: np.ndarray,
    contribution: Float[np.ndarray, "N K"],
    delta,
    key: Array,
    tolerance: Float[np.ndarray, "N K"] | None = None,
) -> list[dict]:
    """What `audit.json` says of every rule, plain values.

    Args:
      names, weights: K of them.
      contribution, delta: ``[N, K]``, of each rule to each margin, and its own margin.
      key, tolerance: see `shapley_accuracy`.
    """
    lost, gained = flips(contribution, tolerance)
    whole = float(whole_margin(contribution, tolerance).credit.mean())
    rest = accuracy_without(contribution, tolerance)
    shapley = shapley_accuracy(contribution, key, tolerance=tolerance)
    alone = Margin(np.asarray(delta))
    agreement, ties = alone.credit, alone.tied
    size = np.abs(contribution).mean(0)
    return [
        {
            "name": name,
            "weight": float(weights[k]),
            "agreement": float(agreement[:, k].mean()),
            "ties": int(ties[:, k].sum()),
            "share": float(size[k] / max(size.sum(), 1e-30)),
            "lost": int(lost[:, k].sum()),
            "gained": int(gained[:, k].sum()),
            "gain": whole - float(rest[k]),
            "shapley": float(shapley.value[k]),
            "shapley_se": float(shapley.standard_error[k]),
        }
        for k, name in enumerate(names)
    ]
