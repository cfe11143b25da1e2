"""Tables of ratings from wherever they are: CSV, Parquet and JSON files, DataFrames and Arrow tables."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

from encore_jax.data.chat_rows import with_prompts
from encore_jax.data.memory_rows import is_path, row_source
from encore_jax.data.orientation import Scale
from encore_jax.data.rating_table import RatedTable, rating_table
from encore_jax.data.rows import SUFFIXES, read_rows
from encore_jax.data.rule_names import AUTOMATIC, RuleNames
from encore_jax.data.skips import SkipCounter
from encore_jax.data.text_tables import SUFFIXES as TEXT_SUFFIXES
from encore_jax.data.text_tables import is_text_table, read_text_table
from encore_jax.errors import InputError
from encore_jax.rules import RulePool


def table_rows(source: str | Path | object) -> Iterator[tuple[str, Mapping[str, object]]]:
    """Streams ``(where, row)`` of a file, or of rows in memory as `encore_jax.data.read_comparisons` takes them.

    A field ``messages`` is read as prompt and response, see `encore_jax.data.chat_rows.with_prompts`.
    A file is ``.csv``, ``.tsv``, ``.txt``, ``.csv.gz``, ``.parquet``, ``.jsonl``, ``.jsonl.gz`` or ``.json``.

    Raises:
      InputError: the file is missing, of another kind or damaged; it is nothing of these; or messages end without a
        response.

    >>> list(table_rows([{"prompt": "Hi", "response": "Hello!", "kind": 5}]))
    [('row 1', {'prompt': 'Hi', 'response': 'Hello!', 'kind': 5})]
    """
    return with_prompts(_rows(source))


def _rows(source: str | Path | object) -> Iterator[tuple[str, Mapping[str, object]]]:
    if not is_path(source):
        return read_rows(row_source(source))
    if is_text_table(source):
        return read_text_table(source)
    if not Path(source).name.endswith(SUFFIXES):
        from encore_jax.data.spreadsheets import check_no_workbook_name

        check_no_workbook_name(source)
        fix = f"use {', '.join((*TEXT_SUFFIXES, *SUFFIXES))}"
        raise InputError("the file name does not tell its format", where=str(source), fix=fix)
    return read_rows(source)


def read_rating_table(
    source: str | Path | object,
    *,
    pool: RulePool | None = None,
    scale: Scale | None = None,
    skips: SkipCounter | None = None,
    rules: RuleNames = AUTOMATIC,
) -> RatedTable:
    """The table of ratings that a file or something in memory holds; see `encore_jax.data.rating_table.rating_table`.

    >>> rows = [{"prompt": "Hi", "response": "Hello!", "kind": 5}, {"prompt": "Hi", "response": "Go.", "kind": None}]
    >>> found = read_rating_table(rows)
    >>> found.rules, [one.mask.tolist() for one in found.responses]
    (('kind',), [[True], [False]])
    """
    source = source if is_path(source) else row_source(source)
    return rating_table(table_rows(source), where=str(source), pool=pool, scale=scale, skips=skips, rules=rules)
