"""What a file of ratings is, decided once for every command that reads one: its shape, by its columns or fields."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from encore_jax.data.rating_columns import columns_of
from encore_jax.data.rating_source import table_rows
from encore_jax.data.text_tables import is_text_table
from encore_jax.errors import InputError

SHOWN_BY = 1000
"""Rows whose fields together show the shape: the first one alone may lack some."""
Shape = Literal["propositions", "responses", "comparisons", "table"]
"""OpenAI's propositions; rated responses or comparisons in this project's own format; a table of `rating_columns`."""


def fields_of_file(path: Path) -> tuple[str, ...]:
    """The fields of the first rows, in their order; () if there are no rows.

    Raises:
      InputError: the file is missing, damaged or of no known kind.
    """
    return tuple(dict.fromkeys(name for _, row in itertools.islice(table_rows(path), SHOWN_BY) for name in row))


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
