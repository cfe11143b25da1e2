"""What is no rating in a table of ratings: texts, labels, who is preferred; and the rows that have no response."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from encore_jax.data.comparison import Message, parse_prompt
from encore_jax.data.fields import NoText, is_empty
from encore_jax.data.rating_cells import HOW, is_rating
from encore_jax.data.rating_columns import REMARKS, ROLES, TEXTS, Columns
from encore_jax.data.row_labels import row_id, text_label
from encore_jax.data.rows import named
from encore_jax.data.rule_choice import is_choice, is_label, is_measure, is_never_rating
from encore_jax.data.rule_names import RuleNames
from encore_jax.data.side_names import response_side, rule_and_side
from encore_jax.data.skips import SkipCounter
from encore_jax.errors import InputError

Table = list[tuple[str, Mapping]]
TOTALS = frozenset(
    "total totals sum sums average averages avg mean means median subtotal std stdev sd min minimum max maximum "
    "count n variance".split()
)
"""Names of rows that sum up others, alone or after words of `OVERALL`, with or without a remark in brackets."""
OVERALL = r"(?:(?:grand|overall|column|standard) )"
MOST_TOTALS = 4
"""Rows at the beginning or at the end of a table that may sum it up; more are those of a column of such words."""
MOST_LEVELS = 20
"""Different texts in a column that may be meant as ratings, such as "agree"; more are notes or names."""


def usable_rows(table: Table, columns: Columns, where, skips: SkipCounter) -> tuple[Table, Table, list[str]]:
    """The rows whose prompt and responses are not blank, those whose are, and in words how many these are."""
    responses = list(columns.sides.values()) or [columns.role["response"]]
    blank: dict[str, list[str]] = {}
    for place, row in table:
        if none := next((row[name] for name in responses if isinstance(row.get(name), NoText)), None):
            blank.setdefault(none.reason, []).append(place)
        elif not all(cell_text(row, name, place).strip() for name in responses):
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
        if 0 < len(cells) <= MOST_LEVELS and not _is_text(column):
            text, place = next(iter(cells.items()))
            found.append(f"{column!r} holds {text!r} at {place.rsplit('/', 1)[-1]}")
    return "; ".join(found[:3]) + (" and more" if len(found) > 3 else "")


def unread_lines(
    table: Table, columns: Sequence[str], paired: Mapping[str, Sequence[str]], asked: RuleNames
) -> tuple[str, ...]:
    """What to know of columns that may be meant as ratings or as people's choice, and are not read, in sentences.

    Args:
      table: ``(where, row)``.
      columns: that are not read.
      paired: the columns of every rule that has one for each of a row's responses; empty where a row has one response.
      asked: what the user names, of which nothing needs to be said.
    """
    if asked.names_all:
        return ()
    columns = [column for column in columns if f"-{column}" not in asked.names]
    lines = []
    of_each = {name for own in paired.values() for name in own}
    single = [name for name in columns if paired and name not in of_each and _holds_ratings(table, name)]
    if single:
        head = "Not read, because a row holds several responses, and there is no such column for each: "
        lines.append(f"{head}{named(single)}. If it is a rule, write a column for each response")
    if texts := unreadable(table, [column for column in columns if not is_label(column)]):
        lines.append(f"Not read, because these are no ratings: {texts}. If it is a rule, {HOW}")
    for column in columns:
        if is_label(column) and any(not is_empty(row.get(column)) for _, row in table):
            kind = "which response people prefer, write a or b under the name preferred"
            if not paired:
                kind = "how good people find a response, write numbers under the name quality"
            lines.append(f"Not read: column {column!r}. If it says {kind}")
    return tuple(lines)


def _holds_ratings(table: Table, column: str) -> bool:
    """Whether a column that is no label, id or measurement holds nothing but ratings."""
    if is_label(column) or is_never_rating(column) or is_measure(column):
        return False
    cells = [row.get(column) for _, row in table if not is_empty(row.get(column))]
    return bool(cells) and all(map(is_rating, cells))


NOBODY = frozenset(("", "tie", "none", "nan", "null", "n/a", "equal", "draw", "same", "both", "neither"))
"""Cells of a choice that name no response."""
_LETTERS = "abcdefghijklmnopqrstuvwxyz"


def with_preferred(table: Table, columns: Columns) -> Columns:
    """The columns, with one that is called like a choice as "preferred" if its cells name responses, as "a" does.

    Where responses have numbers, so may ratings: then its name has to say that it is a choice.
    """
    if "preferred" in columns.role or not columns.sides:
        return columns
    names = set(columns.sides)
    for column in columns.other:
        choice = is_choice(column) and rule_and_side(column, names) is None
        if not choice and not (is_label(column) and not any(map(str.isdecimal, names))):
            continue
        cells = {side_word(row.get(column)) for _, row in table if not is_empty(row.get(column))}
        if cells & names and cells - NOBODY <= names:
            other = tuple(name for name in columns.other if name != column)
            return columns._replace(role=columns.role | {"preferred": column}, other=other)
    return columns


def side_word(raw: object) -> str:
    """What a cell says of which response is meant: "a" of "Response A", "1" of 1.0.

    >>> [side_word(cell) for cell in ("Response A", "answer (b)", 2.0, " Tie ")]
    ['a', 'b', '2', 'tie']
    """
    text = "" if raw is None else str(raw).strip().lower().removesuffix(".0")
    return response_side(text, ROLES["response"]) or text


def without_totals(table: Table, column: str | None, skips: SkipCounter) -> tuple[Table, str]:
    """The rows without the last ones that are called total or average, as spreadsheets have them, and that in words.

    Args:
      table: ``(where, row)``.
      column: where rows say it; None for the first one with a text.
      skips: counts these rows.
    """
    ends = [_totals_first(table, column), _totals_first(table[::-1], column)]
    first, last = (count if count <= MOST_TOTALS else 0 for count in ends)
    if not first + last or first + last >= len(table):
        return list(table), ""
    stop = len(table) - last
    places = [place for place, _ in (*table[:first], *table[stop:])]
    for place in places:
        skips.skip("that sum up others", place)
    at = f"the row at {places[0]}" if len(places) == 1 else f"the rows at {', '.join(places)}"
    return list(table[first:stop]), f"Left out, because it sums up others: {at}"


def _totals_first(table: Table, column: str | None) -> int:
    """How many of the first rows sum up others."""
    return next((i for i, (_, row) in enumerate(table) if not _is_total(row, column)), len(table))


def _is_total(row: Mapping, column: str | None) -> bool:
    """Whether a row sums up others by its name.

    >>> [_is_total({"prompt": text}, "prompt") for text in ("Total", "Grand total (n = 20):", "Total war")]
    [True, True, False]
    """
    texts = [row.get(column)] if column else [x for x in row.values() if isinstance(x, str) and not is_rating(x)][:1]
    return any(_sums_up(str(text)) for text in texts)


def _sums_up(text: str) -> bool:
    words = re.sub(r"\s*\(.*\)\s*", "", text.strip().lower().rstrip(":")).rstrip(": ")
    plain = re.sub(rf"^{OVERALL}", "", words)
    return plain in TOTALS or words == "standard deviation"


def _is_text(column: str) -> bool:
    """Whether a column of this name holds texts that nobody means as ratings."""
    words = re.findall(r"[^\W_]+", column.lower())
    remark = bool(words) and words[-1] in REMARKS
    return remark or "_".join(words) in TEXTS or is_never_rating(column) or is_measure(column)


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
    """The side that is preferred, by its name; by its number, counted from 0, where sides have names, and by a letter,
    a for the first, where they have numbers.
    """
    text = side_word(raw)
    if text in NOBODY:
        return None
    if text in names:
        return names.index(text)
    if len(text) == 1 and text in _LETTERS[: len(names)] and all(name.isdecimal() for name in names):
        return _LETTERS.index(text)
    if text.isdecimal() and not any(name.isdecimal() for name in names) and int(text) < len(names):
        return int(text)
    allowed = f"{', '.join(names)}, or nothing where nobody chose"
    raise InputError(f"{str(raw)[:60]!r} is none of the responses", where=place, fix=f"write {allowed}")
