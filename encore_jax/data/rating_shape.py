"""What a file of ratings is, decided once for every command that reads one: its shape, by its columns or fields."""

from __future__ import annotations

import itertools
import shlex
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Literal

from encore_jax.data.jsonl import COMPARISON_FIELDS, RATED_FIELDS
from encore_jax.data.rating_columns import columns_of
from encore_jax.data.rating_source import table_rows
from encore_jax.data.rows import named
from encore_jax.data.text_tables import is_text_table
from encore_jax.errors import InputError

SHOWN_BY = 1000
"""Rows whose fields together show the shape: the first one alone may lack some."""
OWN_FIELDS = frozenset({*COMPARISON_FIELDS, *RATED_FIELDS})
"""Of this project's own format."""
Shape = Literal["propositions", "responses", "comparisons", "table"]
"""OpenAI's propositions; rated responses or comparisons in this project's own format; a table of `rating_columns`."""


def fields_of_file(path: Path) -> tuple[str, ...]:
    """The fields of the first rows, in their order; () if there are no rows.

    Raises:
      InputError: the file is missing, damaged or of no known kind.
    """
    rows = list(itertools.islice(table_rows(path), SHOWN_BY))
    check_own_fields(rows, path)
    return tuple(dict.fromkeys(name for _, row in rows for name in row))


def check_own_fields(rows: Iterable[tuple[str, Mapping[str, object]]], path: object) -> None:
    """Refuses ratings by rule under a field that is called ``ratings`` but for capitals, which no reader would find.

    Raises:
      InputError: with what to rename.
    """
    names: dict[str, None] = {}
    own = False
    for _, row in rows:
        names |= dict.fromkeys(row)
        own = own or any(name.lower() == "ratings" and isinstance(row[name], Mapping | list) for name in row)
    wrong = [name for name in names if name not in OWN_FIELDS and name.lower() in OWN_FIELDS]
    if own and wrong:
        words = ", ".join(f"{name!r} to {name.lower()!r}" for name in wrong)
        edits = "; ".join(f's/"{name}":/"{name.lower()}":/g' for name in wrong)
        text = str(path).lower().endswith((".json", ".jsonl"))
        command = f": sed -i.bak '{edits}' {shlex.quote(str(path))}" if text else ""
        problem = f"ratings by rule stand in fields whose names are lower-case; it has {named(wrong)}"
        raise InputError(problem, where=str(path), fix=f"rename {words}{command}")


def shape_of(path: Path, rules: Sequence[str] = ()) -> Shape:
    """The shape of a file. What is neither a table nor has another shape's fields is taken for this project's own.

    Args:
      path: a CSV, Parquet or JSON file.
      rules: of the pool, if there is one: a column that is called like a rule is that rule's.

    Raises:
      InputError: the file is missing, damaged or of no known kind.
    """
    if is_text_table(path):
        return "table"
    fields = fields_of_file(path)
    if "propositions" in fields:
        return "propositions"
    if not {"ratings", "responses"} & set(fields) and _is_table(fields, rules):
        return "table"
    single = "response" in fields and not {"responses", "chosen", "rejected"} & set(fields)
    return "responses" if single else "comparisons"


def _is_table(fields: Sequence[str], rules: Sequence[str]) -> bool:
    try:
        columns = columns_of(fields, "", rules)
    except InputError:
        return False
    return bool(columns.other) or columns.is_long


def pool_beside(path: Path) -> Path | None:
    """pool.yaml beside a file; None if there is none. A link to nothing is there: who reads it is told so."""
    beside = path.with_name("pool.yaml")
    return beside if beside.is_file() or beside.is_symlink() else None
