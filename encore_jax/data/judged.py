"""Responses that judges rated and people too, without their texts: what a study of judges reads.

Letters: T responses, K rules, N pairs.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from fractions import Fraction

import numpy as np
from jaxtyping import Bool, Float, Int

from encore_jax.data.orientation import Scale
from encore_jax.errors import InputError

MOST_PAIRS = 2_000_000
"""A data set with more pairs is not read."""


@dataclasses.dataclass(frozen=True, eq=False)
class JudgedResponses:
    """Ratings by judges, and pairs of responses of which people prefer one.

    Attributes:
      name: of the data set.
      rules: K names; a judge's answer to one question is a rule.
      ratings: fp32 ``[T, K]``, higher is better; 0 where masked.
      mask: ``[T, K]``, which of them exist.
      unit: ``[T]``, 0, 1, ...: what is resampled together, e.g. all responses to one prompt.
      pairs: ``[N, 2]`` indices of responses, the preferred one first.
      levels: the judges' grid has so many evenly spaced levels; 0 if it has none.
      scale: lowest and highest possible rating.
      judges: who rated.
      notes: what was left out or changed, each in a sentence.
    """

    name: str
    rules: tuple[str, ...]
    ratings: Float[np.ndarray, "T K"]
    mask: Bool[np.ndarray, "T K"]
    unit: Int[np.ndarray, " T"]
    pairs: Int[np.ndarray, "N 2"]
    levels: int
    scale: Scale
    judges: str
    notes: tuple[str, ...] = ()

    @property
    def within_units(self) -> bool:
        """Whether every pair compares two responses of one unit."""
        return bool((self.unit[self.pairs[:, 0]] == self.unit[self.pairs[:, 1]]).all())


def decimal(value: float) -> Fraction:
    """The decimal number that a float was written as, so that sums and means of equal answers are equal.

    >>> decimal(0.1) + decimal(0.2) == decimal(0.3)
    True
    """
    return Fraction(repr(float(value)))


def preferred_pairs(quality: Sequence[float | Fraction], unit: Sequence[int], where: str) -> Int[np.ndarray, "N 2"]:
    """All pairs of two responses of one unit of which one is better, that one first.

    Args:
      quality: of every response; equal numbers (or fractions) are equally good.
      unit: of every response.
      where: the file, as an error names it.

    Raises:
      InputError: there is no such pair, or there are more than `MOST_PAIRS`.

    >>> preferred_pairs([1.0, 3.0, 3.0, 0.0], [0, 0, 0, 1], "stories.csv").tolist()
    [[1, 0], [2, 0]]
    """
    order = {value: rank for rank, value in enumerate(sorted(set(quality)))}
    rank, unit = np.array([order[value] for value in quality]), np.asarray(unit)
    members = [np.flatnonzero(unit == u) for u in np.unique(unit)]
    total = sum(len(m) * (len(m) - 1) // 2 for m in members)
    if total > MOST_PAIRS:
        raise InputError(f"has {total:,} pairs of responses", where=where, fix=f"keep at most {MOST_PAIRS:,}")
    pairs = [np.zeros((0, 2), int)]
    for m in members:
        a, b = m[np.stack(np.triu_indices(len(m), 1))]
        ordered = np.where((rank[a] > rank[b])[:, None], np.stack([a, b], 1), np.stack([b, a], 1))
        pairs.append(ordered[rank[a] != rank[b]])
    found = np.concatenate(pairs)
    if not len(found):
        raise InputError("people rate no response better than another", where=where, fix="check the file")
    return found
