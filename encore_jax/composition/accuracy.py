"""How often a rule, or a reward, agrees with human preference."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from jaxtyping import Array, Bool, Float

from encore_jax.composition.checks import is_traced, namespace, numbers, single
from encore_jax.composition.reward import margins
from encore_jax.composition.ties import is_tie, sign
from encore_jax.errors import InputError


class Accuracy(NamedTuple):
    """Counts over comparisons, one entry per rule (or method); the paper leaves ties open, so every reading of them."""

    n: Float[Array, "*methods"]
    correct: Float[Array, "*methods"]
    ties: Float[Array, "*methods"]

    @property
    def ties_half(self) -> Float[Array, "*methods"]:
        """Accuracy where a tie is half right; NaN when nothing was compared."""
        return _share(self.correct + 0.5 * self.ties, self.n)

    @property
    def ties_wrong(self) -> Float[Array, "*methods"]:
        """Accuracy where a tie is wrong, as RewardBench counts it; NaN when nothing was compared."""
        return _share(self.correct, self.n)

    @property
    def decided(self) -> Float[Array, "*methods"]:
        """Accuracy where ties are left out; NaN when nothing was decided."""
        return _share(self.correct, self.n - self.ties)


def _share(part, whole) -> Float[Array, "*methods"]:
    with np.errstate(invalid="ignore", divide="ignore"):
        return part / whole


def margin_accuracy(
    margin: Float[Array, "N ..."],
    where: Bool[Array, "N ..."] | None = None,
    tolerance: Float[Array, "N ..."] | float = 0.0,
) -> Accuracy:
    """Accuracy over the first axis of margins (preferred minus other): right iff positive, and no tie.

    Args:
      margin: of N comparisons.
      where: which of them count.
      tolerance: how far rounding may have moved each margin; what is within it is a tie. Composed margins come with
        theirs (`composed_margins`); a single rule's, or those of scalar rewards, tie where they are 0.

    Raises:
      InputError: the mask has another shape, or an unmasked margin is NaN (not checked under `jax.jit`).

    >>> accuracy = margin_accuracy(np.array([0.5, 0.0, -0.25, 0.25]))
    >>> float(accuracy.ties_half), float(accuracy.ties_wrong), round(float(accuracy.decided), 3)
    (0.625, 0.5, 0.667)
    """
    margin, tolerance = single(margin, "margins", rank=1, finite=False), single(tolerance, "tolerance")
    where = np.ones(margin.shape, bool) if where is None else numbers(where, "where", finite=False, dtype=None)
    where = where.astype(bool)
    if where.shape != margin.shape:
        raise InputError(f"the mask has shape {where.shape}, the margins {margin.shape}", where="margin_accuracy")
    if not is_traced(margin, where) and (np.isnan(margin) & where).any():
        row, *rule = np.argwhere(np.isnan(margin) & np.asarray(where))[0]
        place = f"comparison {row}" + "".join(f", rule {k}" for k in rule)
        raise InputError("the margin is not a number", where=place, fix="score it again, or mask it")
    xp = namespace(margin, tolerance, where)
    hits = (xp.ones(margin.shape, bool), sign(margin, tolerance) > 0, is_tie(margin, tolerance))
    return Accuracy(*((hit & where).sum(0).astype(np.float32) for hit in hits))


def rule_accuracy(
    ratings: Float[Array, "N 2 K"],
    preferred: Array | None = None,
    where: Bool[Array, "N 2 K"] | None = None,
) -> Accuracy:
    """Fraction of comparisons in which each rule rates the human-preferred response higher (ENCORE).

    Args:
      ratings: ``[N, 2, K]``, ratings or scores, higher is better.
      preferred: ``[N]``, 0 or 1; `None` means always the first response.
      where: ``[N, 2, K]``; a comparison counts for a rule only if both responses are rated.

    >>> rule_accuracy(np.array([[[1.0, 0.0], [0.0, 0.0]]])).ties_half.tolist()
    [1.0, 0.5]
    """
    if where is None:
        return margin_accuracy(margins(ratings, preferred))
    ratings = single(ratings, "ratings", finite=False)
    where = numbers(where, "where", finite=False, dtype=None).astype(bool)
    if np.shape(where) != np.shape(ratings):
        raise InputError(
            f"the mask has shape {np.shape(where)}, the ratings {np.shape(ratings)}", where="rule_accuracy"
        )
    delta = margins(namespace(ratings, where).where(where, ratings, np.float32(0)), preferred)
    return margin_accuracy(delta, where.all(1))
