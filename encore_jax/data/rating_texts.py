"""What is no rating in a table of ratings: texts, labels, who is preferred; and the rows that have no response."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from encore_jax.data.comparison import Message, parse_prompt
from encore_jax.data.fields import is_empty
from encore_jax.data.rating_cells import is_rating
from encore_jax.data.rating_columns import ROLES, TEXTS, Columns
from encore_jax.data.row_labels import row_id, text_label
from encore_jax.data.skips import SkipCounter
from encore_jax.errors import InputError

Table = list[tuple[str, Mapping]]
MOST_LEVELS = 20
"""Different texts in a column that may be meant as ratings, such as "agree"; more are notes or names."""


def usable_rows(table: Table, columns: Columns, where, skips: SkipCounter) -> tuple[Table, Table, list[str]]:
    """The rows whose prompt and responses are not blank, those whose are, and in words how many these are."""
    responses = list(columns.sides.values()) or [columns.role["response"]]
    blank: dict[str, list[str]] = {}
    for place, row in table:
        if not all(cell_text(row, name, place).strip() for name in responses):
            blank.setdefault("with a blank response", []).append(place)
        elif _is_blank(row.get(columns.role["prompt"])):
            blank.setdefault("with a blank prompt", []).append(place)
    for reason, places in blank.items():
        for place in places:
            skips.skip(reason, place)
    left_out = {place for places in blank.values() for place in places}
    kept = [(place, row) for place, row in table if place not in left_out]
    if not kept:
        problem = f"not one usable row: all {len(left_out)} are {' or '.join(blank)}"
        raise InputError(problem, where=str(where), fix="check the file")
    lost = [(place, row) for place, row in table if place in left_out]
    notes = [f"{len(own)} rows {reason} skipped, first at {own[0]}" for reason, own in blank.items()]
    return kept, lost, notes


def unreadable(table: Table, columns: Sequence[str]) -> str:
    """Of columns that hold no ratings, but the same few texts again and again, what they hold, in words."""
    found = []
    for column in columns:
        cells = {str(row.get(column)).strip()[:40]: place for place, row in table if not is_rating(row.get(column))}
        if 0 < len(cells) <= MOST_LEVELS and column.strip().lower() not in TEXTS:
            text, place = next(iter(cells.items()))
            found.append(f"{column!r} holds {text!r} at {place.rsplit('/', 1)[-1]}")
    return "; ".join(found[:3]) + (" and more" if len(found) > 3 else "")


def _is_blank(prompt: object) -> bool:
    """Whether a cell holds no prompt."""
    return not prompt or prompt != prompt or (isinstance(prompt, str) and not prompt.strip())


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
