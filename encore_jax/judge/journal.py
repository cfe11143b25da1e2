"""Every answer, durable the moment it arrives: SQLite in WAL mode, one writer.

What an answer is kept under: the judge's identity (model, prompt's wording, decoding), the conversation, the response,
and the rule with its words, so that nothing is reused after any of them has changed. A rule that is asked about in one
call with others is kept under the whole call and its place in it. Of each there is one narrow row in
`rating`, which says where the question stands, and one wide row in `attempt` per time it was asked, with raw evidence.

What holds after a kill, at any instant: an answer counts as given once its transaction has been committed (synced to
disk), and what was given is never asked again. Only what was asked and had no committed answer can be asked twice: the
requests in flight, and the answers that had come in during the commit under way. Answers are committed as fast as the
disk syncs, all that arrived meanwhile together, so a slow disk costs no answers per second.
"""

from __future__ import annotations

import contextlib
import dataclasses
import itertools
import json
import math
import sqlite3
import time
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from encore_jax.data.atomic import make_folder
from encore_jax.data.lock import open_lock
from encore_jax.errors import InputError
from encore_jax.judge.calls.call import asked_text, call_of_rule, question_call
from encore_jax.judge.journal_file import JournalWriter, open_journal, sqlite_errors
from encore_jax.judge.question import Answer, Identity, Key, Question, Status
from encore_jax.judge.settings import RetryPolicy
from encore_jax.rules import Rule, RulePool

KNOWN = "known already"
CONTRADICTS = "another answer to a question that has one"
CHUNK = 1000
"""Questions looked up together."""


class Journal:
    """The answers of one judge on one pool of rules; use as a context manager.

    Args:
      path: the file; made if it is not there. Several judges and pools can share it, one process at a time.
      identity: of the judge.
      pool: the rules that will be asked about; where the judge is asked about several in a call, all of them in order.

    Raises:
      InputError: it is no journal, cannot be written to, or another process has it open.
    """

    def __init__(self, path: str | Path, identity: Identity, pool: RulePool | Sequence[Rule]):
        self.path, self.identity = Path(path), identity
        fix = "name another file"
        make_folder(self.path.parent, fix=fix)
        with contextlib.ExitStack() as held:
            held.enter_context(open_lock(self.path, fix=f"wait until it ends, or {fix}"))
            self.connection = held.enter_context(contextlib.closing(open_journal(self.path)))
            self._calls = call_of_rule(pool, identity.rules_per_call)
            asked = {rule.name: asked_text(rule, self._calls[rule.name]) for rule in pool}
            with sqlite_errors(self.path), self.connection as connection:
                self.judge = _id(connection, "judge", {"digest": identity.digest}, {"identity": _json(identity)})
                self._rules = {r: _id(connection, "rule", {"name": r, "text": text}) for r, text in asked.items()}
            self._texts = {rule.name: rule.text for rule in pool}
            self._names = {number: name for name, number in self._rules.items()}
            self._writer = JournalWriter(self.path)
            self._held = held.pop_all()

    def __enter__(self) -> Journal:
        return self

    def __exit__(self, *error) -> None:
        self.close()

    def close(self) -> None:
        """Waits until everything recorded is durable, then lets go of the file."""
        with self._held:
            self._writer.close()

    def rule_id(self, name: str) -> int:
        """The number of a rule in this file.

        Raises:
          InputError: it is not in this journal's pool.
        """
        if name not in self._rules:
            raise InputError(f"the rule {name!r} is not in the pool", where=str(self.path), fix="open it with its pool")
        return self._rules[name]

    def record(self, key: Key, answer: Answer) -> None:
        """Hands an answer to the writer; it is durable within one commit, and certainly after `flush`.

        An answer that is OK is final: nothing recorded later under the same key replaces it.

        Raises:
          InputError: an earlier answer could not be written, or this one's numbers are none.
        """
        self.record_all([(key, answer)])

    def record_all(self, answers: Iterable[tuple[Key, Answer]]) -> None:
        """As `record`, of answers that come from one reply: all of them become durable, or none."""
        self._writer.put([self._rows_of(key, answer) for key, answer in answers])

    def _rows_of(self, key: Key, answer: Answer) -> tuple[tuple, tuple]:
        numbers = [n for n in (answer.rating, answer.relevance) if n is not None]
        if not all(math.isfinite(n) for n in numbers) or (answer.status is Status.OK) != (answer.rating is not None):
            raise InputError(
                f"an answer {answer.status} with rating {answer.rating} and relevance {answer.relevance}",
                where=f"judge {self.identity.model}",
                fix="a rating is a finite number, and stands in answers that are ok",
            )
        place = (self.judge, bytes.fromhex(key.conversation), key.response, self.rule_id(key.rule))
        problem, faults = answer.problem or None, json.dumps(answer.faults) if answer.faults else None
        attempt = (*place, time.time(), answer.status.value, problem, faults, json.dumps(answer.evidence))
        rating = (*place, answer.status.value, answer.rating, answer.relevance, problem)
        return attempt, rating

    def flush(self) -> None:
        """Returns when everything recorded so far is durable."""
        self._writer.flush()

    def pending(self, questions: Iterable[Question], policy: RetryPolicy | None = None) -> Iterator[Question]:
        """The questions that are still to be asked, in their order; looked up `CHUNK` at a time.

        Raises:
          InputError: a question's rule has other words than the pool's, or is asked in another call than this judge's.
        """
        policy = RetryPolicy() if policy is None else policy
        texts, calls, rules, questions = self._texts, self._calls, self._rules, iter(questions)
        while chunk := list(itertools.islice(questions, CHUNK)):
            for question in chunk:
                if texts.get(question.key.rule) != question.rule.text:
                    raise InputError(
                        f"the rule {question.key.rule!r} is not the pool's", where=str(self.path), fix="use one pool"
                    )
                if question_call(question) != calls[question.key.rule]:
                    raise InputError(
                        f"the rule {question.key.rule!r} is asked with other rules than this judge is",
                        where=str(self.path),
                        fix="make questions with the judge's rules_per_call, about all rules of its pool",
                    )
            blobs = {name: bytes.fromhex(name) for name in {question.key.conversation for question in chunk}}
            settled = self._settled(list(blobs.values()), policy)
            for question in chunk:
                conversation, response, rule = question.key
                if (blobs[conversation], response, rules[rule]) not in settled:
                    yield question

    def _settled(self, conversations: list[bytes], policy: RetryPolicy) -> set[tuple[bytes, int, int]]:
        """(conversation, response, rule) of what needs no asking: SQLite decides, and no row but these comes here."""
        condition, values = policy.settled()
        return set(self._rows(conversations, "", condition, values))

    def select(self, statement: str, values: Sequence = ()) -> Iterator[tuple]:
        """Rows of this journal's tables.

        Raises:
          InputError: the file is damaged or locked.
        """
        with sqlite_errors(self.path):
            # `yield from` would close the cursor again where rows are dropped after the journal was closed: an error.
            for row in self.connection.execute(statement, values):  # noqa: UP028
                yield row

    def rows(self, conversations: Iterable[str], columns: str) -> Iterator[tuple]:
        """(conversation, response, rule, and these columns of `rating`) of this judge, in no order."""
        yield from self._rows([bytes.fromhex(conversation) for conversation in conversations], f", {columns}")

    def _rows(
        self, conversations: list[bytes], columns: str, condition: str = "TRUE", values: tuple = ()
    ) -> Iterator[tuple]:
        parts = (conversations[start : start + CHUNK] for start in range(0, len(conversations), CHUNK))
        return itertools.chain.from_iterable(
            self.select(
                f"SELECT conversation, response, rule{columns} FROM rating "
                f"WHERE judge = ? AND conversation IN ({','.join('?' * len(part))}) AND ({condition})",
                (self.judge, *part, *values),
            )
            for part in parts
        )

    def rule_name(self, number: int) -> str | None:
        """The name of a rule by its number; None if it is not in this journal's pool."""
        return self._names.get(number)

    def seen(self, key: Key, answer: Answer) -> str:
        """Why recording an answer would change nothing; "" if it would.

        `KNOWN`: this key has this answer, or once had it. `CONTRADICTS`: it has another one that is OK, and final.
        """
        place = (self.judge, bytes.fromhex(key.conversation), key.response, self.rule_id(key.rule))
        here = "judge = ? AND conversation = ? AND response = ? AND rule = ?"
        rated = list(self.select(f"SELECT status, rating FROM rating WHERE {here}", place))
        if not rated:
            return ""
        ((status, rating),) = rated
        if status == Status.OK:
            return CONTRADICTS if answer.status is Status.OK and answer.rating != rating else KNOWN
        faults = self.select(f"SELECT problem, evidence FROM attempt WHERE {here} AND status <> 'ok'", place)
        return KNOWN if (answer.problem or None, json.dumps(answer.evidence)) in faults else ""


def _id(connection: sqlite3.Connection, table: str, key: dict, more: dict | None = None) -> int:
    row = key | (more or {})
    connection.execute(
        f"INSERT OR IGNORE INTO {table} ({', '.join(row)}) VALUES ({', '.join('?' * len(row))})", tuple(row.values())
    )
    where = " AND ".join(f"{name} = ?" for name in key)
    return connection.execute(f"SELECT id FROM {table} WHERE {where}", tuple(key.values())).fetchone()[0]


def _json(identity: Identity) -> str:
    return json.dumps(dataclasses.asdict(identity), sort_keys=True)
