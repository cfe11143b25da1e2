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
      InputError: a cell of a rule is no rating; a rule that is named has no rating; there is no such column,
        or it is no rule's; or no rule is left.
    """
    _check_no_role(table, places, asked)
    wanted, plus, minus = asked_rules(list(places), asked)
    cells: Cells = {}
    mixed: dict[str, str] = {}
    for rule, own in places.items():
        if rule in minus or (wanted and rule not in wanted):
            continue
        must = named or rule in wanted or rule in plus
        try:
            found = [cell_of(row, column, place) for place, row in table for column in own]
        except InputError as error:
            if must:
                raise
            if is_never_rating(rule) or not _mostly_ratings(table, own):
                continue  # a column of other things
            if is_measure(rule):
                mixed[rule] = f"a measurement by its name; {error.problem}"
                continue
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
    if asked.names and places and not choice.rules:
        raise InputError("leaves no rule", where=asked.where, fix="leave fewer out")
    choice = choice._replace(left_out={} if wanted else {**choice.left_out, **mixed})
    return {rule: cells[rule] for rule in choice.rules}, choice


def _check_no_role(table: Table, places: Mapping[str, Sequence[str]], asked: RuleNames) -> None:
    """Raises InputError where a column is named that the table has, but as its prompt, label, or the like."""
    columns = {name for _, row in table for name in row} - {name for own in places.values() for name in own}
    for name in asked.names:
        plain = name if name in columns else name.lstrip("+-")
        if plain in columns and name not in places and plain not in places:
            problem = f"by its name, column {plain!r} is no rule, but the prompt, an id, a label, or the like"
            raise InputError(
                problem, where=asked.where, fix=f"rename the column if it is a rule, or leave {name!r} away"
            )


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
