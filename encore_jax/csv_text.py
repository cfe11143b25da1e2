"""CSV that a spreadsheet shows as it is: no cell becomes a formula, no control character is passed on."""

from __future__ import annotations

import contextlib
import csv
import io
from collections.abc import Iterable, Mapping, Sequence

from encore_jax.terminal_text import escaped

_FORMULA = ("=", "+", "-", "@", "\N{FULLWIDTH EQUALS SIGN}", "\N{FULLWIDTH PLUS SIGN}", "\N{FULLWIDTH HYPHEN-MINUS}",
            "\N{FULLWIDTH COMMERCIAL AT}")  # fmt: skip


def csv_text(columns: Sequence[str], rows: Iterable[Mapping[str, object] | Sequence[object]]) -> str:
    """Rows as CSV with a header; what a row has not stays empty.

    Args:
      columns: the header.
      rows: values by column, or in the columns' order.

    >>> csv_text(["a", "b"], [{"b": 1}, ["=1+1", -2]])
    "a,b\\n,1\\n'=1+1,-2\\n"
    """
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(map(csv_cell, columns))
    for row in rows:
        values = [row.get(column, "") for column in columns] if isinstance(row, Mapping) else row
        writer.writerow(map(csv_cell, values))
    return text.getvalue()


def csv_cell(value: object) -> object:
    """A cell's value: text that a spreadsheet would calculate gets an apostrophe before it; numbers stay.

    >>> csv_cell("=HYPERLINK(1)"), csv_cell("-0.5"), csv_cell(" @x"), csv_cell("a\\nb"), csv_cell(-1.5)
    ("'=HYPERLINK(1)", '-0.5', "' @x", 'a\\\\nb', -1.5)
    """
    if not isinstance(value, str):
        return value
    text = escaped(value)
    if value.lstrip().startswith(_FORMULA):
        with contextlib.suppress(ValueError):
            float(value)
            return text
        return "'" + text
    return text
