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
from encore_jax.data import Comparison, prompt_key
from encore_jax.errors import InputError

UNLABELLED = -1
"""Stands for "nobody chose" in `preferred`."""

MOST_VALUES = 400_000_000
"""Ratings in all pairs together; comparisons of many responses have many pairs."""

WHAT = "pass an array [N, n, K] of comparisons of n >= 2 responses, or rated comparisons"


class RatedPairs(NamedTuple):
    """Pairs of responses.

    Attributes:
      ratings: fp32 ``[M, 2, K]``, 0 where masked.
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
    return _pairs(*_checked(_array(ratings), preferred, where, prompt, rules))


def _records(ratings) -> list[Comparison] | None:
    """The comparisons, if it is these that were passed."""
    if hasattr(ratings, "shape") or not isinstance(ratings, Iterable):
        return None
    rows = list(ratings) if not isinstance(ratings, list | tuple) else ratings
    return list(rows) if any(isinstance(row, Comparison) for row in rows[:1]) or rows is not ratings else None


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


def _array(ratings) -> np.ndarray:
    try:
        return np.asarray(ratings, np.float32)
    except (TypeError, ValueError) as error:
        raise InputError(f"are no array of numbers: {error}", where="ratings", fix=WHAT) from None


def _checked(ratings: np.ndarray, preferred, where, prompt, rules):
    if ratings.ndim == 2:
        fix = f"{WHAT}; agreement_loadings(ratings) of encore_jax.composition.agreement takes single responses"
        raise InputError(f"has shape {ratings.shape}, without an axis of responses", where="ratings", fix=fix)
    if ratings.ndim != 3 or ratings.shape[1] < 2:
        raise InputError(f"has shape {ratings.shape}", where="ratings", fix=WHAT)
    n, responses, count = ratings.shape
    if count < FEWEST_RULES:
        problem = f"got {count} rule{'s' if count != 1 else ''}; agreement needs at least {FEWEST_RULES}"
        raise InputError(problem, where="reliability", fix="add rules, or weigh them equally")
    names = tuple(f"rule {k}" for k in range(count)) if rules is None else tuple(map(str, rules))
    if len(names) != count or len(set(names)) != count:
        problem = f"{len(set(names))} different names for {count} rules"
        raise InputError(problem, where="rules", fix="one name per rule")
    mask = np.ones(ratings.shape, bool) if where is None else np.asarray(where, bool)
    prompt = np.arange(n) if prompt is None else np.asarray(prompt)
    preferred = np.full(n, UNLABELLED) if preferred is None else np.asarray(preferred)
    if mask.shape != ratings.shape or prompt.shape != (n,) or preferred.shape != (n,):
        problem = f"ratings {ratings.shape}, mask {mask.shape}, prompt {prompt.shape}, preferred {preferred.shape}"
        raise InputError(problem, where="reliability", fix="pass [N, n, K], [N, n, K], [N] and [N]")
    wrong = np.flatnonzero(~np.isin(preferred, (UNLABELLED, *range(responses))))
    if wrong.size:
        fix = f"use 0 to {responses - 1}, or {UNLABELLED} where nobody chose"
        raise InputError(f"preferred is {preferred[wrong[0]]}", where=f"comparison {wrong[0]}", fix=fix)
    bad = np.argwhere(mask & ~np.isfinite(ratings))
    if bad.size:
        row, response, k = bad[0]
        place = f"ratings, comparison {row}, response {response}, rule {names[k]!r}"
        problem = f"{ratings[tuple(bad[0])]} is not finite ({len(bad)} such)"
        raise InputError(problem, where=place, fix="mask it (where=np.isfinite(ratings)), or rate it again")
    if not mask.any():
        raise InputError("nothing is rated", where="ratings", fix="pass at least one rating that the mask keeps")
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
