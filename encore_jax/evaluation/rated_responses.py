"""Ratings of single responses ``[N, K]``, without pairs, and what absolute labels of them tell.

Loadings come from the ratings themselves. A label says how good a response is, so two labelled responses of different
quality are a comparison. Every labelled response is put into one such pair at most, drawn at random: pairs that share
a response would not be independent, and all intervals would be too narrow.

Letters: N responses, M pairs, K rules.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Array, Bool, Float, Int

from encore_jax.composition.checks import observed_grids, refuse_masked
from encore_jax.composition.ties import is_tie, rule_margins
from encore_jax.errors import InputError
from encore_jax.evaluation.rated_pairs import RatedPairs, is_comparisons, rating_array
from encore_jax.evaluation.reliability_arguments import checked_mask, checked_names, checked_prompt, refuse_not_finite
from encore_jax.evaluation.rule_reliability import RuleReliability, common_entropy

FIX = "pass [N]: 0 or 1, or a grade, higher is better; NaN where nobody said"


class RatedResponses(NamedTuple):
    """Responses, each rated alone.

    Attributes:
      ratings: ``[N, K]``, 0 where masked; float64, or fp32 if that holds every rating exactly.
      mask: ``[N, K]``.
      prompt: ``[N]``.
      rules: K names.
      labelled: ``[N]``, whether somebody said how good the response is.
      pairs: M pairs of labelled responses of different quality; `comparison` numbers the pairs.
    """

    ratings: Float[np.ndarray, "N K"]
    mask: Bool[np.ndarray, "N K"]
    prompt: Int[np.ndarray, " N"]
    rules: tuple[str, ...]
    labelled: Bool[np.ndarray, " N"]
    pairs: RatedPairs


def single_responses(ratings, preferred, quality, where, prompt, rules, seed) -> RatedResponses | None:
    """The responses, if they were rated alone; None if it is comparisons that were passed.

    Raises:
      InputError: labels of the other kind, or what `rated_responses` refuses.
    """
    if is_comparisons(ratings) or (array := rating_array(ratings)).ndim != 2:
        if quality is not None:
            fix = "of comparisons pass preferred, the index of the better response"
            raise InputError("is of single responses, and these are comparisons", where="quality", fix=fix)
        return None
    if preferred is not None:
        fix = "pass quality [N], 0 or 1 or a grade; or ratings [N, n, K] of comparisons"
        raise InputError("says which of two responses is better, and these are single ones", where="preferred", fix=fix)
    return rated_responses(array, quality, where, prompt, rules, seed)


def rated_responses(
    ratings: Float[np.ndarray, "N K"],
    quality: Float[Array, " N"] | None = None,
    where: Bool[Array, "N K"] | None = None,
    prompt: Int[Array, " N"] | None = None,
    rules: Sequence[str] | None = None,
    seed: int = 0,
) -> RatedResponses:
    """Checks ratings of single responses, and pairs those that are labelled.

    Raises:
      InputError: fewer than three rules, shapes that do not fit, nothing rated, ratings that exist and are not finite,
        labels that are no numbers.

    >>> found = rated_responses(np.eye(4, 3, dtype=np.float32), quality=[1, 0, 0, np.nan])
    >>> found.pairs.ratings.shape, found.labelled.tolist()
    ((1, 2, 3), [True, True, True, False])
    """
    n = len(ratings)
    names = checked_names(ratings.shape[1], rules)
    mask, prompt = checked_mask(ratings, where), checked_prompt(n, prompt)
    refuse_not_finite(ratings, mask, names)
    label = _labels(quality, n)
    ratings = np.where(mask, ratings, 0)
    first, second = _pairs_of(label, seed)
    chosen = np.stack([first, second], 1)
    sign = np.where(label[first] > label[second], 1.0, -1.0)
    pairs = RatedPairs(
        ratings[chosen], mask[chosen], sign, prompt[first], names, np.arange(len(first)), np.ones(len(first), bool)
    )
    return RatedResponses(ratings, mask, prompt, names, np.isfinite(label), pairs)


def _labels(quality, n: int) -> np.ndarray:
    if quality is None:
        return np.full(n, np.nan)
    refuse_masked(quality, "quality")
    try:
        values = np.asarray(quality)
    except ValueError as error:
        raise InputError(f"is no array: {' '.join(str(error).split())}", where="quality", fix=FIX) from None
    if values.dtype.kind not in "biufO" or values.shape != (n,):
        raise InputError(f"has shape {values.shape} and holds {values.dtype}", where="quality", fix=FIX)
    try:
        if any(isinstance(value, str | bytes) for value in (values if values.dtype == object else ())):
            raise TypeError("there is text among them")
        values = values.astype(np.float64)
    except (TypeError, ValueError) as error:
        raise InputError(f"are no numbers: {error}", where="quality", fix=FIX) from None
    if np.isinf(values).any():
        raise InputError("is infinite", where=f"quality, response {int(np.argmax(np.isinf(values)))}", fix=FIX)
    return values


def _pairs_of(label: np.ndarray, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Both responses of every pair of different labels, every response in one pair at most, in random order.

    Responses are put in order of their labels, drawn at random among equal ones. Each of the lower half is paired with
    the one half the number further up, so that hardly a pair has equal labels if any other pairing avoids it.
    """
    rng = np.random.default_rng(seed)
    known = np.flatnonzero(np.isfinite(label))
    ranked = rng.permutation(known)
    ranked = ranked[np.argsort(label[ranked], kind="stable")]
    half = len(ranked) // 2
    low, high = ranked[:half], ranked[len(ranked) - half :]
    apart = label[low] != label[high]
    low, high = low[apart], high[apart]
    swapped = rng.random(len(low)) < 0.5
    return np.where(swapped, high, low), np.where(swapped, low, high)


def response_reliabilities(found: RatedResponses, of_pairs: Sequence[RuleReliability]) -> tuple[RuleReliability, ...]:
    """Every rule's line, with the accuracy of pairs of labelled responses and all else from the responses themselves.

    Args:
      found: the responses.
      of_pairs: lines of its pairs.
    """
    grids = observed_grids(found.ratings, found.mask)
    entropy = common_entropy(found.ratings[None], found.mask[None], grids)
    return tuple(
        line._replace(
            n=int(found.mask[:, k].sum()),
            levels=grids[k].size,
            tie_rate=_alike(found.ratings[found.mask[:, k], k]),
            entropy=float(entropy[k]),
        )
        for k, line in enumerate(of_pairs)
    )


def _alike(values: np.ndarray) -> float:
    """Share of any two responses that are rated alike; NaN of fewer than two."""
    n = len(values)
    if n < 2:
        return float("nan")
    ranked = np.sort(values)[:, None]
    ends = np.flatnonzero(~is_tie(rule_margins(ranked[1:], ranked[:-1]).value)) + 1
    sizes = np.diff(np.concatenate([[0], ends, [n]])).astype(np.float64)
    return float((sizes * (sizes - 1)).sum() / (n * (n - 1)))
