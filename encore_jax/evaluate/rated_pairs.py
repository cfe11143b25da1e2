"""Ratings as a user has them, as pairs: arrays of comparisons of n responses, or rated comparisons.

Letters: N comparisons, n responses, M pairs, K rules.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Array, Bool, Float, Int

from encore_jax.composition.agreement import FEWEST_RULES
from encore_jax.composition.checks import refuse_masked
from encore_jax.data import Comparison, prompt_key
from encore_jax.errors import InputError

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
    """Every two responses of every comparison; arguments as `encore_jax.evaluate.reliability.reliability` has them.

    Raises:
      InputError: fewer than three rules or one response, shapes that do not fit, nothing rated, ratings that exist and
        are not finite, or comparisons without ratings or of different rules.

    >>> pairs = rated_pairs(np.zeros((1, 3, 4)), preferred=[2])
    >>> pairs.ratings.shape, pairs.sign.tolist()
    ((3, 2, 4), [0.0, -1.0, -1.0])
    """
    records = _records(ratings)
    if records is not None:
        for name, value in (("preferred", preferred), ("where", where), ("prompt", prompt), ("rules", rules)):
            if value is not None:
                raise InputError("comparisons carry their own", where=name, fix="leave it out")
        ratings, preferred, where, prompt, rules = _stacked(records)
    return _pairs(*_checked(rating_array(ratings), preferred, where, prompt, rules))


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


def refuse_rounded(array: np.ndarray) -> None:
    """Raises InputError for a whole number that float64 does not hold, such as a time in nanoseconds."""
    if array.dtype.kind in "iu":
        large = (array > 2**53) | (array < -(2**53)) if array.dtype.itemsize == 8 else np.zeros(0, bool)
        values = array[large].tolist() if large.any() else []
    else:
        values = [x for x in array.ravel() if isinstance(x, int | np.integer)] if array.dtype.kind == "O" else []
    for value in values:
        if abs(value) > 2**53 and abs(value) < 2**128 and int(float(value)) != int(value):
            fix = "subtract a constant from each rule's ratings, e.g. their minimum: only differences count"
            raise InputError(f"{value} has too many digits for float64", where="ratings", fix=fix)


def check_numbers(labels: int, draws: int, seed: int) -> None:
    """Raises InputError unless these are numbers to work with."""
    what = {"labels": (labels, 1, "ask for at least one comparison"), "draws": (draws, 1, "draw at least once")}
    for name, (value, least, fix) in (what | {"seed": (seed, 0, "use a number from 0")}).items():
        if isinstance(value, bool) or not isinstance(value, int | np.integer) or value < least:
            raise InputError(f"got {str(value)[:60]}", where=name, fix=fix)


def checked_names(count: int, rules: Sequence[str] | None) -> tuple[str, ...]:
    """Names of K rules; "rule k" where none are given.

    Raises:
      InputError: fewer than three rules, or not one name of its own for each.
    """
    if count < FEWEST_RULES:
        problem = f"got {count} rule{'s' if count != 1 else ''}; agreement needs at least {FEWEST_RULES}"
        raise InputError(problem, where="reliability", fix="add rules, or weigh them equally")
    if rules is None:
        return tuple(f"rule {k}" for k in range(count))
    if isinstance(rules, str) or not isinstance(rules, Iterable):
        raise InputError(f"is a {type(rules).__name__}, no list of names", where="rules", fix="one name per rule")
    names = tuple(map(str, rules))
    if len(names) != count or len(set(names)) != count:
        problem = f"{len(set(names))} different names for {count} rules"
        raise InputError(problem, where="rules", fix="one name per rule")
    return names


def checked_mask(ratings: np.ndarray, where) -> Bool[np.ndarray, "..."]:
    """The mask, of the ratings' shape; all True where none is given.

    Raises:
      InputError: another shape, or values that are not true or false.
    """
    if where is None:
        return np.ones(ratings.shape, bool)
    try:
        mask = np.asarray(where)
    except ValueError:
        mask = np.zeros(0, object)
    if mask.dtype.kind not in "biuf" or not np.isin(mask, (0, 1)).all():
        raise InputError("holds something else than true and false", where="where", fix="pass np.isfinite(ratings)")
    if mask.shape != ratings.shape:
        problem = f"ratings {ratings.shape}, mask {mask.shape}"
        raise InputError(problem, where="where", fix="one mask entry per rating")
    return mask.astype(bool)


def checked_prompt(n: int, prompt) -> np.ndarray:
    """The prompt's number ``[N]`` of every comparison or response; each its own where none is given.

    Raises:
      InputError: another shape.
    """
    if prompt is None:
        return np.arange(n)
    values = prompt if hasattr(prompt, "shape") else list(prompt) if isinstance(prompt, Iterable) else [prompt]
    if len(np.shape(values)) != 1 or len(values) != n:
        shape = np.shape(values) if hasattr(values, "shape") else (len(values),)
        raise InputError(f"has shape {shape}, not ({n},)", where="prompt", fix="pass [N], equal for equal prompts")
    numbers: dict = {}
    plain = values.tolist() if hasattr(values, "tolist") else values
    try:
        return np.array([numbers.setdefault(value, len(numbers)) for value in plain], int)
    except TypeError as error:
        raise InputError(f"cannot be compared: {error}", where="prompt", fix="pass numbers or texts") from None


def refuse_not_finite(ratings: np.ndarray, mask: np.ndarray, names: Sequence[str]) -> None:
    """Raises InputError for the first rating ``[N, K]`` or ``[N, n, K]`` that is not finite, or if all are masked."""
    bad = np.argwhere(mask & ~np.isfinite(ratings))
    if bad.size:
        row, *response, k = bad[0]
        at = f"comparison {row}, response {response[0]}" if response else f"response {row}"
        problem = f"{ratings[tuple(bad[0])]} is not finite ({len(bad)} such)"
        fix = "mask it (where=np.isfinite(ratings)), or rate it again"
        raise InputError(problem, where=f"ratings, {at}, rule {names[k]!r}", fix=fix)
    if not mask.any():
        raise InputError("nothing is rated", where="ratings", fix="pass at least one rating that the mask keeps")


def _checked(ratings: np.ndarray, preferred, where, prompt, rules):
    if ratings.ndim == 2:
        raise InputError(f"has shape {ratings.shape}, without an axis of responses", where="ratings", fix=WHAT)
    if ratings.ndim != 3 or ratings.shape[1] < 2:
        raise InputError(f"has shape {ratings.shape}", where="ratings", fix=WHAT)
    n, responses, count = ratings.shape
    names, mask, prompt = checked_names(count, rules), checked_mask(ratings, where), checked_prompt(n, prompt)
    preferred = np.full(n, UNLABELLED) if preferred is None else np.asarray(preferred)
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


def _pairs(ratings, preferred, mask, prompt, names) -> RatedPairs:
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
