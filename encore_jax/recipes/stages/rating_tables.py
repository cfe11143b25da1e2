"""A run's data from tables: ratings long or wide, of any file, and pairs with or without ratings."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from absl import logging

from encore_jax.data import Comparison, RatedResponse, SkipCounter
from encore_jax.data.orientation import Scale
from encore_jax.data.rating_columns import columns_of, rule_columns
from encore_jax.data.rating_source import table_rows
from encore_jax.data.rating_table import RatedTable, rating_table
from encore_jax.data.rule_names import rule_of
from encore_jax.data.scales import on_unit_scale
from encore_jax.errors import InputError
from encore_jax.rules import RulePool


def rated_responses(
    path: Path, pool: RulePool, scale: tuple[float, ...], skips: SkipCounter
) -> tuple[list[RatedResponse], Scale]:
    """The responses of a table of ratings, on the scale from 0 to 1, and the scale that the file has.

    Args:
      path: CSV, Parquet or JSON lines.
      pool: the rules.
      scale: lowest and highest rating; () infers them from the ratings.
      skips: counts what was kept.

    Raises:
      InputError: naming file, line and column.
    """
    table = rating_table(table_rows(path), where=path, pool=pool, scale=scale or None, skips=skips)
    found = [*table.responses, *(response for c in table.comparisons for response in responses_of(c))]
    _say(path, table)
    skips.kept += len(found)
    return [on_unit_scale(record, table.scale) for record in found], table.scale


def table_comparisons(
    path: Path, pool: RulePool, scale: tuple[float, ...], skips: SkipCounter, *, rated: bool
) -> tuple[list[Comparison], Scale]:
    """The comparisons of a table with two or more responses in a row, with their ratings if it has columns for them.

    On the scale from 0 to 1; with the scale that the file has.

    Args:
      path, pool, scale, skips: as above.
      rated: whether ratings are read from here.

    Raises:
      InputError: a row has one response; or naming file, line and column.
    """
    rows = list(table_rows(path))
    if not rows:
        raise InputError("has no rows", where=str(path), fix="check that it was written to the end")
    columns = columns_of(list(dict.fromkeys(name for _, row in rows for name in row)), path, pool.names)
    if not columns.sides:
        fix = "name two responses response_a and response_b, or chosen and rejected; ratings of single responses go to "
        raise InputError("has one response in a row", where=str(path), fix=f"{fix}--config.data.ratings_path")
    rated = rated and any(rule_of(written, pool.names) for written in rule_columns(columns, path))
    pool = pool if rated else None
    table = rating_table(rows, where=path, pool=pool, scale=scale or None, rated=rated, skips=skips)
    _say(path, table)
    skips.kept += len(table.comparisons)
    return [on_unit_scale(comparison, table.scale) for comparison in table.comparisons], table.scale


def responses_of(comparison: Comparison) -> Iterator[RatedResponse]:
    """The responses of a rated comparison that have a rating, each once."""
    if comparison.ratings is None:
        return
    for i, response in enumerate(comparison.responses):
        if comparison.mask[i].any():
            ratings, mask = comparison.ratings[i], comparison.mask[i]
            name = f"{comparison.id}#{i}" if comparison.id else ""
            labels = {"subset": comparison.subset, "source": comparison.source, "id": name}
            yield RatedResponse(comparison.prompt, response, comparison.rules, ratings, mask, **labels)


def _say(path: Path, table: RatedTable) -> None:
    for note in table.notes:
        logging.info("%s: %s", path.name, note)
