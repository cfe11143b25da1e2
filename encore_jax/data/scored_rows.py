"""Scores or ratings by rule, read from a file: of the batch scorer, of comparisons, or of single responses.

Letters: T responses, K rules.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from absl import logging

from encore_jax.data import Comparison, RatedResponse, iter_comparisons, iter_rated, prompt_key
from encore_jax.data.named_rules import pool_of_names
from encore_jax.data.orientation import Scale
from encore_jax.data.parquet_rows import column_names, number_columns, record_batches
from encore_jax.data.rated_again import best_of, merged, quality_of
from encore_jax.data.rating_account import AGAIN
from encore_jax.data.rating_shape import pool_beside, shape_of
from encore_jax.data.rating_source import table_rows
from encore_jax.data.rating_table import rating_table
from encore_jax.data.rating_values import rating_ranges
from encore_jax.data.rows import SUFFIXES
from encore_jax.data.rule_names import BY_POOL, RuleNames, check_of_table
from encore_jax.data.scales import UNIT, on_inferred_scales, scaled
from encore_jax.data.split import group_ids
from encore_jax.data.spreadsheets import check_no_workbook_name
from encore_jax.data.text_tables import is_text_table
from encore_jax.errors import InputError
from encore_jax.files import did_you_mean_file, why_missing
from encore_jax.rules import RulePool

SCORE = "score:"
"""What the batch scorer's column of a rule begins with."""
KINDS = (
    "view-NAME.npz of a run's score stage, a Parquet file of encore_jax.cli.score, rated comparisons or responses, "
    "or a table of ratings (CSV, Parquet, JSON lines)"
)


class Rows(NamedTuple):
    """Rows of a file, one response after the other.

    Attributes:
      rules: K names.
      values: ``[T, K]``, higher is better; NaN where there is none.
      sizes: of every row, how many responses it has.
      preferred: of every row; -1 where nobody chose.
      prompt: key of every row's prompt.
      subset: of every row.
      ids: what every row is called; its number from 0 where the file has no names.
      quality: ``[T]``, how good people say that a response is; NaN where nobody said.
      given: ratings in the file.
      lost: those that are no values of their own, by reason.
      scale: of the values, which may lie beyond it where they are scores.
      columns: what to know of which columns of a table are rules, in sentences.
      texts: of every row the last message of its prompt, then its responses; None where the file has no texts.
    """

    rules: tuple[str, ...]
    values: np.ndarray
    sizes: np.ndarray
    preferred: np.ndarray
    prompt: list[str]
    subset: np.ndarray
    ids: tuple[str, ...] | None = None
    quality: np.ndarray | None = None
    given: int = 0
    lost: Mapping[str, int] = MappingProxyType({})
    scale: Scale = UNIT
    columns: tuple[str, ...] = ()
    texts: list[tuple[str, ...]] | None = None


def read_scored_rows(
    path: Path, pool: str, scale: Scale | None, option: str = "--config.", rules: RuleNames = BY_POOL
) -> Rows:
    """Rows of a file of the batch scorer, of comparisons with ratings, of rated responses, or of a table of ratings.

    Rated responses of one prompt make one row; a response that is alone with its prompt is a row of its own.

    Args:
      path: the file.
      pool: of ratings: YAML file or shipped name of the rules; "" for pool.yaml beside the file.
      scale: of ratings, lowest and highest possible; inferred, and said, if left out.
      option: how flags of pool and scale begin on this command line.
      rules: which columns of a table are rules.

    Raises:
      InputError: the file is missing, of another kind, or holds no comparison.
    """
    if not path.is_file():
        raise no_such_file(path)
    if not is_text_table(path) and not path.name.endswith(tuple(SUFFIXES)):
        check_no_workbook_name(path)
        raise InputError("is of no known kind", where=str(path), fix=f"give {KINDS}")
    if pool and is_scored(path):
        raise InputError("has no effect: the file holds scores by rule", where=f"{option}pool", fix="leave it out")
    if is_scored(path):
        return _scored(path)
    if (shape := shape_of(path)) == "table":
        return _table(path, pool, scale, rules)
    check_of_table(path, rules)
    known, flag = rules_of(path, pool, option), f"{option}scale=LOWEST,HIGHEST"
    reader = iter_rated if shape == "responses" else iter_comparisons

    def read(by: Scale) -> Iterator[RatedResponse | Comparison]:
        return scaled(reader(path, pool=known, scale=by), path, flag)

    records, scale = on_inferred_scales(read, path, known, flag) if scale is None else (read(scale), scale)
    rows = _responses(list(records), path) if reader is iter_rated else _rated(records, path)
    return rows._replace(scale=scale)


def no_such_file(path: Path) -> InputError:
    """What to say of a path where there is neither a file nor a run's folder."""
    if path.exists() and not path.is_dir():
        fix = "write what it gives to a file, and give that"
        return InputError("is a pipe or a device, which cannot be read twice", where=str(path), fix=fix)
    first = "give a file, or the folder of a run; `encore rate PAIRS --config.judge.model=NAME` makes runs/rate_server"
    fix = did_you_mean_file(path, f"give {KINDS}" if path.suffix else first)
    problem = "there is no such file" if path.suffix else "there is no such file or folder"
    return InputError(why_missing(path, problem), where=str(path), fix=fix)


def is_scored(path: Path) -> bool:
    """Whether it is a file of the batch scorer."""
    return path.suffix == ".parquet" and any(name.startswith(SCORE) for name in column_names(path))


def _scored(path: Path) -> Rows:
    """Rows of the batch scorer; those with a reason why something is null have no values."""
    names, fix = [name for name in column_names(path) if name.startswith(SCORE)], "score it again"
    table = number_columns(path, [*names, "preferred"])
    lists, preferred = table.select(names), table["preferred"]
    if not all(pa.types.is_list(kind) or pa.types.is_large_list(kind) for kind in lists.schema.types):
        raise InputError("a rule's column holds no lists of scores", where=str(path), fix=fix)
    if not (pa.types.is_integer(preferred.type) or pa.types.is_null(preferred.type)):
        raise InputError(f"preferred holds {preferred.type}, no indices", where=str(path), fix=fix)
    sizes = [pc.fill_null(pc.list_value_length(column), 0).to_numpy() for column in lists.columns]
    if any(not np.array_equal(size, sizes[0]) for size in sizes):
        raise InputError("rules have scores of different numbers of responses", where=str(path), fix=fix)
    values = _numbers_of(path, lists, sizes[0])
    try:
        chosen = pc.fill_null(preferred.cast(pa.int64()), -1).to_numpy()
    except pa.ArrowInvalid as error:  # beyond 64 bits with a sign
        raise InputError(f"preferred holds no indices: {error}", where=str(path), fix=fix) from None
    outside = np.flatnonzero((chosen < -1) | (chosen >= sizes[0]))
    if len(outside):
        row = int(outside[0])
        problem = f"response {chosen[row]} of {sizes[0][row]} is preferred"
        raise InputError(problem, where=f"{path}, row {row + 1}", fix=fix)
    rules = tuple(name.removeprefix(SCORE) for name in names)
    prompt, subset = _prompts_of(path, len(chosen)), np.full(len(chosen), "")
    lost = {"that are null or NaN": int(np.isnan(values).sum())}
    return Rows(rules, values, sizes[0], chosen, prompt, subset, given=values.size, lost=lost)


def _numbers_of(path: Path, lists: pa.Table, sizes: np.ndarray) -> np.ndarray:
    """Scores ``[T, K]`` of lists by rule, NaN where there is none; says how many are missing, and which come first.

    Raises:
      InputError: a score is infinite.
    """
    flat = [pc.list_flatten(column).cast(pa.float64()) for column in lists.columns]
    null = np.stack([column.is_null().to_numpy() for column in flat], 1)
    values = np.stack([pc.fill_null(column, np.nan).to_numpy() for column in flat], 1)
    row = np.repeat(np.arange(len(sizes)), sizes)
    wrong = {"infinite": np.isinf(values), "NaN": np.isnan(values) & ~null, "null": null}
    said = []
    for what, where in wrong.items():
        if not where.any():
            continue
        t, k = np.argwhere(where)[0]
        at = f"column {lists.column_names[k]!r}, row {row[t] + 1}"
        if what == "infinite":
            fix = "score it again, or write null where there is no score"
            raise InputError(f"a score is {values[t, k]} ({where.sum()} such)", where=f"{path}, {at}", fix=fix)
        said.append(f"{where.sum():,} are {what}, the first in {at}")
    if said:
        logging.warning("%s: of %s scores %s; these count as missing", path, f"{values.size:,}", " and ".join(said))
    return values


def _prompts_of(path: Path, rows: int) -> list[str]:
    """The prompt of every row: of the column ``prompt`` if there is one (the scorer writes none), else its own.

    Raises:
      InputError: a row has no prompt.
    """
    if "prompt" not in column_names(path):
        logging.info("%s has no column prompt: each of %s rows counts as a prompt of its own", path, f"{rows:,}")
        return [str(i) for i in range(rows)]
    keys: list[str] = []
    known: dict[str, str] = {}  # one text for equal prompts
    for batch in record_batches(path, ["prompt"]):
        for value in batch.column(0).to_pylist():
            if value is None or value != value:
                fix = "give every row its prompt, or leave the column out"
                raise InputError("has no prompt", where=f"{path}, row {len(keys) + 1}", fix=fix)
            key = value if isinstance(value, str) else json.dumps(value, sort_keys=True, default=str)
            keys.append(known.setdefault(key, key))
    logging.info("%s: %s rows of %s prompts", path, f"{rows:,}", f"{len(known):,}")
    return keys


def _table(path: Path, pool: str, scale: Scale | None, asked: RuleNames) -> Rows:
    """A table in any kind of file; rules of which no pool tells the direction are better the higher they are."""
    rules = rules_of(path, pool) if pool or pool_beside(path) else None
    table = rating_table(table_rows(path), where=path, pool=rules, scale=scale, rules=asked)
    for note in table.notes:
        logging.info("%s: %s", path.name, note)
    if rules is None:
        logging.info("%s: no pool says otherwise, so higher is better by every rule", path.name)
    if table.comparisons:
        rows = _rated(table.comparisons, path)
        return rows._replace(given=table.given, lost=table.lost, scale=table.scale, columns=table.columns)
    rows = _responses(table.responses, path)
    again = rows.lost[AGAIN] + table.lost.get(AGAIN, 0)
    lost = dict(table.lost) | {AGAIN: again}
    return rows._replace(given=table.given, lost=lost, scale=table.scale, columns=table.columns)


def _rated(comparisons: Iterable[Comparison], path: Path) -> Rows:
    """Comparisons with ratings of their responses."""
    values, sizes, preferred, prompt, subset, ids, texts = [], [], [], [], [], [], []
    comparisons = list(comparisons)
    if not comparisons:
        raise InputError("holds no comparison", where=str(path), fix="check the file")
    rules = next((c.rules for c in comparisons if c.ratings is not None), None)
    if rules is None:
        fix = "rate the comparisons first: encore run with a judge, or encore score with a model"
        raise InputError("has no ratings", where=f"{path}, comparison {comparisons[0].id}", fix=fix)
    for c in comparisons:
        unrated = np.full((len(c.responses), len(rules)), np.nan)
        values.append(unrated if c.ratings is None else np.where(c.mask, c.ratings, np.nan))
        sizes.append(len(c.responses))
        preferred.append(-1 if c.preferred is None else c.preferred)
        prompt.append(prompt_key(c.prompt))
        subset.append(c.subset)
        ids.append(c.id)
        texts.append((c.prompt[-1].content, *c.responses))
    numbers = np.array(sizes), np.array(preferred)
    joined = np.concatenate(values)
    given = int(np.isfinite(joined).sum())
    return Rows(rules, joined, *numbers, prompt, np.array(subset), tuple(ids), given=given, texts=texts)


def _responses(rated: Sequence[RatedResponse], path: Path) -> Rows:
    """Rated responses, those of one prompt together."""
    if not rated:
        raise InputError("holds no response", where=str(path), fix="check the file")
    given, ratings = len(rated), sum(int(one.mask.sum()) for one in rated)
    rated = merged(rated, str(path))
    again = ratings - sum(int(one.mask.sum()) for one in rated)
    if len(rated) < given:
        logging.info("%s: %d rows rate a response again; its ratings are averaged", path.name, given - len(rated))
    prompts = [prompt_key(one.prompt) for one in rated]
    numbers = group_ids(prompts)
    order = np.argsort(numbers, kind="stable")
    first = np.unique(numbers[order], return_index=True)[1]
    sizes = np.diff([*first, len(rated)])
    quality = np.array([quality_of(one, str(path)) for one in rated])[order]
    values = np.stack([np.where(one.mask, one.ratings, np.nan) for one in rated])[order]
    alone = int((sizes == 1).sum())
    if alone < len(sizes):
        told = "responses of one prompt are compared with each other"
        left = f"; {alone} that are alone with their prompt are not" if alone else ""
        logging.info("%s: %d responses of %d prompts: %s%s", path.name, len(rated), len(sizes), told, left)
    best = [best_of(part) for part in np.split(quality, first[1:])]
    rows = order[first]
    texts = [
        (rated[own[0]].prompt[-1].content, *(rated[i].response for i in own)) for own in np.split(order, first[1:])
    ]
    return Rows(
        rated[0].rules, values, sizes, np.array(best), [prompts[i] for i in rows],
        np.array([rated[i].subset for i in rows]), tuple(rated[i].id for i in rows), quality, ratings, {AGAIN: again},
        texts=texts,
    )  # fmt: skip


def rules_of(path: Path, name: str, option: str = "--config.") -> RulePool:
    """The pool that is named, or lies beside the file; else the rules that the file names, as in a table of ratings.

    Raises:
      InputError: it names none either.
    """
    beside = pool_beside(path)
    if not name and beside is None:
        ranges = rating_ranges(path)
        if all(low > high for low, high in ranges.values()):
            fix = f"have a judge rate it: encore rate {path} --config.judge.model=NAME; or give a file with ratings"
            raise InputError("holds no ratings", where=str(path), fix=fix)
        logging.info("%s: no pool says otherwise (%spool=RULES), so higher is better by every rule", path.name, option)
        return pool_of_names(ranges, path)
    name = name or str(beside)
    return RulePool.from_yaml(name) if name.endswith((".yaml", ".yml")) else RulePool.shipped(name)
