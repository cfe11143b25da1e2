"""Halo out of finished ratings: the same responses rated rule by rule, in calls, and in calls in the reversed order.

`encore_jax.evaluation.halo` measures on arrays; here rated responses are put side by side first, by prompt and text.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int

from encore_jax.data.comparison import RatedResponse, prompt_key
from encore_jax.data.rated_again import merged
from encore_jax.data.rows import named
from encore_jax.errors import InputError
from encore_jax.evaluation.halo import DRAWS, Halo, measure_halo

WAYS = ("isolated", "together", "reversed")
"""Every rule by itself, in calls, and in calls in the reversed order of the list."""


class SideBySide(NamedTuple):
    """The N responses that every way has rated, in the order of the first.

    Attributes:
      rules: K names, in the order of the first way.
      ratings: of every way ``[N, K]``, from 0 to 1, oriented; NaN where there is none.
      group: of every response a number for its prompt.
      left_out: by way, how many different responses another way has not rated.
    """

    rules: tuple[str, ...]
    ratings: dict[str, Float[np.ndarray, "N K"]]
    group: Int[np.ndarray, " N"]
    left_out: dict[str, int]


def side_by_side(
    ways: Mapping[str, Sequence[RatedResponse]], names: Mapping[str, str] = MappingProxyType({})
) -> SideBySide:
    """Puts ratings of the same responses side by side; a response that a way rated twice counts once, by its mean.

    Args:
      ways: two or more of `WAYS`, "isolated" and "together" among them.
      names: what messages call each, e.g. its file.

    Raises:
      InputError: a way without ratings, other rules, or no response that all of them rated.

    >>> from encore_jax.data import Message
    >>> def one(response, rating):
    ...     return RatedResponse((Message("user", "Hi"),), response, ("kind",), np.array([rating]), np.array([True]))
    >>> found = side_by_side({"isolated": [one("a", 1.0), one("b", 0.0)], "together": [one("b", 0.5)]})
    >>> found.ratings["isolated"].tolist(), found.ratings["together"].tolist(), found.left_out
    ([[0.0]], [[0.5]], {'isolated': 1, 'together': 0})
    """
    names = {way: names.get(way, way) for way in ways}
    tables: dict[str, dict[tuple[str, str], RatedResponse]] = {}
    for way, rated in ways.items():
        if not rated:
            raise InputError("holds no rating", where=names[way], fix="rate some comparisons")
        tables[way] = {(prompt_key(one.prompt), one.response): one for one in merged(rated, names[way])}
    rules = _rules({names[way]: rated[0].rules for way, rated in ways.items()})
    first, *others = tables.values()
    shared = [key for key in first if all(key in other for other in others)]
    if not shared:
        counts = ", ".join(f"{len(table)} in {names[way]}" for way, table in tables.items())
        problem = f"no response was rated in every way (responses: {counts}); these are other comparisons"
        raise InputError(problem, where="halo", fix="rate the same comparisons each time")
    place = {way: [table[shared[0]].rules.index(rule) for rule in rules] for way, table in tables.items()}
    ratings = {
        way: np.stack([np.where(table[key].mask, table[key].ratings, np.nan) for key in shared])[:, place[way]]
        for way, table in tables.items()
    }
    group = np.unique([prompt for prompt, _ in shared], return_inverse=True)[1].reshape(-1)
    left_out = {way: len(table) - len(shared) for way, table in tables.items()}
    return SideBySide(rules, {way: values.astype(np.float64) for way, values in ratings.items()}, group, left_out)


def halo_of(found: SideBySide, *, draws: int = DRAWS, seed: int = 0) -> Halo:
    """What calls do to these ratings; without the reversed order it cannot be said that its effect is small.

    Args:
      found: of the ways "isolated" and "together", and "reversed" where it was asked.
      draws, seed: of the bootstrap.

    Raises:
      InputError: as `measure_halo`.
    """
    one, more, back = (found.ratings.get(way) for way in WAYS)
    return measure_halo(one, more, back, found.rules, found.group, draws=draws, seed=seed)


def _rules(by_way: Mapping[str, tuple[str, ...]]) -> tuple[str, ...]:
    """The rules of the first way.

    Raises:
      InputError: another way has other rules.
    """
    (name, first), *others = by_way.items()
    for other, rules in others:
        only = {other: [r for r in rules if r not in first], name: [r for r in first if r not in rules]}
        if any(only.values()):
            told = "; ".join(f"only {way} has {named(own)}" for way, own in only.items() if own)
            raise InputError(f"has other rules than {name}: {told}", where=other, fix="ask about one pool each time")
    return first
