"""Rated responses that are the same text, and which of a prompt's responses people call best."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence

import numpy as np
from jaxtyping import Float

from encore_jax.data.comparison import RatedResponse, prompt_key
from encore_jax.errors import InputError


def merged(rated: Sequence[RatedResponse], where: str) -> list[RatedResponse]:
    """Every different response once: several ratings of one text by one rule are averaged, for it is no other text.

    Args:
      rated: in any order; the first of each text comes first.
      where: what messages call their source.

    Raises:
      InputError: ``extra.quality`` of one of several is no number.
    """
    same: dict[tuple[str, str], list[RatedResponse]] = {}
    for one in rated:
        same.setdefault((prompt_key(one.prompt), one.response), []).append(one)
    return [own[0] if len(own) == 1 else _mean(own, where) for own in same.values()]


def _mean(rated: Sequence[RatedResponse], where: str) -> RatedResponse:
    values = np.array([np.where(one.mask, one.ratings, np.nan) for one in rated], np.float64)
    count = np.isfinite(values).sum(0)
    mean = np.where(count > 0, np.nansum(values, 0) / np.maximum(count, 1), 0)
    known = [value for one in rated if not math.isnan(value := quality_of(one, where))]
    extra = dict(rated[0].extra) | ({"quality": sum(known) / len(known)} if known else {})
    return dataclasses.replace(rated[0], ratings=mean.astype(np.float32), mask=count > 0, extra=extra)


def quality_of(one: RatedResponse, where: str) -> float:
    """What ``extra.quality`` says; NaN if it says nothing.

    Raises:
      InputError: it is no finite number.
    """
    value = one.extra.get("quality")
    if value is None:
        return math.nan
    if isinstance(value, bool | int | float) and math.isfinite(value):
        return float(value)
    fix = "write a number, higher is better (or 0 and 1), or leave it out"
    raise InputError(f"extra.quality is {str(value)[:50]!r}", where=f"{where}, response {one.id}", fix=fix)


def best_of(quality: Float[np.ndarray, " n"]) -> int:
    """The response that is better than all others of its prompt; -1 if that is not known.

    >>> best_of(np.array([1.0, 3.0, 2.0])), best_of(np.array([1.0, 1.0])), best_of(np.array([1.0, np.nan]))
    (1, -1, -1)
    """
    best = int(np.argmax(np.nan_to_num(quality, nan=-math.inf)))
    return best if not np.isnan(quality).any() and (quality == quality[best]).sum() == 1 else -1
