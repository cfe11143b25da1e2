"""This project's own file formats, for comparisons and for rated responses.

A comparison is one object (a JSON line, or a Parquet row with the same columns)::

    {"id": "a1", "prompt": [{"role": "user", "content": "..."}], "responses": ["...", "..."],
     "preferred": 0, "ratings": {"violence": [0.0, 0.75], "privacy": [null, 0.5]},
     "subset": "", "source": "", "extra": {}}

A rated response has ``"response": "..."`` and one number or null per rule instead. Only prompt and
responses (response and ratings) are required; a plain string as prompt is one user message;
``preferred`` is null where nobody chose.

Ratings in a file are as the judge gave them, on a declared scale, null where missing. The reader
turns them so that higher is better, by the direction of each rule in the pool, and the writer turns
them back; so reading, writing and reading again gives equal records. Every rated record carries the
whole pool: rules that a row does not name are masked.
"""

from __future__ import annotations

import difflib
import json
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from encore_jax.data.comparison import Comparison, RatedResponse, parse_prompt
from encore_jax.data.fields import BOOKKEEPING, Unshown, holds_text, is_empty, shows
from encore_jax.data.orientation import Scale, checked_scale, orient_named, unorient_named
from encore_jax.data.row_labels import row_id, text_label, whole
from encore_jax.data.rows import located, read_rows, require, write_rows
from encore_jax.data.rule_names import rule_of
from encore_jax.data.skips import SkipCounter
from encore_jax.errors import InputError
from encore_jax.json_shape import decode_json
from encore_jax.rules.rule import as_pool

if TYPE_CHECKING:
    from encore_jax.rules.rule import RulePool

COMPARISON_FIELDS = (
    "id", "prompt", "responses", "preferred", "ratings", "subset", "source", "extra",
)  # fmt: skip
RATED_FIELDS = ("id", "prompt", "response", "ratings", "subset", "source", "extra")


def iter_comparisons(
    path: str | Path,
    *,
    pool: RulePool | None = None,
    scale: Scale = (0.0, 1.0),
    skips: SkipCounter | None = None,
    ratings: bool = True,
) -> Iterator[Comparison]:
    """Streams comparisons from a ``.jsonl``, ``.jsonl.gz`` or ``.parquet`` file of this project.

    Args:
      path: the file, or rows in memory as `encore_jax.data.read_comparisons` takes them.
      pool: names and directions of the rules, or sentences (`RulePool.from_sentences`); needed where the file holds
        ratings.
      scale: (low, high) of the ratings in the file.
      skips: counts the rows, and those that are skipped because a model would be shown what no record can hold (an
        image, a tool's call); without it, such a row is an error.
      ratings: whether ratings are read; without them no pool is needed, and rows that have some are counted as such.

    Raises:
      InputError: naming file, line, field and the fix; nothing else is skipped.
    """
    scale, pool = checked_scale(scale), as_pool(pool)

    def convert(row: dict, where: str, unread) -> Comparison:
        prompt, responses = require(row, "prompt", object, where), require(row, "responses", list, where)
        rated = {}
        if row.get("ratings") is not None and not ratings:
            if unread:
                unread("ratings")
        elif row.get("ratings") is not None:
            rated = _rate_all(_named(row["ratings"], pool), len(responses), pool, scale)
        prompt, preferred = parse_prompt(prompt, "prompt", unread), whole(row.get("preferred"), "preferred")
        return Comparison(prompt, tuple(responses), preferred, **rated, **_labels(row, where))

    return _records(path, COMPARISON_FIELDS, convert, skips)


def iter_rated(
    path: str | Path, *, pool: RulePool, scale: Scale = (0.0, 1.0), skips: SkipCounter | None = None
) -> Iterator[RatedResponse]:
    """Streams rated responses; arguments and errors as for `iter_comparisons`."""
    scale, pool = checked_scale(scale), as_pool(pool)

    def convert(row: dict, where: str, unread) -> RatedResponse:
        prompt, response = require(row, "prompt", object, where), require(row, "response", str, where)
        ratings, mask = orient_named(_named(require(row, "ratings", object, where), pool), pool, scale)
        prompt = parse_prompt(prompt, "prompt", unread)
        return RatedResponse(prompt, response, tuple(pool.names), ratings, mask, **_labels(row, where))

    return _records(path, RATED_FIELDS, convert, skips)


def _records(path: str | Path, known: tuple[str, ...], convert, skips: SkipCounter | None) -> Iterator:
    unread = None if skips is None else skips.not_read
    for where, row in read_rows(path):
        try:
            with located(where):
                _check_fields(row, known)
                record = convert(row, where, unread)
        except Unshown as error:
            if skips is None:
                raise
            skips.skip(error.reason, where)
        else:
            if skips is not None:
                skips.kept += 1
            yield record


def write_comparisons(
    path: str | Path,
    comparisons: Iterable[Comparison],
    *,
    pool: RulePool | None = None,
    scale: Scale = (0.0, 1.0),
) -> int:
    """Writes comparisons to ``.jsonl``, ``.jsonl.gz`` or ``.parquet``, whole or not at all.

    Args:
      path: the target; an existing file is replaced only once the new one is complete.
      comparisons: streamed.
      pool: as for `iter_comparisons`: the pool the ratings were read or made with.
      scale: (low, high) of the ratings.

    Returns:
      how many were written.
    """
    scale, pool = checked_scale(scale), as_pool(pool)

    def row(comparison: Comparison) -> dict:
        ratings = None
        if comparison.ratings is not None:
            per_response = [
                _unrate(comparison.rules, comparison.ratings[i], comparison.mask[i], pool, scale)
                for i in range(len(comparison.responses))
            ]
            ratings = {rule: [named[rule] for named in per_response] for rule in comparison.rules}
        return {
            "responses": list(comparison.responses),
            "preferred": comparison.preferred,
            "ratings": ratings,
        }

    return _write(path, comparisons, row, COMPARISON_FIELDS)


def write_rated(
    path: str | Path,
    rated: Iterable[RatedResponse],
    *,
    pool: RulePool,
    scale: Scale = (0.0, 1.0),
) -> int:
    """Writes rated responses; arguments and result as for `write_comparisons`."""
    scale, pool = checked_scale(scale), as_pool(pool)

    def row(record: RatedResponse) -> dict:
        return {
            "response": record.response,
            "ratings": _unrate(record.rules, record.ratings, record.mask, pool, scale),
        }

    return _write(path, rated, row, RATED_FIELDS)


def _check_fields(row: Mapping, known: tuple[str, ...]) -> None:
    """Refuses fields that this format does not have: an optional one that is misspelt would be lost without a word."""
    for name, value in row.items():
        if name in known or name in BOOKKEEPING or is_empty(value):
            continue
        near = difflib.get_close_matches(str(name)[:60], known, n=1, cutoff=0.85)
        if near:
            fix = f"write '{near[0]}'"
        elif holds_text(value) and shows(name):
            fix = "put it into the prompt, as a message, if a model shall see it; else under 'extra'"
        else:
            fix = "put it under 'extra'"
        raise InputError("unknown field", where=str(name)[:60], fix=fix)


def _labels(row: Mapping, where: str) -> dict:
    """The optional text fields and extra; without an id, file name and line identify the row."""
    extra = row.get("extra")
    if isinstance(extra, str):  # Parquet
        extra = decode_json(extra, dict, where="extra", fix="write an object") if extra.strip() else None
    texts = {name: text_label(row, name) for name in ("subset", "source")}
    return {"id": row_id(row, where), "extra": {} if extra is None else extra, **texts}


def _named(ratings: object, pool: RulePool | None) -> dict:
    """Ratings by rule name, as the pool writes it; a Parquet map arrives as a list of (name, value)."""
    try:
        found = dict(ratings)
    except (TypeError, ValueError):
        raise InputError(
            f"expected an object of rule names, found {type(ratings).__name__}",
            where="ratings",
            fix='write {"rule_name": RATING}; of a comparison {"rule_name": [RATING, RATING]}, one for each response',
        ) from None
    names = () if pool is None else pool.names
    spelled = {name: rule_of(str(name), names) or name for name in found}
    if len(set(spelled.values())) < len(spelled):
        problem = f"two of the rules {', '.join(map(repr, spelled))} differ in capitals and signs alone"
        raise InputError(problem, where="ratings", fix="name each rule once")
    return {spelled[name]: value for name, value in found.items()}


def _rate_all(named: Mapping, n: int, pool: RulePool | None, scale: Scale) -> dict:
    """Per-rule lists of n ratings -> rules, ratings ``[n, K]`` and mask ``[n, K]``."""
    _need_pool(pool)
    named = {name: values for name, values in named.items() if values is not None}
    for name, values in named.items():
        if not isinstance(values, list) or len(values) != n:
            found = f"{len(values)}" if isinstance(values, list) else type(values).__name__
            raise InputError(
                f"expected a list of {n} ratings, one per response, found {found}",
                where=f"ratings[{name!r}]",
                fix="write null for a missing rating",
            )
    per_response = [orient_named({name: values[i] for name, values in named.items()}, pool, scale) for i in range(n)]
    ratings, mask = (np.stack(part) for part in zip(*per_response, strict=True))
    return {"rules": tuple(pool.names), "ratings": ratings, "mask": mask}


def _unrate(rules, ratings, mask, pool: RulePool | None, scale: Scale) -> dict:
    _need_pool(pool)
    return unorient_named(rules, ratings, mask, pool, scale)


def _need_pool(pool: RulePool | None) -> None:
    if pool is None:
        raise InputError("ratings, and no rule pool that says what they mean", where="ratings", fix="give pool=")


def _write(path: str | Path, records: Iterable, own_fields, fields: tuple[str, ...]) -> int:
    parquet = str(path).endswith(".parquet")

    def rows() -> Iterator[dict]:
        for i, record in enumerate(records):
            with located(f"record {i} ({record.id})" if record.id else f"record {i}"):
                try:
                    extra = json.dumps(dict(record.extra), ensure_ascii=False, allow_nan=False)
                    extra.encode()
                except (TypeError, ValueError, RecursionError) as error:
                    raise InputError(f"holds what JSON cannot: {error}", where="extra", fix="use JSON values") from None
                row = own_fields(record) | {
                    "prompt": [{"role": m.role, "content": m.content} for m in record.prompt],
                    "extra": extra if parquet else dict(record.extra),
                    **{name: getattr(record, name) for name in ("id", "subset", "source")},
                }
                if parquet and row["ratings"] is not None:
                    row["ratings"] = list(row["ratings"].items())
                yield {name: row[name] for name in fields}

    return write_rows(path, rows(), lambda: _parquet_schema(fields))


def _parquet_schema(fields: tuple[str, ...]):
    import pyarrow as pa

    message = pa.struct([("role", pa.string()), ("content", pa.string())])
    rating = pa.list_(pa.float64()) if "responses" in fields else pa.float64()
    types = {
        "prompt": pa.list_(message),
        "responses": pa.list_(pa.string()),
        "preferred": pa.int64(),
        "ratings": pa.map_(pa.string(), rating),
        "extra": pa.string(),  # a JSON object
    }
    return pa.schema([(name, types.get(name, pa.string())) for name in fields])
