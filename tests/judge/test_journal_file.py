"""The journal as a file: whatever lies there, whoever holds it and however full the disk is, one line says so."""

import contextlib
import dataclasses
import os
import sqlite3
import subprocess
import sys

import pytest

from encore_jax.errors import InputError
from encore_jax.judge.export import rated_comparisons, summary
from encore_jax.judge.journal import Journal
from encore_jax.judge.journal_file import SCHEMA, VERSION, open_journal
from encore_jax.judge.settings import RetryPolicy
from encore_jax.rules import Rule
from tests.judge.answers import FAILED, IDENTITY, OK, UNREAD


def keys(questions):
    return [question.key for question in questions]


HOLD = """
import sys, time
from encore_jax.judge.journal import Journal
from encore_jax.judge.question import Identity
from encore_jax.rules import Rule
with Journal(sys.argv[1], Identity("server", "m"), [Rule("kind", "It is kind.")]):
    print("held", flush=True)
    sys.stdin.read()
"""


def test_two_processes_do_not_write_to_one_journal(tmp_path, pool):
    command = [sys.executable, "-c", HOLD, str(tmp_path / "j")]
    other = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    with other:
        assert other.stdout.readline() == "held\n"
        with pytest.raises(
            InputError, match=rf"is in use by process {other.pid} on .*wait until it ends, or name another"
        ):
            Journal(tmp_path / "j", IDENTITY, pool)
        other.kill()
    Journal(tmp_path / "j", IDENTITY, pool).close()


def test_a_lock_file_that_is_a_link_is_not_followed(tmp_path, pool):
    mine = tmp_path / "mine.txt"
    mine.write_text("my own")
    (tmp_path / "j.lock").symlink_to(mine)
    with pytest.raises(InputError, match="j.lock: is a link"):
        Journal(tmp_path / "j", IDENTITY, pool)
    assert mine.read_text() == "my own" and not (tmp_path / "j").exists()


def database(path, *statements):
    with contextlib.closing(sqlite3.connect(path)) as connection, connection:
        for statement in statements:
            connection.execute(statement)
    return path


def text_file(path):
    path.write_text("These are my notes, and they are longer than the header of any database file." * 20)


def damaged(path):
    with Journal(path, IDENTITY, [Rule("kind", "k")]):
        pass
    raw = bytearray(path.read_bytes())
    raw[100:200] = b"\xff" * 100
    path.write_bytes(raw)


VERSION_1 = f"PRAGMA user_version = {VERSION}"

OTHERS = {
    "a text": text_file,
    "an image": lambda path: path.write_bytes(b"\x89PNG\r\n" + bytes(9000)),
    "a header alone": lambda path: path.write_bytes(b"SQLite format 3\x00"),
    "a damaged journal": damaged,
    "a cut-off journal": lambda path: (damaged(path), path.write_bytes(path.read_bytes()[:5000])),
    "a folder": lambda path: path.mkdir(),
    "a pipe": os.mkfifo,
    "another database": lambda path: database(path, "CREATE TABLE bookmarks (url TEXT)"),
    "another database of our version": lambda path: database(path, "CREATE TABLE t (a)", VERSION_1),
    "a table of our name": lambda path: database(path, "CREATE TABLE judge (id INTEGER, name TEXT)"),
    "our tables and others": lambda path: database(path, *SCHEMA.split(";"), "CREATE TABLE more (a)"),
    "our version without tables": lambda path: database(path, VERSION_1),
    "a view": lambda path: database(path, "CREATE VIEW rating AS SELECT 1"),
    "a trigger": lambda path: database(
        path, *SCHEMA.split(";"), VERSION_1,
        "CREATE TRIGGER t AFTER INSERT ON judge BEGIN DELETE FROM rating; END",
    ),
    "a later version": lambda path: database(path, *SCHEMA.split(";"), f"PRAGMA user_version = {VERSION + 1}"),
}  # fmt: skip


@pytest.mark.parametrize("kind", OTHERS)
def test_what_is_no_journal_is_left_alone(kind, tmp_path, pool):
    path = tmp_path / "file"
    OTHERS[kind](path)
    before = path.read_bytes() if path.is_file() else None
    with pytest.raises(
        InputError, match=r"file: (this is no journal|a journal of version|cannot be used).*Fix: "
    ) as caught:
        Journal(path, IDENTITY, pool)
    assert (path.read_bytes() if path.is_file() else None) == before and "\n" not in str(caught.value)
    assert {name.name for name in tmp_path.iterdir()} <= {"file", "file.lock"}


def test_tables_half_made_by_a_killed_process_are_completed(tmp_path, pool):
    path = database(tmp_path / "j", *SCHEMA.split(";")[:2])
    with Journal(path, IDENTITY, pool) as journal:
        assert not list(journal.rows(["0" * 32], "rating"))


def test_a_journal_damaged_in_the_middle_is_told(tmp_path, questions, pool):
    path = tmp_path / "j"
    with Journal(path, IDENTITY, pool) as journal:
        for question in questions * 5:
            journal.record(question.key, dataclasses.replace(UNREAD, evidence={"raw": "x" * 900}))
    raw = path.read_bytes()
    path.write_bytes(raw[:20_000] + b"\xff" * (len(raw) - 20_000))
    with pytest.raises(InputError, match="j: (cannot be used|could not be written): .*damaged"):
        with Journal(path, IDENTITY, pool) as journal:
            list(journal.pending(questions, RetryPolicy(unparsable=99)))
            summary(journal)
    with contextlib.closing(sqlite3.connect(path)) as connection, contextlib.suppress(sqlite3.DatabaseError):
        connection.execute("SELECT 1")


@pytest.mark.parametrize("text", ["not json", "[1]", "{}", '"x"', "[" * 5000, "\\ud800"])
def test_evidence_and_faults_that_somebody_wrote_are_told_or_read(text, tmp_path, questions, pool):
    with Journal(tmp_path / "j", IDENTITY, pool) as journal:
        journal.record(questions[0].key, FAILED)
    database(tmp_path / "j", f"UPDATE attempt SET faults = '{text}', evidence = '{text}'")
    with Journal(tmp_path / "j", IDENTITY, pool) as journal:
        with contextlib.suppress(InputError):
            assert summary(journal)["words"] == {}


def test_what_a_killed_run_left_in_its_log_is_there(tmp_path, questions, pool):
    """The write-ahead log of a process that had no time to merge it."""
    path = tmp_path / "j"
    with Journal(path, IDENTITY, pool) as journal:
        journal.record(questions[0].key, OK)
        journal.flush()
        left = {suffix: (tmp_path / f"j{suffix}").read_bytes() for suffix in ("", "-wal", "-shm")}
    for suffix, raw in left.items():
        (tmp_path / f"j{suffix}").write_bytes(raw)
    with Journal(path, IDENTITY, pool) as journal:
        assert keys(journal.pending(questions)) == keys(questions[1:])


def test_a_file_that_another_program_keeps_locked_is_told(tmp_path, questions, pool, monkeypatch):
    path, connect = tmp_path / "j", sqlite3.connect
    Journal(path, IDENTITY, pool).close()
    monkeypatch.setattr(sqlite3, "connect", lambda *args, **options: connect(*args, **(options | {"timeout": 0.1})))
    with contextlib.closing(connect(path, isolation_level=None)) as other:
        other.execute("BEGIN EXCLUSIVE")
        with pytest.raises(InputError, match="database is locked. Fix: another program keeps the file locked"):
            Journal(path, IDENTITY, pool)
    journal = Journal(path, IDENTITY, pool)
    with contextlib.closing(connect(path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        journal.record(questions[0].key, OK)
        with pytest.raises(InputError, match="could not be written: database is locked. Fix: another program keeps"):
            journal.flush()
        other.execute("ROLLBACK")
    with pytest.raises(InputError, match="could not be written"):
        journal.close()


@pytest.mark.parametrize("name", ["missing/deep/j", "file/j", "\0", "\ud800", "x" * 300])
def test_places_where_no_journal_can_be(name, tmp_path, pool):
    (tmp_path / "file").write_text("in the way")
    if name == "missing/deep/j":
        Journal(tmp_path / name, IDENTITY, pool).close()
    else:
        with pytest.raises(InputError, match="Fix: "):
            Journal(tmp_path / name, IDENTITY, pool)


def test_a_full_disk_is_told_and_loses_nothing_committed(tmp_path, questions, pool):
    path = tmp_path / "j"
    with Journal(path, IDENTITY, pool) as journal:
        journal.record(questions[0].key, OK)
    journal = Journal(path, IDENTITY, pool)
    journal._writer.put([(("too", "few"), ("columns",))])
    for _ in range(2):
        with pytest.raises(InputError, match="could not be written"):
            journal.flush()
        with pytest.raises(InputError, match="could not be written"):
            journal.record(questions[1].key, OK)
    with pytest.raises(InputError, match="could not be written"):
        journal.close()
    with Journal(path, IDENTITY, pool) as again:
        assert len(list(again.pending(questions))) == len(questions) - 1


def test_a_disk_that_is_really_full(tmp_path, questions, pool, monkeypatch):
    """SQLite's own limit of pages stands in for the disk's."""
    from encore_jax.judge import journal_file as module

    def small(path):
        connection = open_journal(path)
        pages = connection.execute("PRAGMA page_count").fetchone()[0]
        connection.execute(f"PRAGMA max_page_count = {pages + 3}")
        return connection

    monkeypatch.setattr(module, "open_journal", small)
    with pytest.raises(InputError, match="could not be written: database or disk is full. Fix: make room on the disk"):
        with Journal(tmp_path / "j", IDENTITY, pool) as journal:
            for _ in range(30):
                for question in questions:
                    journal.record(question.key, dataclasses.replace(UNREAD, evidence={"raw": "x" * 2000}))


@pytest.mark.parametrize(
    "change",
    [
        "UPDATE rating SET status = 'odd'",
        "UPDATE rating SET rating = 'high'",
        "UPDATE rating SET relevance = x'ff'",
        "UPDATE rating SET conversation = 'text' WHERE rule = 1 AND response = 0 AND attempt = 1",
        "UPDATE rating SET attempts = 'many', problem = x'ff'",
        "UPDATE attempt SET faults = '[1]'",
        "UPDATE attempt SET faults = 'no JSON'",
        "UPDATE attempt SET evidence = '[[['",
        "UPDATE attempt SET evidence = x'00ff'",
    ],
)
def test_rows_that_no_journal_writes_end_in_one_line_or_are_not_used(tmp_path, comparisons, questions, pool, change):
    with Journal(tmp_path / "j", IDENTITY, pool) as journal:
        for i, question in enumerate(questions):
            journal.record(question.key, (OK, FAILED, UNREAD)[i % 3])
        journal.flush()
    with contextlib.closing(sqlite3.connect(tmp_path / "j")) as connection, connection:
        connection.execute(change)
    with Journal(tmp_path / "j", IDENTITY, pool) as journal:
        for read in (summary, lambda j: list(rated_comparisons(comparisons, j, pool))):
            with contextlib.suppress(InputError):
                read(journal)
