"""Tables of ratings as people have them: long, wide, or with two responses in a row (`rating_columns`).

The rows come from CSV (`encore_jax.data.text_tables`), or from anything else that gives dictionaries: `rating_source`
reads them from any file and from memory.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple

import numpy as np

from encore_jax.data.comparison import Comparison, RatedResponse
from encore_jax.data.orientation import Scale, checked_scale, to_unit
from encore_jax.data.rating_account import AGAIN, BLANK
from encore_jax.data.rating_cells import HOW, Cell, is_rating, parse_cell
from encore_jax.data.rating_columns import FORMS, Columns, columns_of, near_roles, roles_by_name, rule_columns
from encore_jax.data.rating_texts import (
    cell_text,
    unread_lines,
    unreadable,
    usable_rows,
    with_preferred,
    without_totals,
)
from encore_jax.data.rows import named
from encore_jax.data.rule_names import AUTOMATIC, RuleNames, asked_rules, check_not_both, rule_of
from encore_jax.data.scales import evidence, scale_words, scales_of_cells
from encore_jax.data.skips import SkipCounter
from encore_jax.data.stray import values_of
from encore_jax.data.table_records import compared_responses, rated_responses
from encore_jax.data.wide_rules import cell_of, wide_rules
from encore_jax.errors import InputError
from encore_jax.rules import RulePool
from encore_jax.rules.rule import as_pool


class RatedTable(NamedTuple):
    """What a table says.

    Attributes:
      rules: K names.
      comparisons: of a table with several responses in a row.
      responses: of one with a response in a row; ``extra["quality"]`` says how good people find it, where they said.
      scale: of the ratings in both, which are oriented.
      notes: in words, what was taken for what, and what was not read.
      given: ratings in the file.
      lost: those of them that are in no record, by reason.
      columns: what to know of which columns are rules, in sentences that belong in the first lines of every result.
    """

    rules: tuple[str, ...]
    comparisons: tuple[Comparison, ...]
    responses: tuple[RatedResponse, ...]
    scale: Scale
    notes: tuple[str, ...]
    given: int = 0
    lost: Mapping[str, int] = MappingProxyType({})
    columns: tuple[str, ...] = ()


class _Found(NamedTuple):
    """Ratings of N responses by rule: cells and, of every one, where it stands; by rule, where those differ."""

    cells: dict[str, list[Cell | None]]
    wheres: list[str]
    places: dict[str, list[str]] | None = None

    def place(self, rule: str, i: int) -> str:
        """Where a rule's i-th cell stands."""
        return self.places[rule][i] if self.places else self.wheres[i]


def rating_table(
    rows: Iterable[tuple[str, Mapping[str, object]]],
    *,
    where: str | Path,
    pool: RulePool | None = None,
    scale: Scale | None = None,
    rated: bool = True,
    skips: SkipCounter | None = None,
    rules: RuleNames = AUTOMATIC,
) -> RatedTable:
    """Reads a table of ratings.

    Args:
      rows: ``(where, row)``, all with the same columns.
      where: the file, as errors name it.
      pool: the rules, with their directions; every column (or name) that holds ratings is a rule of which higher is
        better, if left out.
      scale: lowest and highest rating; inferred from the ratings if left out.
      rated: whether ratings are wanted; if not, a table of pairs needs none.
      skips: counts the rows that are skipped, those with a blank response; they are in the notes as well.
      rules: which columns are rules, or which names where every row is one rating; of a table without a pool.

    Raises:
      InputError: naming file, line and column: no rows, no such table, a cell that is no rating, one off the scale, or
        every row was skipped.

    >>> rows = [{"prompt": "Hi", "response": "Hello!", "kind": "5", "brief": "4"},
    ...         {"prompt": "Hi", "response": "Go.", "kind": "1", "brief": ""}]
    >>> found = rating_table([(f"t.csv:{i}", row) for i, row in enumerate(rows, 2)], where="t.csv")
    >>> found.rules, found.scale, found.responses[1].mask.tolist()
    (('kind', 'brief'), (1.0, 5.0), [True, False])
    """
    table = list(rows)
    if not table:
        raise InputError("has no rows", where=str(where), fix="check that it was written to the end")
    pool = as_pool(pool)
    check_not_both(pool, rules)
    names = dict.fromkeys(name for _, row in table for name in row)
    columns = _columns(table, list(names), where, () if pool is None else pool.names)
    chosen = with_preferred(table, columns)
    said = [f"column {chosen.role['preferred']!r} says which response people prefer"] if chosen != columns else []
    columns = chosen
    skips = SkipCounter() if skips is None else skips
    table, summed = without_totals(table, columns.role["prompt"], skips)
    table, blank, notes = usable_rows(table, columns, where, skips)
    if columns.sides and not rated:
        found = RatedTable((), compared_responses(table, columns), (), (0.0, 1.0), ())
    elif columns.is_long:
        found = _long(table, columns.role, where, pool, scale, rules)
    else:
        found = _wide(table, columns, where, pool, scale, rules)
    lost = dict(found.lost) | {BLANK: sum(_ratings_in(row, columns, found.rules) for _, row in blank)}
    kept = sum(int(record.mask.sum()) for record in (*found.responses, *found.comparisons) if record.mask is not None)
    notes = [*notes, *said, summed] if summed else [*notes, *said]
    told = (*found.columns, summed) if summed else found.columns
    return found._replace(columns=told, notes=(*notes, *found.notes), lost=lost, given=kept + sum(lost.values()))


def _columns(table, names: Sequence[str], where, rules: Sequence[str]) -> Columns:
    """What the columns are; an error says what to rename, by what they hold."""
    try:
        return columns_of(names, where, rules)
    except InputError as error:
        from encore_jax.data.rating_advice import rename_words, renames

        found = renames(table, roles_by_name(names, rules)) if error.problem.startswith("has the columns") else {}
        if not found or near_roles(names, ("prompt", "response")):
            raise
        fix = f"{rename_words(found, where, names)}; or name them {FORMS}"
        raise InputError(error.problem, where=error.where, fix=fix) from None


def _ratings_in(row: Mapping[str, object], columns: Columns, rules: Sequence[str]) -> int:
    """How many ratings a row holds."""
    if columns.is_long:
        names = [columns.role["rating"]]
    else:
        places = rule_columns(columns, "", rules) if rules else {}
        names = [name for own in places.values() for name in own]
    return sum(is_rating(row.get(name)) and parse_cell(row.get(name)) is not None for name in names)


def _long(table, role, where, pool, scale, asked: RuleNames) -> RatedTable:
    """A row for every rating."""
    at: dict[tuple[str, str], int] = {}
    given: dict[str, dict[int, list[Cell]]] = {}
    stands: dict[tuple[str, int], str] = {}  # where a response's first rating by a rule is
    spelled: dict[str, str] = {}  # by how it is written, the rule
    about: list[list[tuple[str, Mapping]]] = []
    several = again = 0
    for place, row in table:
        key = (str(row.get(role["prompt"])), cell_text(row, role["response"], place))
        i = at.setdefault(key, len(at))
        if i == len(about):
            about.append([])
        about[i].append((place, row))
        rule = cell_text(row, role["rule"], place).strip()
        cell = cell_of(row, role["rating"], place)
        if rule not in spelled and (rule or cell is not None):
            found = _known(rule, pool, f"{place}, column {role['rule']!r}")
            spelled[rule] = next((own for own in given if pool is None and own.lower() == found.lower()), found)
            given.setdefault(spelled[rule], {})
        if cell is not None:
            own = given[spelled[rule]].setdefault(i, [])
            several += len(own) == 1
            again += len(own) > 0
            own.append(cell)
            stands.setdefault((spelled[rule], i), place)
            if len({other.top for other in own if other.top is not None}) > 1:
                problem = "this response has ratings by this rule that are out of different numbers"
                raise InputError(problem, where=place, fix="bring them to one scale")
    rules = tuple(pool.names) if pool else tuple(rule for rule, own in given.items() if own)
    if not rules:
        raise InputError(f"column {role['rating']!r} holds no rating", where=str(where), fix=HOW)
    if asked.names:
        wanted, _, minus = asked_rules(rules, asked)
        rules = tuple(wanted) or tuple(rule for rule in rules if rule not in minus)
        if not rules:
            raise InputError("leaves no rule", where=asked.where, fix="leave fewer out")
    first = [own[0] for own in about]
    notes = [f"a rating a row: {len(table)} rows about {len(first)} responses"]
    if unrated := [rule for rule, own in given.items() if not own]:
        notes.append(f"rules not read, because they have no rating: {named(unrated)}")
    if pool is None and (variants := [name for name, rule in spelled.items() if name != rule]):
        notes.append(f"rules of one name but for capitals are one rule: {named(variants)}")
    if several:
        notes.append(f"{several} ratings are means of several of one response by one rule")
    cells = {rule: [_mean(given.get(rule, {}).get(i)) for i in range(len(first))] for rule in rules}
    wheres = [place for place, _ in first]
    places = {rule: [stands.get((rule, i), place) for i, place in enumerate(wheres)] for rule in rules}
    values, used, told = _values(_Found(cells, wheres, places), rules, pool, scale, where)
    responses = rated_responses(about, role, rules, *values)
    return RatedTable(rules, (), responses, used, (*notes, told), lost={AGAIN: again})


def _known(rule: str, pool: RulePool | None, place: str) -> str:
    if not rule:
        raise InputError("is empty", where=place, fix="name the rule")
    if pool is None:
        return rule
    try:
        return rule_of(rule, pool.names) or pool.names[pool.index(rule)]
    except InputError as error:
        raise error.at(place) from None


def _mean(cells: list[Cell] | None) -> Cell | None:
    if not cells:
        return None
    top = next((cell.top for cell in cells if cell.top is not None), None)
    return Cell(sum(cell.value for cell in cells) / len(cells), top)


def _wide(table, columns: Columns, where, pool, scale, asked: RuleNames) -> RatedTable:
    """A column for every rule, or for every rule and response."""
    places = rule_columns(columns, where, () if pool is None else pool.names)
    cells, choice = wide_rules(table, places, pool is not None, asked)
    if not cells:
        every = (*columns.role.values(), *columns.sides.values(), *columns.other)
        problem = "; ".join((f"no column holds ratings; the columns are {named(every)}", *choice.lines(asked)))
        if texts := unreadable(table, columns.other):
            raise InputError(f"{problem}; {texts}", where=str(where), fix=HOW)
        raise InputError(problem, where=str(where), fix=f"name them {FORMS}")
    if len(cells) == 1 and pool is None and not asked.names and not columns.sides:
        from encore_jax.data.rating_advice import check_not_long

        check_not_long(table, columns.role, tuple(cells), where)
    rules = tuple(pool.names) if pool else tuple(cells)
    unread = [column for column in columns.other if not any(column in places[rule] for rule in cells)]
    wheres = [place for place, _ in table for _ in (columns.sides or (None,))]
    (ratings, mask), used, told = _values(_Found(cells, wheres), rules, pool, scale, where)
    notes = [f"a column a rule: {named(rules)}"]
    if unread:
        texts = unreadable(table, unread)
        notes.append(f"columns not read: {named(unread)}{texts and f' ({texts})'}")
    lines = () if pool else (*choice.lines(asked), *unread_lines(table, unread, places if columns.sides else {}, asked))
    label = columns.role.get("quality", columns.role.get("preferred"))
    if label and not columns.sides:
        what = "how good people find a response" if "quality" in columns.role else "which response people prefer"
        notes.append(f"column {label!r} says {what}")
    if not columns.sides:
        responses = rated_responses([[row] for row in table], columns.role, rules, ratings, mask)
        return RatedTable(rules, (), responses, used, (*notes, told), columns=lines)
    shape = (len(table), len(columns.sides), len(rules))
    pairs = compared_responses(table, columns, rules, ratings.reshape(shape), mask.reshape(shape))
    return RatedTable(rules, pairs, (), used, (*notes, told), columns=lines)


def _values(found: _Found, rules, pool, scale, where) -> tuple[tuple[np.ndarray, np.ndarray], Scale, str]:
    """Oriented ratings and mask ``[N, K]``, their scale, and in words where that is from.

    Rules whose ratings say different ends of their scales ("7/10" and "yes") are each brought to 0 to 1.
    """
    if scale is not None:
        own = dict.fromkeys(found.cells, checked_scale(scale))
        told = f"scale {scale_words(own)}, as given"
    else:
        own = scales_of_cells(found.cells, found.wheres, where, found.places)
        told = f"scale {scale_words(own)}, inferred from the ratings: {evidence(own, values_of(found.cells)[0])}"
    used = set(own.values())
    common = used.pop() if len(used) == 1 else (0.0, 1.0)
    ratings = np.zeros((len(found.wheres), len(rules)), np.float32)
    mask = np.zeros(ratings.shape, bool)
    for rule, cells in found.cells.items():
        k, (low, high) = rules.index(rule), own[rule]
        direction = 1 if pool is None else pool[rule].direction
        value = np.array([math.nan if cell is None else cell.value for cell in cells])
        top = np.array([math.nan if cell is None or cell.top is None else cell.top for cell in cells])
        known = ~np.isnan(value)
        for i in np.flatnonzero(known & ~((low <= value) & (value <= high) & (np.isnan(top) | (top == high))))[:1]:
            out_of = "" if np.isnan(top[i]) else f" of {top[i]:g}"
            problem = f"{value[i]:g}{out_of} is not on the scale from {low:g} to {high:g}"
            every = [cell.value for part in found.cells.values() for cell in part if cell is not None]
            problem += f"; the ratings of this file lie between {min(every):g} and {max(every):g}"
            mend = "mend it, or give the scale that it is on" if scale else "give the ratings' scale"
            fix = mend if np.isnan(top[i]) else "leave the scale out: these ratings say it"
            raise InputError(problem, where=f"{found.place(rule, i)}, rule {rule!r}", fix=fix)
        value = (np.clip(low + high - value, low, high) if direction < 0 else value).astype(np.float32)
        mask[:, k] = known
        ratings[:, k] = np.where(known, value if common == own[rule] else to_unit(value, own[rule]), 0)
    return (ratings, mask), common, told
