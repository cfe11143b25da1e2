"""Arguments of `encore_jax.panel_reliability`: the ratings of several judges, checked.

Letters: J rows (draws of judges), N comparisons, n responses, K rules.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from encore_jax.composition.checks import refuse_masked, shortened
from encore_jax.data.panel import check_judges
from encore_jax.errors import InputError
from encore_jax.evaluation.reliability_arguments import checked_mask, refuse_rounded
from encore_jax.settings import MAX_FLOAT

MOST_COLUMNS = 400
"""Judges times rules: correlations of so many columns, in 500 groups of prompts, take gigabytes."""

WHAT = "pass an array [J, N, n, K]: judges, comparisons, n >= 2 responses, rules"


class PanelRatings(NamedTuple):
    """Checked: NaN where there is no rating."""

    values: Float[np.ndarray, "J N n K"]
    names: tuple[str, ...]
    judges: tuple[str, ...]
    rules: tuple[str, ...]


def checked_panel(ratings, where, judges, draws_of, rules) -> PanelRatings:
    """The ratings as float64 with their names; arguments as `encore_jax.evaluation.panel.panel_reliability` has them.

    Raises:
      InputError: see there.
    """
    refuse_masked(ratings, "ratings")
    try:
        if np.iscomplexobj(ratings):
            raise TypeError("they are complex")
        refuse_rounded(np.asarray(ratings))
        values = np.array(ratings, np.float64)
    except (TypeError, ValueError, OverflowError) as error:
        raise InputError(f"are no array of numbers: {error}", where="ratings", fix=WHAT) from None
    if values.ndim != 4 or values.shape[2] < 2 or not values.size:
        fix = WHAT + ("; of one judge's ratings [N, n, K] reliability() tells what can be told" * (values.ndim == 3))
        raise InputError(f"has shape {values.shape}", where="ratings", fix=fix)
    names, own = check_judges([f"judge {j}" for j in range(len(values))] if judges is None else judges, draws_of)
    if len(names) != len(values):
        raise InputError(f"{len(names)} names for {len(values)} judges", where="judges", fix="one name per judge")
    count = values.shape[3]
    if isinstance(rules, str | bytes) or not isinstance(rules, Iterable | None):
        raise InputError(f"is a {type(rules).__name__}, no list of names", where="rules", fix="one name per rule")
    rules = tuple(f"rule {k}" for k in range(count)) if rules is None else tuple(map(str, rules))
    if len(rules) != count or len(set(rules)) != count:
        raise InputError(f"{len(set(rules))} different names for {count} rules", where="rules", fix="one name per rule")
    if len(set(own)) * count > MOST_COLUMNS:
        problem = f"{len(set(own))} judges times {count} rules are more than {MOST_COLUMNS} columns"
        raise InputError(problem, where="ratings", fix="pass fewer rules or judges at once")
    mask = checked_mask(values, where)
    good = np.isfinite(values) & (np.abs(values) <= MAX_FLOAT)
    for name, part, kept in zip(names, good, mask, strict=True):
        if not (part & kept).any():
            problem = "has no rating that the mask keeps" if not kept.any() else "has no rating that is a number"
            raise InputError(problem, where=f"judge {name!r}", fix="leave it out, or have it rate")
    bad = np.argwhere(mask & ~good)
    if bad.size:
        j, row, response, k = bad[0]
        place = f"ratings, judge {names[j]!r}, comparison {row}, response {response}, rule {rules[k]!r}"
        problem = f"{values[tuple(bad[0])]} is no finite number of float32 ({len(bad)} such)"
        raise InputError(problem, where=place, fix="mask it (where=np.isfinite(ratings)), or rate it again")
    return PanelRatings(np.where(mask, values, np.nan), names, own, rules)


def column_names(judges: Sequence[str], rules: Sequence[str]) -> tuple[str, ...]:
    """A name for every judge's rating of every rule."""
    names = tuple(f"{judge}: {rule}" for judge in judges for rule in rules)
    if len(set(names)) < len(names):  # "a: b" and "c", "a" and "b: c"
        names = tuple(f"{j}. {judge}: {rule}" for j, judge in enumerate(judges, 1) for rule in rules)
    return names


def anchor_column(anchor: tuple[str, str], judges: Sequence[str], rules: Sequence[str], columns: Sequence[str]) -> str:
    """The column of a judge and a rule; raises InputError for what is not there."""
    if not isinstance(anchor, tuple | list) or len(anchor) != 2:
        raise InputError(f"{shortened(anchor)} is no judge and rule", where="anchor", fix="give (judge, rule)")
    for what, name, known in (("judge", anchor[0], judges), ("rule", anchor[1], rules)):
        if name not in known:
            raise InputError(f"there is no {what} {name!r}", where="anchor", fix=f"use one of {', '.join(known)}")
    return columns[judges.index(anchor[0]) * len(rules) + rules.index(anchor[1])]
