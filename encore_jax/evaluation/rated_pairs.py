"""Ratings as a user has them, as pairs: arrays of comparisons of n responses, or rated comparisons.

Letters: N comparisons, n responses, M pairs, K rules.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Array, Bool, Float, Int

from encore_jax.composition.checks import refuse_answers, refuse_masked
from encore_jax.data import Comparison, prompt_key
from encore_jax.errors import InputError
from encore_jax.evaluation.reliability_arguments import (
    checked_mask,
    checked_names,
    checked_prompt,
    refuse_not_finite,
    refuse_rounded,
)

UNLABELLED = -1
"""Stands for "nobody chose" in `preferred`."""

MOST_VALUES = 400_000_000
"""Ratings in all pairs together; comparisons of many responses have many pairs."""

WHAT = "pass an array [N, n, K] of comparisons of n >= 2 responses, [N, K] of single responses, or rated comparisons"


class RatedPairs(NamedTuple):
    """Pairs of responses.

    Attributes:
      ratings: ``[M, 2, K]``, 0 where masked; float64, or fp32 if that holds every rating exactly.
      mask: ``[M, 2, K]``.
      sign: ``[M]``, 1 where people prefer the first, -1 the second, 0 where nobody chose between these two.
      prompt: ``[M]``.
      rules: K names.
      comparison: ``[M]``, the number of the comparison that each pair is of.
      labelled: ``[M]``, whether somebody chose in that comparison.
    """

    ratings: Float[np.ndarray, "M 2 K"]
    mask: Bool[np.ndarray, "M 2 K"]
    sign: Float[np.ndarray, " M"]
    prompt: Int[np.ndarray, " M"]
    rules: tuple[str, ...]
    comparison: Int[np.ndarray, " M"]
    labelled: Bool[np.ndarray, " M"]


def rated_pairs(
    ratings: Float[Array, "N n K"] | Iterable[Comparison],
    preferred: Int[Array, " N"] | None = None,
    where: Bool[Array, "N n K"] | None = None,
    prompt: Int[Array, " N"] | None = None,
    rules: Sequence[str] | None = None,
) -> RatedPairs:
    """Every two responses of every comparison; arguments as `encore_jax.evaluation.reliability.reliability` has them.

    Raises:
      InputError: fewer than three rules or one response, shapes that do not fit, nothing rated, ratings that exist and
        are not finite, or comparisons without ratings or of different rules.

    >>> pairs = rated_pairs(np.zeros((1, 3, 4)), preferred=[2])
    >>> pairs.ratings.shape, pairs.sign.tolist()
    ((3, 2, 4), [0.0, -1.0, -1.0])
    """
    return pairs_of(*rated_arrays(ratings, preferred, where, prompt, rules))


def rated_arrays(
    ratings: Float[Array, "N n K"] | Iterable[Comparison], preferred=None, where=None, prompt=None, rules=None
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, tuple[str, ...]]:
    """Ratings ``[N, n, K]`` (0 where masked), preferred ``[N]``, mask, prompt ``[N]`` and names; see `rated_pairs`."""
    records = _records(ratings)
    if records is not None:
        for name, value in (("preferred", preferred), ("where", where), ("prompt", prompt), ("rules", rules)):
            if value is not None:
                raise InputError("comparisons carry their own", where=name, fix="leave it out")
        ratings, preferred, where, prompt, rules = _stacked(records)
    return _checked(rating_array(ratings), preferred, where, prompt, rules)


def is_comparisons(ratings) -> bool:
    """Whether records were passed, or an iterator of such, and no array."""
    if hasattr(ratings, "shape") or not isinstance(ratings, Iterable):
        return False
    return not isinstance(ratings, list | tuple) or any(isinstance(row, Comparison) for row in ratings[:1])


def _records(ratings) -> list[Comparison] | None:
    """The comparisons, if it is these that were passed."""
    return list(ratings) if is_comparisons(ratings) else None


def _stacked(records: list[Comparison]):
    """Arrays of comparisons, padded and masked where some have fewer responses."""
    for i, record in enumerate(records):
        at = f"comparison {i}" + (f" ({record.id})" if getattr(record, "id", "") else "")
        if not isinstance(record, Comparison):
            raise InputError(f"is a {type(record).__name__}", where=at, fix=WHAT)
        if record.ratings is None:
            raise InputError("has no ratings", where=at, fix="rate it first, or leave it out")
        if record.rules != records[0].rules:
            raise InputError("is rated on other rules than the first", where=at, fix="read with one rule pool")
    if not records:
        raise InputError("there is no comparison", where="reliability", fix=WHAT)
    most = max(len(record.responses) for record in records)
    shape = (len(records), most, len(records[0].rules))
    ratings, where = np.zeros(shape, np.float32), np.zeros(shape, bool)
    for i, record in enumerate(records):
        ratings[i, : len(record.responses)], where[i, : len(record.responses)] = record.ratings, record.mask
    preferred = np.array([UNLABELLED if record.preferred is None else record.preferred for record in records])
    prompt = np.unique([prompt_key(record.prompt) for record in records], return_inverse=True)[1].reshape(-1)
    return ratings, preferred, where, prompt, records[0].rules


def rating_array(ratings) -> Float[np.ndarray, "..."]:
    """Ratings as float64, or as fp32 if that holds them exactly; what is beyond fp32's range is infinite, None is NaN.

    Raises:
      InputError: text, dates, complex numbers, lists of unequal length, or whole numbers that float64 would round.
    """
    fix = WHAT
    refuse_masked(ratings, "ratings")
    try:
        array = np.asarray(ratings)
        if array.dtype.kind == "O":
            strange = next((x for x in array.ravel() if not isinstance(x, int | float | np.number | None)), None)
            if strange is not None:
                raise TypeError(f"one is a {type(strange).__name__}")
        elif array.dtype.kind not in "biufV":  # V: bfloat16
            raise TypeError(f"they are {array.dtype}")
        refuse_rounded(array)
        with np.errstate(over="ignore"):
            single = array.astype(np.float32)
            if array.dtype.kind == "f" and array.dtype.itemsize <= 4:
                return single
            double = array.astype(np.float64)
        if np.array_equal(single, double, equal_nan=True):
            return single
        return np.where(np.isinf(single), single, double)
    except (TypeError, ValueError, OverflowError) as error:
        raise InputError(f"are no array of numbers: {' '.join(str(error).split())}", where="ratings", fix=fix) from None


def _checked(ratings: np.ndarray, preferred, where, prompt, rules):
    if ratings.ndim == 2:
        raise InputError(f"has shape {ratings.shape}, without an axis of responses", where="ratings", fix=WHAT)
    if ratings.ndim != 3 or ratings.shape[1] < 2:
        raise InputError(f"has shape {ratings.shape}", where="ratings", fix=WHAT)
    n, responses, count = ratings.shape
    names, mask, prompt = checked_names(count, rules), checked_mask(ratings, where), checked_prompt(n, prompt)
    preferred = np.full(n, UNLABELLED) if preferred is None else _choices(preferred)
    if preferred.shape != (n,):
        raise InputError(f"ratings {ratings.shape}, preferred {preferred.shape}", where="preferred", fix="pass [N]")
    wrong = np.flatnonzero(~np.isin(preferred, (UNLABELLED, *range(responses))))
    if wrong.size:
        fix = f"use 0 to {responses - 1}, or {UNLABELLED} where nobody chose"
        raise InputError(f"preferred is {preferred[wrong[0]]}", where=f"comparison {wrong[0]}", fix=fix)
    refuse_not_finite(ratings, mask, names)
    pairs = n * responses * (responses - 1) // 2
    if 2 * pairs * count > MOST_VALUES:
        problem = f"{n:,} comparisons of {responses} responses are {pairs:,} pairs"
        raise InputError(problem, where="ratings", fix="pass fewer comparisons, or fewer responses of each")
    return np.where(mask, ratings, 0), preferred.astype(int), mask, prompt, names


def _choices(preferred) -> np.ndarray:
    refuse_masked(preferred, "preferred")
    fix = f"pass [N] indices of responses, {UNLABELLED} where nobody chose"
    try:
        array = np.asarray(preferred)
    except ValueError as error:
        raise InputError(f"is no array: {' '.join(str(error).split())}", where="preferred", fix=fix) from None
    refuse_answers(array.dtype, "preferred")
    if array.dtype.kind not in "iuf":
        raise InputError(f"holds {array.dtype}, no indices", where="preferred", fix=fix)
    return array


def pairs_of(ratings, preferred, mask, prompt, names) -> RatedPairs:
    """All pairs, those of one comparison one after the other; pairs with a missing response are left out."""
    n, responses, _ = ratings.shape
    if responses == 2:
        a, b = np.zeros(n, int), np.ones(n, int)
        comparison, first = np.arange(n), ratings
        both = mask
    else:
        both_sides = np.array(list(itertools.combinations(range(responses), 2)))
        comparison = np.repeat(np.arange(n), len(both_sides))
        a, b = np.tile(both_sides, (n, 1)).T
        exists = mask.any(2)
        kept = exists[comparison, a] & exists[comparison, b]
        comparison, a, b = comparison[kept], a[kept], b[kept]
        first = np.stack([ratings[comparison, a], ratings[comparison, b]], 1)
        both = np.stack([mask[comparison, a], mask[comparison, b]], 1)
    chosen = preferred[comparison]
    sign = np.select([chosen == a, chosen == b], [1.0, -1.0], 0.0)
    return RatedPairs(first, both, sign, prompt[comparison], names, comparison, chosen != UNLABELLED)
