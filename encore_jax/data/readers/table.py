"""Comparisons from tables with two or more responses in a row, as people have them in CSV and data frames.

``prompt, response_a, response_b, preferred, RULE_a, RULE_b, ...`` or ``prompt, chosen, rejected, ...``: see
`encore_jax.data.rating_columns`.
"""

from __future__ import annotations

import itertools
import logging
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from encore_jax.data.comparison import Comparison
from encore_jax.data.memory_rows import MemoryRows, is_path
from encore_jax.data.orientation import Scale
from encore_jax.data.rating_columns import Columns, columns_of, rule_columns
from encore_jax.data.rating_shape import SHOWN_BY
from encore_jax.data.rating_source import table_rows
from encore_jax.data.rating_table import rating_table
from encore_jax.data.rows import named
from encore_jax.data.rule_names import BY_POOL, rule_of
from encore_jax.data.skips import SkipCounter
from encore_jax.data.text_tables import is_text_table
from encore_jax.data.wide_rules import wide_rules
from encore_jax.errors import InputError
from encore_jax.rules.rule import RulePool, as_pool


def is_table_of_pairs(source: Path | MemoryRows) -> bool:
    """Whether it is a CSV, or has columns for a prompt and two responses beside each other."""
    if is_path(source) and is_text_table(source):
        return True
    try:
        names = dict.fromkeys(name for _, row in itertools.islice(table_rows(source), SHOWN_BY) for name in row)
        return bool(columns_of(list(names), "").sides)
    except InputError:
        return False


def rates_pairs(source: Path | MemoryRows, pool: RulePool | Sequence[str]) -> bool:
    """Whether a rule of the pool has a column for each of two responses."""
    names = dict.fromkeys(name for _, row in itertools.islice(table_rows(source), SHOWN_BY) for name in row)
    known = as_pool(pool).names
    try:
        columns = columns_of(list(names), str(source), known)
    except InputError:
        return False
    return bool(columns.sides) and any(rule_of(name, known) for name in rule_columns(columns, str(source)))


def read_table_of_pairs(
    path: Path | MemoryRows,
    *,
    skips: SkipCounter,
    pool: RulePool | Sequence[str] | None = None,
    scale: Scale | None = None,
) -> Iterator[Comparison]:
    """The comparisons of a table, with the ratings that it has columns for.

    Args:
      path: CSV, any other file of rows, or rows in memory.
      skips: counts the rows kept and skipped, and notes what was taken for what.
      pool: the rules and their directions; every column of ratings for each response is a rule, if left out.
      scale: lowest and highest rating; inferred from the ratings, and noted, if left out.

    Raises:
      InputError: a row has one response; or naming file, line and column.
    """
    rows, pool = list(table_rows(path)), as_pool(pool)
    if not rows:
        raise InputError("has no rows", where=str(path), fix="check that it was written to the end")
    names, known = dict.fromkeys(name for _, row in rows for name in row), () if pool is None else pool.names
    columns = columns_of(list(names), str(path), known)
    if not columns.sides:
        fix = "name two responses response_a and response_b, or chosen and rejected; enc.reliability reads single ones"
        raise InputError("has one response in a row", where=str(path), fix=fix)
    rated = _holds_ratings(rows, columns, str(path), known)
    found = rating_table(rows, where=str(path), pool=pool if rated else None, scale=scale, rated=rated, skips=skips,
        rules=BY_POOL)  # fmt: skip
    if not rated and columns.other:
        skips.notes.append(f"columns not read: {named(columns.other)}")
    for line in found.columns:
        logging.getLogger(__name__).warning("%s: %s", path, line)
    skips.notes.extend(note for note in found.notes if "skipped" not in note)
    skips.kept += len(found.comparisons)
    yield from found.comparisons


def _holds_ratings(rows: Sequence[tuple[str, Mapping]], columns: Columns, where: str, known: Sequence[str]) -> bool:
    """Whether a rule of the pool has columns; without a pool, whether some columns hold nothing but ratings."""
    places = rule_columns(columns, where)
    if known:
        return any(rule_of(name, known) for name in places)
    return bool(wide_rules(rows, places, False, BY_POOL)[1].rules)
