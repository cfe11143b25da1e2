"""Tables of ratings as `encore_jax.reliability` takes them: what a file, a DataFrame or an Arrow table says, as arrays.

Letters: N comparisons or responses, n responses of each, K rules.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from encore_jax.data import Comparison, RatedResponse, iter_comparisons, iter_rated, prompt_key
from encore_jax.data.memory_rows import MemoryRows, is_frame, is_path, is_table, row_source
from encore_jax.data.named_rules import pool_of_names
from encore_jax.data.orientation import Scale, checked_scale
from encore_jax.data.rated_again import best_of, merged, quality_of
from encore_jax.data.rating_columns import ALSO, ROLES, Columns, sides_of
from encore_jax.data.rating_shape import check_own_fields, fields_of_file, pool_beside
from encore_jax.data.rating_source import table_rows
from encore_jax.data.rating_table import rating_table
from encore_jax.data.rating_texts import with_preferred
from encore_jax.data.rule_names import AUTOMATIC, RuleNames, check_of_table, rule_of
from encore_jax.data.scales import on_inferred_scales
from encore_jax.data.side_names import response_side
from encore_jax.data.split import group_ids
from encore_jax.errors import InputError
from encore_jax.evaluation.label_next import LabelPlace, texts_of, texts_together
from encore_jax.evaluation.plain_ratings import plain_ratings
from encore_jax.rules import RulePool
from encore_jax.rules.rule import as_pool

Arguments = dict[str, object]
"""Of `encore_jax.reliability`, by name."""


def is_ratings_table(source: object) -> bool:
    """Whether it is a file or a table whose columns have names, and no array or list of numbers.

    >>> is_ratings_table("ratings.csv"), is_ratings_table([{"kind": 5}]), is_ratings_table([[5, 1, 2]])
    (True, True, False)
    """
    if is_path(source) or isinstance(source, MemoryRows):
        return True
    if is_frame(source):
        return all(isinstance(name, str) for name in source.columns)
    if isinstance(source, list | tuple):
        return bool(source) and isinstance(source[0], Mapping)
    return is_table(source)


class OfTable(NamedTuple):
    """What a table says: arguments of `encore_jax.reliability`, what to know of its columns, in sentences, and where
    labels go."""

    arguments: Arguments
    columns: tuple[str, ...] = ()
    label_place: LabelPlace = LabelPlace()


def table_arguments(source: object, pool: object, given: Mapping[str, object], scale: Scale | None = None) -> Arguments:
    """The arguments alone; see `read_table`."""
    return read_table(source, pool, given, scale).arguments


def read_table(
    source: object,
    pool: object,
    given: Mapping[str, object],
    scale: Scale | None = None,
    rules: RuleNames = AUTOMATIC,
) -> OfTable:
    """Arguments of `encore_jax.reliability` that say what a table of ratings says.

    Args:
      source: a file or a table; see `encore_jax.data.rating_source.table_rows`.
      pool: the rules and their directions; of a file that of pool.yaml beside it, if that is there. Without one, every
        column of ratings is a rule of which higher is better.
      given: arguments that were given beside it, but rules: none where the table has prompts and responses of its own.
      scale: lowest and highest possible rating; inferred if left out.
      rules: which columns are rules.

    Raises:
      InputError: what the readers refuse; or an argument was given twice.
    """
    given = {name: value for name, value in given.items() if value is not None}
    pool, frame = as_pool(pool), source
    if is_path(source):
        source = Path(source)
        beside = pool_beside(source)
        pool = RulePool.load(beside) if pool is None and beside else pool
    else:
        source = row_source(source)
    where, rows = str(source), list(table_rows(source))
    file = where if is_path(frame) else ""
    if not rows:
        raise InputError("has no rows", where=where, fix="check that it was written to the end")
    check_own_fields(rows, where)
    names = dict.fromkeys(name for _, row in rows for name in row)
    if any(name.startswith("score:") for name in names):
        fix = "give the file to the command: encore reliability FILE"
        raise InputError("holds scores of the batch scorer, and no ratings", where=where, fix=fix)
    if not _has_responses(names, pool):
        found = plain_ratings(rows, where, pool, given, scale, rules)
        columns = found.pop("columns")
        found = {"ids": _index_ids(frame)} | {name: value for name, value in found.items() if value is not None}
        return OfTable(found, columns, _place_in_table(rows, np.ndim(found["ratings"]) == 3, file))
    if given:
        raise InputError("the table carries its own", where=next(iter(given)), fix="leave it out")
    if "ratings" in names and {"response", "responses"} & set(names):
        check_of_table(where, rules)
        compared = "responses" in names
        records = _own_format(source, rows, pool, compared, scale)
        return OfTable(_arguments(*records, where), (), LabelPlace("index" if compared else "extra.quality", file))
    found = rating_table(rows, where=where, pool=pool, scale=scale, rules=rules)
    _say(where, found.notes, pool)
    place = _place_in_table(rows, bool(found.comparisons), file)
    return OfTable(_arguments(found.comparisons, found.responses, where), found.columns, place)


def _place_in_table(rows: Sequence[tuple[str, Mapping]], compared: bool, file: str) -> LabelPlace:
    """Where labels of a table go: of two responses a row into the column that says already which one people prefer."""
    names = tuple(dict.fromkeys(name for _, row in rows for name in row))
    if not compared or any(name.strip().lower() in ROLES["preferred"] for name in names):
        return LabelPlace("side" if compared else "quality", file)
    columns = Columns({}, sides_of(names) or dict.fromkeys((*"ab", "chosen", "rejected"), ""), names)
    column = with_preferred(list(rows), columns).role.get("preferred", "")
    return LabelPlace("side", file, column=column)


def named_columns(rules: object) -> RuleNames:
    """The argument `rules` of a table, as a list of names.

    Raises:
      InputError: it is none.
    """
    if rules is None:
        return AUTOMATIC
    if isinstance(rules, str) or not isinstance(rules, Iterable) or not all(isinstance(name, str) for name in rules):
        fix = 'name all rules, ["kind", "true"], or changes of those that are found, ["+year", "-length"]'
        raise InputError(f"is a {type(rules).__name__}, no list of names", where="rules", fix=fix)
    return RuleNames(tuple(rules))


def _index_ids(frame: object) -> list[str] | None:
    """What a DataFrame calls its rows; None where it only numbers them."""
    labels = frame.index.tolist() if is_frame(frame) else []
    return None if labels == list(range(len(labels))) else [str(label) for label in labels]


def is_plain(path: Path) -> bool:
    """Whether a file is a table of nothing but ratings and labels, by its first rows."""
    fields = fields_of_file(path)
    return bool(fields) and "ratings" not in fields and not _has_responses(fields, None)


def _has_responses(names: Iterable[str], pool: RulePool | None) -> bool:
    """Whether there is a column for a response, or for each of several."""
    kinds = {name.strip().lower() for name in names if rule_of(name, () if pool is None else pool.names) is None}
    words = ("responses", "chosen", "rejected", *ROLES["response"], *ALSO["response"])
    beginnings = ("response_", "answer_", "completion_", "response ", "answer ")
    return any(
        name in words or name.startswith(beginnings) or response_side(name, ROLES["response"]) is not None
        for name in kinds
    )


def _say(where: str, notes: Iterable[str], pool: RulePool | None) -> None:
    log = logging.getLogger(__name__)
    for note in notes:
        lost = "skipped" in note or "not read" in note
        log.log(logging.WARNING if lost else logging.INFO, "%s: %s", where, note)
    if pool is None:
        log.info("%s: no pool says otherwise, so higher is better by every rule", where)


def _own_format(source: Path | MemoryRows, rows: Sequence, pool: RulePool | None, compared: bool, scale: Scale | None):
    """Comparisons and rated responses of this project's own format, in which ratings are by name."""
    if pool is None:
        pool = _pool_of(rows, str(source))
        _say(str(source), (), None)
    reader = iter_comparisons if compared else iter_rated

    def read(scale: Scale):
        return reader(source, pool=pool, scale=scale)

    records = list(read(checked_scale(scale)) if scale else on_inferred_scales(read, source, pool)[0])
    return (records, []) if compared else ([], records)


def _pool_of(rows: Sequence[tuple[str, Mapping]], where: str) -> RulePool:
    """The rules that rows name in their ratings, higher is better.

    Raises:
      InputError: they name none, or one that is no rule's name.
    """
    names: dict[str, None] = {}
    for place, row in rows:
        try:
            names |= dict.fromkeys(dict(row.get("ratings") or {}))
        except (TypeError, ValueError):
            problem = f"expected an object of rule names, found {type(row['ratings']).__name__}"
            fix = 'write {"RULE": RATING}, or {"RULE": [RATING, RATING]}'
            raise InputError(problem, where=f"{place}, field 'ratings'", fix=fix) from None
    if not names:
        raise InputError("no row names a rule in its ratings", where=where, fix='write {"RULE": RATING, ...}')
    return pool_of_names(names, where)


def _arguments(comparisons: Sequence[Comparison], responses: Sequence[RatedResponse], where: str) -> Arguments:
    return {"ratings": list(comparisons)} if comparisons else _of_responses(responses, where)


def _of_responses(rated: Sequence[RatedResponse], where: str) -> Arguments:
    """Responses of one prompt are a comparison; if every prompt has one only, they are single responses."""
    rated = merged(rated, where)
    prompts = group_ids([prompt_key(one.prompt) for one in rated])
    values = np.stack([np.where(one.mask, one.ratings, np.nan) for one in rated])
    quality = np.array([quality_of(one, where) for one in rated])
    rules, sizes = rated[0].rules, np.bincount(prompts)
    if (sizes == 1).all():
        known = None if np.isnan(quality).all() else quality
        ids = [one.id for one in rated]
        return {"ratings": values, "where": np.isfinite(values), "quality": known, "prompt": prompts, "rules": rules,
                "ids": ids, "texts": [texts_of(one) for one in rated]}  # fmt: skip
    ratings = np.full((len(sizes), max(2, sizes.max()), len(rules)), np.nan)
    members = np.split(np.argsort(prompts, kind="stable"), np.cumsum(sizes)[:-1])
    for i, own in enumerate(members):
        ratings[i, : len(own)] = values[own]
    if alone := int((sizes == 1).sum()):
        logging.getLogger(__name__).info("%s: %d responses are alone with their prompt: not compared", where, alone)
    return {"ratings": ratings, "where": np.isfinite(ratings), "preferred": [best_of(quality[own]) for own in members],
            "prompt": np.arange(len(sizes)), "rules": rules, "ids": [rated[own[0]].id for own in members],
            "texts": [texts_together([rated[i] for i in own]) for own in members]}  # fmt: skip
