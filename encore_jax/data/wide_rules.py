"""The rules of a wide table and their cells: which columns count, and which cell of them is no rating."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from encore_jax.data.rating_cells import Cell, is_rating, parse_cell
from encore_jax.data.rule_choice import RuleChoice, choose_rules, is_measure, is_never_rating
from encore_jax.data.rule_names import RuleNames, asked_rules
from encore_jax.errors import InputError

Table = Sequence[tuple[str, Mapping[str, object]]]
Cells = dict[str, list[Cell | None]]


def wide_rules(
    table: Table, places: Mapping[str, Sequence[str]], named: bool, asked: RuleNames
) -> tuple[Cells, RuleChoice]:
    """The cells of every rule, row by row, and what was decided about the columns.

    Args:
      table: ``(where, row)``.
      places: of every rule that there may be, its column, or one for each response.
      named: whether a pool names these rules, so that all of them count.
      asked: what the user names.

    Raises:
      InputError: a cell of a rule is no rating; a rule that is named has no rating; or there is no such column.
    """
    wanted, plus, minus = asked_rules(list(places), asked)
    cells: Cells = {}
    for rule, own in places.items():
        if rule in minus or (wanted and rule not in wanted):
            continue
        must = named or rule in wanted or rule in plus
        try:
            found = [cell_of(row, column, place) for place, row in table for column in own]
        except InputError as error:
            if must:
                raise
            if is_never_rating(rule) or is_measure(rule) or not _mostly_ratings(table, own):
                continue  # a column of other things
            fix = f"{error.fix}; or leave the column out: {asked.typed('-', [rule])}"
            raise InputError(error.problem, where=error.where, fix=fix) from None
        if named or any(cell is not None for cell in found):
            cells[rule] = found
        elif must:
            raise InputError(f"column {rule!r} holds no rating", where=asked.where, fix="leave it out")
    if named:
        return cells, RuleChoice(tuple(cells))
    changes = tuple(name for name in asked.names if name in cells or not name.startswith("-"))
    choice = choose_rules(cells, asked._replace(names=changes))
    return {rule: cells[rule] for rule in choice.rules}, choice


def _mostly_ratings(table: Table, columns: Sequence[str]) -> bool:
    """Whether most cells of a rule's columns are ratings, so that one that is none is a mistake."""
    cells = [row.get(column) for _, row in table for column in columns]
    readable = [parse_cell(cell) for cell in cells if is_rating(cell)]
    ratings = sum(cell is not None for cell in readable)
    return ratings > len(cells) - len(readable)


def cell_of(row: Mapping, column: str, place: str) -> Cell | None:
    """A cell.

    Raises:
      InputError: it is no rating; with its place and column.
    """
    try:
        return parse_cell(row.get(column))
    except InputError as error:
        raise error.at(f"{place}, column {column!r}") from None
