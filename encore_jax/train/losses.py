"""Losses as pure functions: one value per example, reduced by one global normaliser.

Sums and counts are kept apart until the end (`masked_mean`), so that splitting a batch over devices or accumulation
steps changes no mathematics: sum the numerators, sum the denominators, divide once.

Letters: N comparisons or responses, K rules.
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from encore_jax.errors import InputError


class Sum(NamedTuple):
    """A numerator and its denominator; add them over shards, then divide."""

    total: Float[Array, ""]
    count: Float[Array, ""]

    @property
    def mean(self) -> Float[Array, ""]:
        """``total / count``, 0 when nothing counted."""
        return self.total / jnp.maximum(self.count, 1e-9)


def masked_sum(values: Float[Array, "..."], where: Bool[Array, "..."]) -> Sum:
    """Sums fp32 values where the mask holds; what a masked entry contains, NaN included, has no influence."""
    if values.shape != where.shape:
        raise InputError(f"values {values.shape} and mask {where.shape} differ", where="masked_sum")
    values = jnp.where(where, values.astype(jnp.float32), 0.0)
    return Sum(values.sum(), where.astype(jnp.float32).sum())


def rating_regression(scores: Float[Array, "N K"], ratings: Float[Array, "N K"], where: Bool[Array, "N K"]) -> Sum:
    """Multi-output regression on ratings: squared error ``(s_nk - ψ_nk)²`` over the rated entries (ENCORE, step 2).

    Raises:
      InputError: scores and ratings differ in shape, e.g. a model of one output trained on K rules.

    >>> rating_regression(jnp.ones((1, 2)), jnp.zeros((1, 2)), jnp.array([[True, False]])).mean.item()
    1.0
    """
    if scores.shape != ratings.shape or where.shape != ratings.shape:
        raise InputError(
            f"scores {scores.shape}, ratings {ratings.shape} and mask {where.shape} differ",
            where="rating_regression",
            fix="the model needs one head per rated rule",
        )
    error = jnp.where(where, scores.astype(jnp.float32) - ratings.astype(jnp.float32), 0.0)
    return masked_sum(error**2, where)


def bradley_terry(
    chosen: Float[Array, " N"],
    rejected: Float[Array, " N"],
    where: Bool[Array, " N"],
    margin: Float[Array, " N"] | None = None,
    centering: float = 0.0,
) -> Sum:
    """Bradley-Terry loss ``-log σ(r⁺ - r⁻ - m) + c (r⁺ + r⁻)²``.

    Args:
      chosen: rewards r⁺ of the preferred responses, one number each.
      rejected: rewards r⁻ of the others.
      where: which pairs count.
      margin: m, by how much the preferred reward should win (Llama 2, section 3.2.2); `None` is 0.
      centering: c, keeps rewards near zero mean (Eisenstein et al. 2023, eq. 2).

    Raises:
      InputError: the arguments are not all ``[N]``; a ``[N, 1]`` would silently broadcast to ``[N, N]``.

    >>> round(bradley_terry(jnp.array([0.0]), jnp.array([0.0]), jnp.array([True])).mean.item(), 3)
    0.693
    """
    shapes = {jnp.shape(x) for x in (chosen, rejected, where, *(() if margin is None else (margin,)))}
    if len(shapes) != 1 or len(shapes.pop()) != 1:
        raise InputError(
            f"chosen {jnp.shape(chosen)}, rejected {jnp.shape(rejected)}, mask {jnp.shape(where)}, margin "
            f"{None if margin is None else jnp.shape(margin)} must all be [N]",
            where="bradley_terry",
            fix="compose K scores into one reward first, and squeeze trailing axes",
        )
    # Masked before, not after, the loss: the gradient of a loss at NaN is NaN even if nothing flows back from it.
    chosen, rejected = (jnp.where(where, reward.astype(jnp.float32), 0.0) for reward in (chosen, rejected))
    margin = 0.0 if margin is None else jnp.where(where, margin.astype(jnp.float32), 0.0)
    difference = chosen - rejected - margin
    loss = -jax.nn.log_sigmoid(difference) + centering * (chosen + rejected) ** 2
    return masked_sum(loss, where)


class Joint(NamedTuple):
    """The terms of `joint_loss`, the second one times λ; add both over shards, then divide each by its count."""

    preference: Sum
    rating: Sum

    @property
    def mean(self) -> Float[Array, ""]:
        """``L_BT + λ L_regression``; a term that nothing counts for is 0."""
        return self.preference.mean + self.rating.mean


def joint_loss(
    chosen: Float[Array, " P"],
    rejected: Float[Array, " P"],
    paired: Bool[Array, " P"],
    scores: Float[Array, "N K"],
    ratings: Float[Array, "N K"],
    rated: Bool[Array, "N K"],
    rating_weight: float = 1.0,
    margin: Float[Array, " P"] | None = None,
    centering: float = 0.0,
) -> Joint:
    """Joint loss of a preference head and K rule heads, ``L_BT + λ L_regression`` (SMORM, arXiv 2507.07375).

    Each term is a mean over what carries it: the first over pairs with a preference, the second over rated entries. So
    a pair without ratings adds to the first alone, a rated response without a preference to the second alone, and
    neither the share of one in a batch nor how a batch is split changes what the other weighs.

    Args:
      chosen, rejected: rewards of the preference head for P pairs.
      paired: which pairs count.
      scores, ratings: of the K rule heads for N responses.
      rated: which ratings exist.
      rating_weight: λ.
      margin, centering: see `bradley_terry`.

    Raises:
      InputError: shapes that do not fit.

    >>> one, pair = jnp.ones((1, 2)), jnp.zeros(1)
    >>> loss = joint_loss(pair, pair, jnp.array([True]), one, 0 * one, jnp.array([[True, False]]), rating_weight=0.5)
    >>> round(loss.preference.mean.item(), 3), round(loss.mean.item(), 3)
    (0.693, 1.193)
    """
    errors = rating_regression(scores, ratings, rated)
    return Joint(
        bradley_terry(chosen, rejected, paired, margin, centering),
        errors._replace(total=rating_weight * errors.total),
    )


def binary_cross_entropy(
    logits: Float[Array, "N K"],
    answers: Float[Array, "N K"],
    where: Bool[Array, "N K"],
    positive_weight: Float[Array, " K"] | None = None,
) -> Sum:
    """Binary cross-entropy of one yes/no question per rule, as the Rule Adapter is trained.

    Args:
      logits: of "yes".
      answers: 1 for yes, 0 for no, or a probability between.
      where: which entries count.
      positive_weight: factor of the "yes" part per rule, against class imbalance; `None` is 1.

    Raises:
      InputError: the shapes differ.

    >>> round(binary_cross_entropy(jnp.zeros((1, 2)), jnp.ones((1, 2)), jnp.ones((1, 2), bool)).mean.item(), 3)
    0.693
    """
    weight = jnp.ones(logits.shape[-1]) if positive_weight is None else positive_weight
    if logits.shape != answers.shape or where.shape != answers.shape or weight.shape != answers.shape[-1:]:
        raise InputError(
            f"logits {logits.shape}, answers {answers.shape}, mask {where.shape} and weights {weight.shape} do not fit",
            where="binary_cross_entropy",
            fix="the model needs one head per rule",
        )
    logits = jnp.where(where, logits.astype(jnp.float32), 0.0)
    answers = jnp.where(where, answers.astype(jnp.float32), 0.0)
    yes = weight.astype(jnp.float32)[None] * answers * jax.nn.log_sigmoid(logits)
    return masked_sum(-(yes + (1 - answers) * jax.nn.log_sigmoid(-logits)), where)
