"""Every answer, durable the moment it arrives: SQLite in WAL mode, one writer.

What an answer is kept under: the judge's identity (model, prompt's wording, decoding), the conversation, the response,
and the rule with its words, so that nothing is reused after any of them has changed. Of each there is one narrow row in
`rating`, which says where the question stands, and one wide row in `attempt` per time it was asked, with raw evidence.

What holds after a kill, at any instant: an answer counts as given once its transaction has been committed (synced to
disk), and what was given is never asked again. Asked twice can only be what was asked and had no committed answer: the
requests in flight, and the answers that had come in during the commit under way. Answers are committed as fast as the
disk syncs, all that arrived meanwhile together, so a slow disk costs no answers per second.
"""

from __future__ import annotations

import dataclasses
import fcntl
import itertools
import json
import sqlite3
import time
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from encore_jax.errors import InputError
from encore_jax.judge.journal_writer import JournalWriter
from encore_jax.judge.question import Answer, Identity, Key, Question, Status
from encore_jax.judge.retry_policy import RetryPolicy
from encore_jax.rules import Rule, RulePool

SCHEMA = """
CREATE TABLE IF NOT EXISTS judge (id INTEGER PRIMARY KEY, digest TEXT NOT NULL UNIQUE, identity TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS rule (id INTEGER PRIMARY KEY, name TEXT NOT NULL, text TEXT NOT NULL, UNIQUE (name, text));
CREATE TABLE IF NOT EXISTS attempt (
  id INTEGER PRIMARY KEY, judge INTEGER NOT NULL, conversation BLOB NOT NULL, response INTEGER NOT NULL,
  rule INTEGER NOT NULL, at REAL NOT NULL, status TEXT NOT NULL, problem TEXT, faults TEXT, evidence TEXT);
CREATE INDEX IF NOT EXISTS unanswered ON attempt (judge, conversation, response, rule) WHERE status <> 'ok';
CREATE TABLE IF NOT EXISTS rating (
  judge INTEGER NOT NULL, conversation BLOB NOT NULL, response INTEGER NOT NULL, rule INTEGER NOT NULL,
  status TEXT NOT NULL, rating REAL, relevance REAL, problem TEXT, attempts INTEGER NOT NULL, attempt INTEGER NOT NULL,
  PRIMARY KEY (judge, conversation, response, rule)) WITHOUT ROWID;
"""
VERSION = 1
CHUNK = 1000
"""Questions looked up together."""


class Journal:
    """The answers of one judge on one pool of rules; use as a context manager.

    Args:
      path: the file; made if it is not there. Several judges and pools can share it, one process at a time.
      identity: of the judge.
      pool: the rules that will be asked about.

    Raises:
      InputError: it is no journal, or another process has it open.
    """

    def __init__(self, path: str | Path, identity: Identity, pool: RulePool | Sequence[Rule]):
        self.path, self.identity = Path(path), identity
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self._lock = open(f"{self.path}.lock", "w")
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            self._lock.close()
            raise InputError(
                "another process writes to this journal", where=str(path), fix="wait for it, or use another file"
            ) from None
        try:
            self.connection = open_journal(self.path)
            with self.connection as connection:
                self.judge = _id(connection, "judge", {"digest": identity.digest}, {"identity": _json(identity)})
                self._rules = {r.name: _id(connection, "rule", {"name": r.name, "text": r.text}) for r in pool}
        except BaseException:
            self._lock.close()
            raise
        self._texts = {rule.name: rule.text for rule in pool}
        self._names = {number: name for name, number in self._rules.items()}
        self._writer = JournalWriter(self.path, open_journal)

    def __enter__(self) -> Journal:
        return self

    def __exit__(self, *error) -> None:
        self.close()

    def close(self) -> None:
        """Waits until everything recorded is durable, then lets go of the file."""
        try:
            self._writer.close()
        finally:
            self.connection.close()
            self._lock.close()

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
          InputError: an earlier answer could not be written.
        """
        place = (self.judge, bytes.fromhex(key.conversation), key.response, self.rule_id(key.rule))
        problem, faults = answer.problem or None, json.dumps(answer.faults) if answer.faults else None
        attempt = (*place, time.time(), answer.status.value, problem, faults, json.dumps(answer.evidence))
        rating = (*place, answer.status.value, answer.rating, answer.relevance, problem)
        self._writer.put(attempt, rating)

    def flush(self) -> None:
        """Returns when everything recorded so far is durable."""
        self._writer.flush()

    def pending(self, questions: Iterable[Question], policy: RetryPolicy | None = None) -> Iterator[Question]:
        """The questions that are still to be asked, in their order; looked up `CHUNK` at a time.

        Raises:
          InputError: a question's rule has other words than the pool's.
        """
        policy = RetryPolicy() if policy is None else policy
        texts, rules, questions = self._texts, self._rules, iter(questions)
        while chunk := list(itertools.islice(questions, CHUNK)):
            for question in chunk:
                if texts.get(question.key.rule) != question.rule.text:
                    raise InputError(
                        f"the rule {question.key.rule!r} is not the pool's", where=str(self.path), fix="use one pool"
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

    def rows(self, conversations: Iterable[str], columns: str) -> Iterator[tuple]:
        """(conversation, response, rule, and these columns of `rating`) of this judge, in no order."""
        yield from self._rows([bytes.fromhex(conversation) for conversation in conversations], f", {columns}")

    def _rows(
        self, conversations: list[bytes], columns: str, condition: str = "TRUE", values: tuple = ()
    ) -> Iterator[tuple]:
        parts = (conversations[start : start + CHUNK] for start in range(0, len(conversations), CHUNK))
        return itertools.chain.from_iterable(
            self.connection.execute(
                f"SELECT conversation, response, rule{columns} FROM rating "
                f"WHERE judge = ? AND conversation IN ({','.join('?' * len(part))}) AND ({condition})",
                (self.judge, *part, *values),
            )
            for part in parts
        )

    def rule_name(self, number: int) -> str | None:
        """The name of a rule by its number; None if it is not in this journal's pool."""
        return self._names.get(number)

    def was_seen(self, key: Key, answer: Answer) -> bool:
        """Whether this key has an OK answer, or once had this very answer: then recording it would change nothing."""
        place = (self.judge, bytes.fromhex(key.conversation), key.response, self.rule_id(key.rule))
        here = "judge = ? AND conversation = ? AND response = ? AND rule = ?"
        ask = self.connection.execute
        status = ask(f"SELECT status FROM rating WHERE {here}", place).fetchone()
        if status is None or status[0] == Status.OK:
            return status is not None
        seen = ask(f"SELECT problem, evidence FROM attempt WHERE {here} AND status <> 'ok'", place).fetchall()
        return (answer.problem or None, json.dumps(answer.evidence)) in seen


def open_journal(path: Path) -> sqlite3.Connection:
    """A connection with this file's tables, made if they are not there.

    Raises:
      InputError: it is no journal, or of another version.
    """
    connection = sqlite3.connect(path, timeout=60.0, check_same_thread=False)
    try:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute("PRAGMA cache_size = -65536")  # 64 MiB
        version = connection.execute("PRAGMA user_version").fetchone()[0]
        if version not in (0, VERSION):
            raise InputError(f"a journal of version {version}", where=str(path), fix="use the version that wrote it")
        if version == 0:
            with connection:
                for statement in SCHEMA.split(";"):
                    connection.execute(statement)
                connection.execute(f"PRAGMA user_version = {VERSION}")
    except sqlite3.DatabaseError as error:
        connection.close()
        raise InputError(f"this is no journal: {error}", where=str(path), fix="name another file") from None
    except InputError:
        connection.close()
        raise
    return connection


def _id(connection: sqlite3.Connection, table: str, key: dict, more: dict | None = None) -> int:
    row = key | (more or {})
    connection.execute(
        f"INSERT OR IGNORE INTO {table} ({', '.join(row)}) VALUES ({', '.join('?' * len(row))})", tuple(row.values())
    )
    where = " AND ".join(f"{name} = ?" for name in key)
    return connection.execute(f"SELECT id FROM {table} WHERE {where}", tuple(key.values())).fetchone()[0]


def _json(identity: Identity) -> str:
    return json.dumps(dataclasses.asdict(identity), sort_keys=True)
