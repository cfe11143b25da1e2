"""Who is preferred, according to some rules of each comparison (RAMO)."""

from __future__ import annotations

from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from encore_jax.composition.checks import flags, is_traced, numbers
from encore_jax.composition.ties import is_tie, rule_tolerance, sign
from encore_jax.errors import InputError

TIES = ("drop", "first", "second")


class RuleLabels(NamedTuple):
    """Labels of N comparisons.

    Attributes:
      preferred: int32, 0 or 1; -1 for a tie that is dropped.
      margin: fp32, weighted sum of the first response's selected ratings minus the second's.
      tied: bool, whether the margin is 0 within its own rounding error, whatever became of it.
    """

    preferred: Int[Array, "*N"]
    margin: Float[Array, "*N"]
    tied: Bool[Array, "*N"]


def label_from_rules(
    ratings: Float[Array, "*N 2 K"],
    rules: Int[Array, "*N r"],
    *,
    weights: Float[Array, "..."] | None = None,
    where: Bool[Array, "*N 2 K"] | None = None,
    ties: str = "drop",
) -> RuleLabels:
    """The response with the larger (weighted) sum of ratings on the selected rules.

    Args:
      ratings: ``[..., 2, K]``, higher is better.
      rules: ``[..., r]``, as from `critical_rules`; entries of -1 are left out.
      weights: ``[K]``, or ``[..., K]`` for weights of each comparison; 1 if left out.
      where: ``[..., 2, K]``, which ratings exist; every selected one must.
      ties: "drop" (-1, the only choice that does not depend on the order of responses), "first", or "second", which
        is what the paper's code does.

    Raises:
      InputError: other shapes, an unknown tie policy, or (not under `jax.jit`) a rule number outside 0..K-1, a selected
        rating that is missing or not finite.

    >>> ratings = jnp.array([[[1.0, 0.0, 0.5], [0.0, 0.75, 0.5]], [[0.0, 1.0, 0.5], [0.0, 0.0, 0.5]]])
    >>> label_from_rules(ratings, jnp.array([[0, 1], [0, 2]])).preferred.tolist()
    [0, -1]
    """
    if ties not in TIES:
        raise InputError(f"{ties!r} is unknown", where="ties", fix=f"use one of {', '.join(TIES)}")
    ratings, rules = numbers(ratings, "ratings", finite=False), numbers(rules, "rules", dtype=None)
    weights = weights if weights is None else numbers(weights, "weights")
    shape, chosen = jnp.shape(ratings), jnp.shape(rules)
    if len(shape) < 2 or shape[-2] != 2 or chosen[:-1] != shape[:-2] or not chosen:
        raise InputError(
            f"ratings {shape} and rules {chosen} do not fit", where="label_from_rules", fix="pass [..., 2, K], [..., r]"
        )
    if where is not None and jnp.shape(where) != shape:
        raise InputError(f"the mask has shape {jnp.shape(where)}, not {shape}", where="label_from_rules")
    if weights is not None and jnp.shape(weights) not in (shape[-1:], (*shape[:-2], shape[-1])):
        raise InputError(f"weights have shape {jnp.shape(weights)}", where="weights", fix="pass [K] or [..., K]")
    if not is_traced(ratings, rules, where):
        _check_selected(np.asarray(ratings), np.asarray(rules), where)
    ratings, rules = jnp.asarray(ratings, jnp.float32), jnp.asarray(rules, jnp.int32)
    at, counts = jnp.maximum(rules, 0), rules >= 0
    first, second = ratings[..., 0, :], ratings[..., 1, :]
    difference, tolerance = first - second, rule_tolerance(first, second, terms=chosen[-1])
    if weights is not None:
        weights = jnp.asarray(weights, jnp.float32)
        weights = weights.reshape((1,) * (difference.ndim - weights.ndim) + weights.shape)
        difference, tolerance = difference * weights, tolerance * abs(weights)
    margin, tolerance = (
        jnp.where(counts, jnp.take_along_axis(values, at, -1), 0.0).sum(-1) for values in (difference, tolerance)
    )
    tied = is_tie(margin, tolerance)
    of_tie = {"drop": -1, "first": 0, "second": 1}[ties]
    return RuleLabels(jnp.where(tied, of_tie, (sign(margin, tolerance) < 0).astype(jnp.int32)), margin, tied)


def _check_selected(ratings: np.ndarray, rules: np.ndarray, where) -> None:
    num_rules = ratings.shape[-1]
    outside = (rules < -1) | (rules >= num_rules)
    if outside.any():
        raise InputError(f"there is no rule {rules[outside][0]}", where="rules", fix=f"use 0 to {num_rules - 1}")
    usable = np.isfinite(ratings) & (True if where is None else np.asarray(flags(where)))
    missing = ~np.take_along_axis(usable.all(-2), np.maximum(rules, 0), -1) & (rules >= 0)
    if missing.any():
        *row, slot = np.argwhere(missing)[0].tolist()
        raise InputError(
            f"{int(missing.sum())} selected ratings are missing or not finite, the first one",
            where=f"comparison {row[0] if len(row) == 1 else row}, rule {rules[(*row, slot)]}",
            fix="have the judge rate both responses on every selected rule, or mask the rule when selecting",
        )
