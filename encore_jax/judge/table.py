"""Ratings that exist already as a judge: what people, or somebody else's judge, said; in files, tables and records."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Iterable, Iterator
from pathlib import Path

from encore_jax.data.comparison import Comparison, RatedResponse
from encore_jax.data.jsonl import iter_comparisons, iter_rated
from encore_jax.data.memory_rows import MemoryRows, is_path, row_source
from encore_jax.data.orientation import unorient_named
from encore_jax.data.rating_source import table_rows
from encore_jax.data.rating_table import rating_table
from encore_jax.data.scales import on_inferred_scales, on_unit_scale
from encore_jax.errors import InputError
from encore_jax.judge.question import Answer, Identity, Question, Status, conversation_id
from encore_jax.rules import RulePool

MISSING = "not in the table"

Records = list[Comparison | RatedResponse]


class TableJudge:
    """Looks answers up; keeps one number per rating in memory.

    Args:
      rated: oriented, on the unit scale, as the readers give them.
      pool: the rules they were read with.
      name: of the table, e.g. its file and hash.
      label: what its ratings are called: "human-rated" for a table that people filled in.

    Raises:
      InputError: one response is rated twice, differently.
    """

    def __init__(self, rated: Iterable[RatedResponse], pool: RulePool, name: str, label: str = "human-rated"):
        self._ratings: dict[tuple[str, str], float] = {}
        digest = hashlib.sha256(pool.digest.encode())
        for i, record in enumerate(rated):
            conversation = conversation_id(record.prompt, (record.response,))
            given = unorient_named(record.rules, record.ratings, record.mask, pool, (0.0, 1.0))
            for rule, rating in given.items():
                if rating is None:
                    continue
                if self._ratings.setdefault((conversation, rule), rating) != rating:
                    raise InputError(
                        f"rated {rating} on {rule!r}, and {self._ratings[conversation, rule]} before",
                        where=f"{name}, record {record.id or i}",
                        fix="keep one of the two",
                    )
                digest.update(f"{conversation} {rule} {rating!r}\n".encode())
        self.identity = Identity("table", f"{name}@{digest.hexdigest()[:16]}", label=label)

    def answers(self, questions: Iterable[Question]) -> Iterator[tuple[Question, Answer]]:
        """Every question with its rating, or failed where the table has none."""
        for question in questions:
            conversation = conversation_id(question.prompt, (question.response,))
            rating = self._ratings.get((conversation, question.rule.name))
            if rating is None:
                yield question, Answer(Status.FAILED, problem=MISSING)
            else:
                yield question, Answer(Status.OK, rating=rating)


def read_rated(
    source: object,
    pool: RulePool,
    scale: tuple[float, float] | None = None,
    notes: list[str] | None = None,
) -> list[RatedResponse]:
    """The rated responses of a source, oriented, on the scale from 0 to 1.

    Args:
      source: rated records; or a file, a DataFrame or a list of dictionaries, in this project's own format or as a
        table (`encore_jax.data.rating_table`).
      pool: the rules and their directions.
      scale: lowest and highest rating; inferred and logged if left out.
      notes: gets what was taken for what, in words, the scale among it.

    Raises:
      InputError: naming the row, or that nothing is rated.

    >>> pool = RulePool.from_sentences({"kind": "It is kind."})
    >>> rows = [{"prompt": "Hi", "response": "Hello!", "kind": 5}, {"prompt": "Hi", "response": "Go.", "kind": 2}]
    >>> [one.ratings.tolist() for one in read_rated(rows, pool)]
    [[1.0], [0.25]]
    """
    if isinstance(source, list | tuple) and source and isinstance(source[0], Comparison | RatedResponse):
        return list(_responses(list(source)))
    source = Path(source) if is_path(source) else row_source(source)
    rows = list(table_rows(source))
    if any("ratings" in row and {"response", "responses"} & row.keys() for _, row in rows[:1]):
        records, scale = _own_format(source, "responses" in rows[0][1], pool, scale, notes)
    else:
        found = rating_table(rows, where=str(source), pool=pool, scale=scale)
        for note in found.notes:
            logging.getLogger(__name__).info("%s: %s", source, note)
        if notes is not None:
            notes.extend(found.notes)
        records, scale = [*found.comparisons, *found.responses], found.scale
    return [on_unit_scale(one, scale) for one in _responses(records)]


def _own_format(
    source: Path | MemoryRows,
    compared: bool,
    pool: RulePool,
    scale: tuple[float, float] | None,
    notes: list[str] | None,
) -> tuple[Records, tuple[float, float]]:
    """Records of this project's own format, and the scale of their ratings."""
    reader = iter_comparisons if compared else iter_rated

    def read(by: tuple[float, float]) -> Iterator:
        return reader(source, pool=pool, scale=by)

    records, scale = on_inferred_scales(read, source, pool, notes=notes) if scale is None else (read(scale), scale)
    return list(records), scale


def _responses(records: Records) -> Iterator[RatedResponse]:
    """Every rated response of the records."""
    for i, one in enumerate(records):
        if isinstance(one, RatedResponse):
            yield one
            continue
        if one.ratings is None:
            fix = "give a table with ratings, or rated records"
            raise InputError("its responses are not rated", where=f"comparison {one.id or i}", fix=fix)
        for response, ratings, mask in zip(one.responses, one.ratings, one.mask, strict=True):
            yield RatedResponse(one.prompt, response, one.rules, ratings, mask, one.subset, one.source, one.id)
