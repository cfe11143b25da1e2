"""Pure loss and step functions over packed prefix trees.

A batch carries a tree layout, the ratings of every branch end, and which ends form a pair; each loss reads what it
needs. Every loss ends in one numerator and one denominator (the joint loss in two of each), so splitting a batch
changes no mathematics: a step's micro-batches add up both, and divide once.

Letters: A micro-batches of a step, M branch ends, P pairs, K rules.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float

from encore_jax.composition.ties import rule_tolerance, weighted_margin
from encore_jax.data.prefix_tree import TreeBatch
from encore_jax.errors import InputError
from encore_jax.model.decoder import LOADS, ROUTING, Backbone
from encore_jax.model.experts import Load, balance
from encore_jax.model.heads import RuleHeads
from encore_jax.model.pooling import pool_ends
from encore_jax.model.remat import kept_as_integers
from encore_jax.train.losses import (
    Joint,
    Sum,
    binary_cross_entropy,
    bradley_terry,
    joint_loss,
    masked_sum,
    rating_regression,
)
from encore_jax.train.settings import LOSSES, LossSettings
from encore_jax.train.state import TrainState


class TrainBatch(NamedTuple):
    """Packed trees and what is known about their branch ends; a training step takes A of them, stacked.

    Attributes:
      trees: the layout.
      ratings, rated: fp32 and bool ``[M, K]``.
      better, worse: int32 ``[P]``, ends of the preferred and the other response of each pair.
      paired: bool ``[P]``, which pairs are real.
      margin: fp32 ``[P]``, by how much the preferred reward should win.
    """

    trees: TreeBatch
    ratings: np.ndarray
    rated: np.ndarray
    better: np.ndarray
    worse: np.ndarray
    paired: np.ndarray
    margin: np.ndarray


class Totals(NamedTuple):
    """What one batch adds to a step: its loss, and how many of its pairs the composed reward orders rightly.

    Attributes:
      loss: of "joint" its term of preferences.
      right: of the pairs.
      rating: of "joint" its term of ratings, times λ; None for another loss.
    """

    loss: Sum
    right: Sum
    rating: Sum | None = None

    def __add__(self, other: Totals) -> Totals:
        return jax.tree.map(jnp.add, self, other)

    @property
    def metrics(self) -> dict[str, Array]:
        """Means: loss, accuracy (a tie counts half); and counts: what the loss was averaged over, pairs.

        Of "joint" also its terms, whose sum is the loss, and how many ratings were averaged over.
        """
        means = {
            "loss": self.loss.mean,
            "count": self.loss.count,
            "accuracy": self.right.mean,
            "pairs": self.right.count,
        }
        if self.rating is None:
            return means
        terms = {"preference_loss": self.loss.mean, "rating_loss": self.rating.mean, "ratings": self.rating.count}
        return means | {"loss": Joint(self.loss, self.rating).mean} | terms


def batch_scores(backbone: Backbone, params: dict[str, Any], trees: TreeBatch) -> Float[Array, "M K"]:
    """Scores of every branch end; `params` holds "backbone", "heads" and perhaps "lora"."""
    return scores_and_loads(backbone, params, trees)[0]


def scores_and_loads(
    backbone: Backbone, params: dict[str, Any], trees: TreeBatch
) -> tuple[Float[Array, "M K"], Load | None]:
    """`batch_scores`, and how the tokens of a mixture of experts spread, layer by layer; None for another model."""
    layers = params["backbone"]["layers"] | params.get("lora", {})
    variables = {"params": params["backbone"] | {"layers": layers}}
    rows = (trees.tokens, trees.tree, trees.branch, trees.position)
    hidden, more = backbone.apply(variables, *rows, mutable=[ROUTING])
    pooled = pool_ends(hidden, trees.end_row, trees.end_index)
    scores = RuleHeads(params["heads"]["bias"].shape[0]).apply({"params": params["heads"]}, pooled)
    return scores, more[ROUTING][LOADS] if backbone.cfg.experts else None


def batch_totals(
    backbone: Backbone, params: dict[str, Any], batch: TrainBatch, weights: Float[Array, " K"], settings: LossSettings
) -> Totals:
    """The configured loss of one batch, and its pairs in the right order.

    With `LossSettings.router_balance`, the batch's load-balancing loss is part of what every counted value contributes;
    over several micro-batches it is then their mean, weighted by what each counts (of "joint", by its pairs).

    Args:
      backbone, params: the model.
      batch: packed trees with targets.
      weights: composes K scores into the reward that pairs are compared by.
      settings: which loss.

    Raises:
      InputError: an unknown loss, or a model whose heads are not the batch's rules.
    """
    scores, loads = scores_and_loads(backbone, params, batch.trees)
    totals = _totals(scores, batch, weights, settings)
    if not settings.router_balance:
        return totals
    if loads is None:
        raise InputError(
            f"is {settings.router_balance:g}, and this model has no experts to balance",
            where="train.router_balance",
            fix="leave it at 0, or train a mixture of experts",
        )
    extra = settings.router_balance * balance(loads) * totals.loss.count
    return totals._replace(loss=totals.loss._replace(total=totals.loss.total + extra))


def _totals(
    scores: Float[Array, "M K"], batch: TrainBatch, weights: Float[Array, " K"], settings: LossSettings
) -> Totals:
    reward = scores @ weights
    chosen, rejected = reward[batch.better], reward[batch.worse]
    pair = scores[batch.better], scores[batch.worse]
    margin = weighted_margin(pair[0] - pair[1], rule_tolerance(*pair), weights)
    right = masked_sum(margin.credit, batch.paired)
    if settings.loss == "regression":
        return Totals(rating_regression(scores, batch.ratings, batch.rated), right)
    if settings.loss == "binary":
        weight = jnp.full(scores.shape[1], settings.positive_weight)
        return Totals(binary_cross_entropy(scores, batch.ratings, batch.rated, weight), right)
    if settings.loss == "bradley_terry":
        margin = batch.margin if settings.margins else None
        return Totals(bradley_terry(chosen, rejected, batch.paired, margin, settings.centering), right)
    if settings.loss == "joint":
        margin = batch.margin if settings.margins else None
        pairs, rated = (chosen, rejected, batch.paired), (scores, batch.ratings, batch.rated)
        joint = joint_loss(*pairs, *rated, settings.rating_weight, margin, settings.centering)
        return Totals(joint.preference, right, joint.rating)
    raise InputError(f"unknown loss {settings.loss!r}", where="loss", fix=f"use one of {', '.join(LOSSES)}")


Step = Callable[[TrainState, TrainBatch, Array], tuple[TrainState, dict[str, Array]]]


def step_function(
    backbone: Backbone,
    optimizer: optax.GradientTransformation,
    settings: LossSettings,
    constrain: Callable[[Any], Any] = lambda gradient: gradient,
) -> Step:
    """One optimizer step as a pure function ``(state, batches, weights) -> (state, metrics)``.

    Every array of `batches` has a leading axis A; gradients are summed over it in the parameters' own dtype, and
    divided once by what the loss counted. The two terms of "joint" count different things, so each is divided before
    the sum, by its count over the whole step. Metrics: those of `Totals`, and gradient_norm (before clipping).

    Args:
      backbone, optimizer, settings: what is trained, how, on which loss.
      constrain: pins the shardings of a gradient.
    """

    def gradient_and_totals(state: TrainState, batch: TrainBatch, weights, counts):
        def total(trainable):
            totals = batch_totals(backbone, trainable | state.frozen, batch, weights, settings)
            return _objective(totals, counts), totals

        with kept_as_integers():
            gradient, totals = jax.grad(total, has_aux=True)(state.trainable)
        return constrain(gradient), totals

    def step(state: TrainState, batches: TrainBatch, weights):
        first = jax.tree.map(lambda x: x[0], batches)
        counts = _joint_counts(batches) if settings.loss == "joint" else None
        gradient, totals = gradient_and_totals(state, first, weights, counts)
        if batches.paired.shape[0] > 1:

            def add(carry, batch):
                gradient, totals = gradient_and_totals(state, batch, weights, counts)
                return (constrain(jax.tree.map(jnp.add, carry[0], gradient)), carry[1] + totals), None

            rest = jax.tree.map(lambda x: x[1:], batches)
            (gradient, totals), _ = jax.lax.scan(add, (gradient, totals), rest)
        if counts is None:
            share = 1 / jnp.maximum(totals.loss.count, 1e-9)
            gradient = jax.tree.map(lambda g: g * share.astype(g.dtype), gradient)
        with jax.numpy_dtype_promotion("standard"):  # optax raises floats to integer step counts
            updates, moments = optimizer.update(gradient, state.optimizer, state.trainable)
        trainable = optax.apply_updates(state.trainable, updates)
        metrics = totals.metrics | {"gradient_norm": optax.tree.norm(gradient)}
        return TrainState(state.step + 1, trainable, moments, state.frozen), metrics

    return step


def _joint_counts(batches: TrainBatch) -> tuple[Array, Array]:
    """Pairs and rated entries of a whole step, all micro-batches together."""
    return batches.paired.sum(dtype=jnp.float32), batches.rated.sum(dtype=jnp.float32)


def _objective(totals: Totals, counts: tuple[Array, Array] | None) -> Array:
    """What a micro-batch's gradient is of: a numerator that is divided later, or the parts of the means of "joint"."""
    if counts is None:
        return totals.loss.total
    pairs, rated = counts
    return Joint(totals.loss._replace(count=pairs), totals.rating._replace(count=rated)).mean
