"""Ratings of one rule on two scales: fractions from 0 to 1 among grades, grades among percentages.

Ratings on a single scale have one grain: whoever gives 0.3 and 0.7 gives 1.3 as well, where the scale is longer. So low
ones that are finer than all others are on a scale of their own.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float

from encore_jax.data.orientation import Scale
from encore_jax.data.rating_cells import Cell, infer_scale
from encore_jax.errors import InputError

SHARE, LEAST = 0.05, 3
"""Of the ratings, and how many, either scale has at least: fewer are slips, which `encore_jax.data.stray` looks for."""
GRADE, PERCENT = 5.0, 5.0
"""The highest grade of the usual scale below percentages, and what these are multiples of where people give them."""


class SeveralScales(InputError):
    """Ratings rest on more than one scale, or on a slip, so that none can be inferred."""


class TwoScales(NamedTuple):
    """Which ratings are on the narrower scale, and which on the other; 0 and 1 may be on either."""

    inside: Bool[np.ndarray, " n"]
    beyond: Bool[np.ndarray, " n"]


def two_scales(values: Float[np.ndarray, " n"]) -> TwoScales | None:
    """The two scales that one rule's ratings are on; None if they may well be on one.

    >>> two_scales(np.array([1.0, 2, 3, 4, 5, 0.2, 0.5, 0.9])).inside.sum()
    np.int64(3)
    >>> two_scales(np.array([1.0, 2.5, 3, 4, 5, 0.2, 0.5, 0.9])) is None  # one grain
    True
    """
    fractions = TwoScales((values > 0) & (values < 1), values > 1)
    grades = TwoScales(np.isin(values, (2, 3, 4)), values > GRADE)
    if _enough(fractions, values, distinct=2) and (values[fractions.beyond] % 1 == 0).all():
        return fractions
    between = (values > GRADE) & (values < 2 * GRADE)
    coarse = (values % PERCENT == 0) | np.isin(values, (1, 2, 3, 4))
    if _enough(grades, values, distinct=3) and coarse.all() and not between.any() and values.max() > 10 * GRADE:
        return grades
    return None


def _enough(found: TwoScales, values: np.ndarray, distinct: int) -> bool:
    least = max(LEAST, SHARE * len(values))
    return (
        min(found.inside.sum(), found.beyond.sum()) >= least
        and len(np.unique(values[found.inside])) >= distinct
        and len(np.unique(values[found.beyond])) >= 2
    )


def check_mixed(
    values: Mapping[str, Float[np.ndarray, " n"]], place: Callable[[str, int], str], fix: str = "give their scale"
) -> None:
    """Refuses a rule whose ratings are on two scales.

    Args:
      values: by rule, all its ratings.
      place: where a rule's i-th rating stands.
      fix: how the scale is given.

    Raises:
      InputError: naming the rule, a rating of the rarer kind, and both scales.

    >>> check_mixed({"kind": np.array([1.0, 2, 3, 4, 5, 0.2, 0.5, 0.9])}, "line 6".format)
    ... # doctest: +ELLIPSIS, +NORMALIZE_WHITESPACE
    Traceback (most recent call last):
    encore_jax.data.mixed_scales.SeveralScales: line 6, rule 'kind': this rating is 0.2: 3 ratings lie on the scale from
    ...
    """
    for rule, own in values.items():
        found = two_scales(np.asarray(own, np.float64))
        if found is None:
            continue
        rarer = found.inside if found.inside.sum() <= found.beyond.sum() else found.beyond
        i = int(np.argmax(rarer))
        (low, high), (start, end) = (_scale(own[part]) for part in found)
        problem = (
            f"this rating is {own[i]:g}: {found.inside.sum():,} ratings lie on the scale from {low:g} to {high:g}, and "
            f"{found.beyond.sum():,} on that from {start:g} to {end:g}"
        )
        where = ", ".join(part for part in (place(rule, i), f"rule {rule!r}") if part)
        raise SeveralScales(problem, where=where, fix=f"bring them to one scale; if they are on one, {fix}")


def _scale(values: np.ndarray) -> Scale:
    return infer_scale([Cell(float(values.min())), Cell(float(values.max()))])
