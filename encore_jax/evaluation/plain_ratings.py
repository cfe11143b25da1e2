"""Tables with nothing but ratings: a column for every rule, or one for every rule and side (``kind_a``, ``kind_b``)."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence

import numpy as np

from encore_jax.data.fields import is_empty
from encore_jax.data.orientation import Scale
from encore_jax.data.paired_columns import paired_line
from encore_jax.data.rating_advice import check_not_long
from encore_jax.data.rating_cells import is_rating
from encore_jax.data.rating_columns import ROLES, Columns, near_roles, rule_columns
from encore_jax.data.rating_texts import preferred_side, unread_lines, with_preferred, without_totals
from encore_jax.data.response_labels import label_cell
from encore_jax.data.row_labels import row_id
from encore_jax.data.rows import named
from encore_jax.data.rule_choice import is_label, is_measure, is_never_rating
from encore_jax.data.rule_names import AUTOMATIC, RuleNames, check_not_both, rule_of
from encore_jax.data.scales import evidence, scale_words, scales_of_cells
from encore_jax.data.skips import SkipCounter
from encore_jax.data.stray import values_of
from encore_jax.data.unnamed_texts import texts_lines
from encore_jax.data.wide_rules import wide_rules
from encore_jax.errors import InputError
from encore_jax.rules import RulePool

SIDES = (("a", "b"), ("chosen", "rejected"))
"""How columns of the ratings of two responses end."""
_LABELS = ("prompt", "quality", "preferred", "id")

Rows = Sequence[tuple[str, Mapping[str, object]]]


def plain_ratings(
    rows: Rows,
    where: str,
    pool: RulePool | None,
    given: Mapping[str, object],
    scale: Scale | None = None,
    asked: RuleNames = AUTOMATIC,
) -> dict[str, object]:
    """Arguments of `encore_jax.reliability` of a table without responses.

    Args:
      rows: ``(where, row)``.
      where: the file, as errors name it.
      pool: the rules and their directions; every column of ratings is a rule of which higher is better, if left out.
      given: arguments given beside the table, which come before its columns ``prompt``, ``quality``, ``preferred``
        and ``id``.
      scale: that all ratings are on; else those that `scales_of_cells` infers, and if they are several, every rule is
        brought to 0 to 1.
      asked: which columns are rules; of a table without a pool.

    The result has, beside these arguments, "columns": what to know of which columns are rules, in sentences.

    Raises:
      InputError: no column holds ratings, a rating is off the scale, or a cell of a label holds no such.

    >>> rows = [("row 1", {"kind": 5, "true": "yes"}), ("row 2", {"kind": None, "true": "no"})]
    >>> found = plain_ratings(rows, "the list", None, {})
    >>> found["rules"], found["ratings"].tolist(), found["where"].tolist()
    (('kind', 'true'), [[1.0, 1.0], [nan, 0.0]], [[True, True], [False, True]])
    """
    rows, summed = without_totals(list(rows), None, SkipCounter())
    names, known = list(dict.fromkeys(name for _, row in rows for name in row)), () if pool is None else pool.names
    role = _roles(names, known)
    columns = Columns(role, {}, tuple(name for name in names if name not in role.values()))
    sides, places = _places(rows, columns, where, known)
    columns = with_preferred(rows, columns._replace(sides=dict.fromkeys(sides, "")))
    role = columns.role
    check_not_both(pool, asked)
    cells, choice = wide_rules(rows, places, pool is not None, asked)
    if not cells:
        problem = "; ".join((f"no column holds ratings; the columns are {named(names)}", *choice.lines(asked)))
        fix = "name a column for every rule"
        raise InputError(problem, where=where, fix=fix)
    if pool is None and not asked.names and not sides:
        check_not_long(rows, {}, tuple(cells), where)
    rules = tuple(known or cells)
    unread = [name for name in columns.other if not any(name in places[rule] for rule in cells)]
    places_of_sides = places if sides else {}
    lines = () if pool else (*choice.lines(asked), *unread_lines(rows, unread, places_of_sides, asked))
    lines = (*lines, summed) if summed else lines
    if meant := near_roles(unread, ("response",)):
        raise InputError(f"has the columns {named(names)}", where=where, fix=f"rename {meant}")
    if unread:
        logging.getLogger(__name__).warning("%s: columns not read: %s", where, named(unread))
    places = [place for place, _ in rows for _ in (sides or ("",))]
    values = np.array([[np.nan if cell is None else cell.value for cell in cells[rule]] for rule in rules]).T
    own = scales_of_cells(cells, places, where) if scale is None else dict.fromkeys(cells, scale)
    low, high = np.array([own[rule] for rule in rules]).T
    for i, k in np.argwhere((values < low) | (values > high))[:1]:
        problem = f"{values[i, k]:g} is not on the scale from {low[k]:g} to {high[k]:g}"
        raise InputError(problem, where=f"{places[i]}, rule {rules[k]!r}", fix="give the ratings' scale")
    told = "as given" if scale else f"inferred from the ratings: {evidence(own, values_of(cells)[0])}"
    logging.getLogger(__name__).info("%s: scale %s, %s", where, scale_words(own), told)
    if len(set(own.values())) > 1:
        values = (values - low) / (high - low)
    if pool is not None:
        values = values * pool.directions
    values = values.reshape(len(rows), len(sides), len(rules)) if sides else values
    labels = _labels(rows, role, sides)
    if not sides:
        paired = () if pool else paired_line(rules)
        lines = (*lines, *texts_lines(rows, unread, role.get("prompt"), where), *paired)
    return {"ratings": values, "where": ~np.isnan(values), "rules": rules, "columns": lines} | labels | given


def _roles(names: Sequence[str], known: Sequence[str]) -> dict[str, str]:
    """The column of every label that there is one for."""
    found = {}
    for label in _LABELS:
        free = [name for name in names if rule_of(name, known) is None]
        matches = [name for word in ROLES[label] for name in free if name.strip().lower() == word]
        found |= {label: matches[0]} if matches else {}
    return found


def _places(
    rows: Rows, columns: Columns, where: str, known: Sequence[str]
) -> tuple[tuple[str, ...], dict[str, tuple[str, ...]]]:
    """Sides, and of every rule its column or one for each side: sides where most columns of ratings are of both."""
    for sides in SIDES:
        paired = columns._replace(sides=dict.fromkeys(sides, ""))
        try:
            places = rule_columns(paired, where, known)
        except InputError:
            continue
        taken = {name for own in places.values() for name in own}
        others = [name for name in columns.other if name not in taken and _may_be_rule(rows, name)]
        if len(places) > 1 and (known or len(others) < len(taken) / 2):
            return sides, places
    return (), rule_columns(columns, where, known)


def _may_be_rule(rows: Rows, column: str) -> bool:
    """Whether a column may be that of a rule, by its name and cells."""
    if is_never_rating(column) or is_measure(column) or is_label(column):
        return False
    return any(is_rating(row.get(column)) and not is_empty(row.get(column)) for _, row in rows)


def _labels(rows: Rows, role: Mapping[str, str], sides: tuple[str, ...]) -> dict[str, object]:
    """Prompts, ids, and what people said."""
    found: dict[str, object] = {}
    if "prompt" in role:
        found["prompt"] = [_key(row.get(role["prompt"])) for _, row in rows]
    if "id" in role:
        found["ids"] = [row_id(row, place, role["id"]) for place, row in rows]
    if sides:
        if "preferred" in role:
            column = role["preferred"]
            chosen = [preferred_side(row.get(column), sides, f"{place}, column {column!r}") for place, row in rows]
            found["preferred"] = [-1 if side is None else side for side in chosen]
        elif sides == ("chosen", "rejected"):
            found["preferred"] = [0] * len(rows)
    elif column := role.get("quality", role.get("preferred")):
        name = "quality" if "quality" in role else "preferred"
        said = [label_cell(row, column, place, name) for place, row in rows]
        found["quality"] = np.array([np.nan if label is None else label for label in said])
    return found


def _key(prompt: object) -> object:
    """A prompt as something that can be compared."""
    return prompt if prompt is None or isinstance(prompt, str | int | float) else repr(prompt)
