"""What is no rating in a table of ratings: texts, labels, who is preferred; and the rows that have no response."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from encore_jax.data.comparison import Message, parse_prompt
from encore_jax.data.fields import is_empty
from encore_jax.data.rating_columns import ROLES, Columns
from encore_jax.data.row_labels import row_id, text_label
from encore_jax.data.skips import SkipCounter
from encore_jax.errors import InputError

Table = list[tuple[str, Mapping]]


def usable_rows(table: Table, columns: Columns, where, skips: SkipCounter) -> tuple[Table, Table, list[str]]:
    """The rows whose responses are not blank, those whose are, and in words how many these are."""
    responses = list(columns.sides.values()) or [columns.role["response"]]
    blank = [place for place, row in table if not all(cell_text(row, name, place).strip() for name in responses)]
    for place in blank:
        skips.skip("with a blank response", place)
    left_out = set(blank)
    kept = [(place, row) for place, row in table if place not in left_out]
    if not kept:
        problem = f"not one usable row: all {len(blank)} are with a blank response"
        raise InputError(problem, where=str(where), fix="check the file")
    lost = [(place, row) for place, row in table if place in left_out]
    return kept, lost, [f"{len(blank)} rows with a blank response skipped, first at {blank[0]}"] if blank else []


def cell_text(row: Mapping, column: str, place: str) -> str:
    """A cell's text; "" where there is none.

    Raises:
      InputError: it holds a list or an object.
    """
    value = row.get(column)
    if isinstance(value, list | Mapping | bytes):
        problem = f"expected text, found {type(value).__name__}"
        raise InputError(problem, where=f"{place}, column {column!r}", fix="write text")
    return "" if value is None or value != value else str(value)


def cell_prompt(row: Mapping, column: str, place: str) -> tuple[Message, ...]:
    """A cell's prompt: text, or messages."""
    value = row.get(column)
    return parse_prompt(value if isinstance(value, list) else cell_text(row, column, place), "prompt")


def row_labels(row: Mapping, role: Mapping[str, str], place: str) -> dict:
    """The id, which is the place where there is none, and the subset of a row."""
    found = {"id": place}
    for name in ("id", "subset"):
        if name in role and not is_empty(row.get(role[name])):
            read = row_id(row, place, role[name]) if name == "id" else text_label(row, role[name])
            found |= {name: read.strip()}
    return found


def preferred_side(raw: object, names: Sequence[str], place: str) -> int | None:
    """The side that is preferred, by its name, or by its number counted from 0 where sides have no numbers."""
    text = "" if raw is None else str(raw).strip().lower()
    text = text.removesuffix(".0")
    for word in ROLES["response"]:
        text = re.sub(rf"^{word}[ _.-]", "", text)
    if text in ("", "tie", "none", "nan", "null", "n/a"):
        return None
    if text in names:
        return names.index(text)
    if text.isdecimal() and not any(name.isdecimal() for name in names) and int(text) < len(names):
        return int(text)
    allowed = f"{', '.join(names)}, or nothing where nobody chose"
    raise InputError(f"{str(raw)[:60]!r} is none of the responses", where=place, fix=f"write {allowed}")
