"""Ratings from a file as a judge: what people, or somebody else's judge, said already."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator

from encore_jax.data.comparison import RatedResponse
from encore_jax.data.orientation import unorient_named
from encore_jax.errors import InputError
from encore_jax.judge.question import Answer, Identity, Question, Status, conversation_id
from encore_jax.rules import RulePool

MISSING = "not in the table"


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
