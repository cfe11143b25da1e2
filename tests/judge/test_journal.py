"""The journal: what is in it is final, comes back as it went in, and is all that decides what is asked."""

import contextlib
import dataclasses
import json
import math
import os
import re
import sqlite3
import subprocess
import sys

import numpy as np
import pytest

from encore_jax.data import iter_comparisons, iter_rated, write_comparisons, write_rated
from encore_jax.errors import InputError
from encore_jax.judge.export import rated_comparisons, rated_responses, summary, summary_table
from encore_jax.judge.journal import CONTRADICTS, KNOWN, Journal
from encore_jax.judge.journal_file import SCHEMA, VERSION, open_journal
from encore_jax.judge.question import Answer, Identity, Key, Status, rating_questions
from encore_jax.judge.settings import RetryPolicy
from encore_jax.rules import Rule, RulePool

IDENTITY = Identity("server", "m", "digest", {"top": 20}, scale=(-1.0, 1.0))
OK = Answer(Status.OK, rating=0.25, relevance=0.5, evidence={"logprobs": [["Yes", -0.5]], "unlisted": 0.01})
FAILED = Answer(Status.FAILED, problem="HTTP 500", evidence={"raw": "internal"}, faults=("HTTP 429", "HTTP 500"))
UNREAD = Answer(Status.UNPARSABLE, problem="no number", evidence={"raw": "fine"})


@pytest.fixture
def questions(comparisons, pool):
    return list(rating_questions(comparisons, pool))


def keys(questions):
    return [question.key for question in questions]


def test_what_was_answered_is_not_asked_again_by_anyone_equal(tmp_path, questions, pool):
    with Journal(tmp_path / "j", IDENTITY, pool) as journal:
        for question in questions[::2]:
            journal.record(question.key, OK)
        journal.flush()
        assert keys(journal.pending(questions)) == keys(questions[1::2])
    with Journal(tmp_path / "j", IDENTITY, pool) as journal:
        assert keys(journal.pending(iter(questions))) == keys(questions[1::2])
    for other in ({"model": "n"}, {"prompt": "other words"}, {"decoding": {"top": 5}}):
        with Journal(tmp_path / "j", dataclasses.replace(IDENTITY, **other), pool) as journal:
            assert keys(journal.pending(questions)) == keys(questions)


def test_a_rule_of_other_words_is_another_rule(tmp_path, comparisons, questions, pool):
    with Journal(tmp_path / "j", IDENTITY, pool) as journal:
        for question in questions:
            journal.record(question.key, OK)
    reworded = RulePool([Rule("kind", "The response is truly kind."), *pool.rules[1:]])
    with Journal(tmp_path / "j", IDENTITY, reworded) as journal:
        asked = list(journal.pending(rating_questions(comparisons, reworded)))
        assert {q.key.rule for q in asked} == {"kind"} and len(asked) == len(questions) / 3
        with pytest.raises(InputError, match="'kind' is not the pool's"):
            list(journal.pending(questions))


def test_a_response_of_many_comparisons_is_asked_about_once(comparisons, pool):
    once = keys(rating_questions(comparisons, pool))
    swapped = [dataclasses.replace(c, responses=c.responses[::-1]) for c in comparisons]
    assert keys(rating_questions([*comparisons, *swapped, *comparisons], pool)) == once


def test_policy_decides_what_is_asked_again(tmp_path, questions, pool):
    failing, unread = questions[:2]
    with Journal(tmp_path / "j", IDENTITY, pool) as journal:
        for again in (True, True, False):
            journal.record(failing.key, FAILED)
            journal.record(unread.key, UNREAD)
            journal.flush()
            policy = RetryPolicy(failed=3, unparsable=2)
            assert (failing.key in keys(journal.pending(questions, policy))) == again
            assert unread.key not in keys(journal.pending(questions))
        told = summary(journal)
        journal.record(failing.key, OK)
        journal.record(failing.key, FAILED)
        journal.flush()
        assert failing.key not in keys(journal.pending(questions, RetryPolicy(failed=99))), "an OK answer is final"
    assert told["questions"] == {"ok": 0, "unparsable": 1, "failed": 1}
    assert told["problems"] == {"HTTP 500": 1, "no number": 1}
    assert told["faults"] == {"HTTP 500": 3 + 2, "HTTP 429": 3, "no number": 2}
    assert told["attempts"] == 6 and told["asked_again"] == 2


def test_failed_answers_keep_their_raw_text(tmp_path, questions, pool):
    with Journal(tmp_path / "j", IDENTITY, pool) as journal:
        journal.record(questions[0].key, UNREAD)
    with contextlib.closing(open_journal(tmp_path / "j")) as connection:
        row = connection.execute("SELECT status, problem, evidence FROM attempt").fetchone()
    assert row == ("unparsable", "no number", '{"raw": "fine"}')


def test_an_answer_is_durable_without_any_closing(tmp_path, questions, pool):
    with Journal(tmp_path / "j", IDENTITY, pool) as journal:
        journal.record(questions[0].key, OK)
        journal.flush()
        reader = sqlite3.connect(tmp_path / "j")
        assert reader.execute("SELECT rating, relevance FROM rating").fetchall() == [(0.25, 0.5)]
        reader.close()


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
    journal._writer.put(("too", "few"), ("columns",))
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
    "answer",
    [
        Answer(Status.OK, rating=math.nan),
        Answer(Status.OK, rating=math.inf),
        Answer(Status.OK),
        Answer(Status.OK, rating=0.5, relevance=math.nan),
        Answer(Status.FAILED, rating=0.5),
        Answer(Status.UNPARSABLE, rating=0.5),
    ],
    ids=str,
)
def test_no_answer_without_a_number_is_called_rated(answer, tmp_path, questions, pool):
    with Journal(tmp_path / "j", IDENTITY, pool) as journal:
        with pytest.raises(InputError, match="a rating is a finite number"):
            journal.record(questions[0].key, answer)
        journal.record(questions[1].key, OK)
    with Journal(tmp_path / "j", IDENTITY, pool) as journal:
        assert len(list(journal.pending(questions))) == len(questions) - 1


def test_texts_of_any_kind_come_back_as_they_were(tmp_path, questions, pool):
    odd = Answer(Status.FAILED, problem="\ud800 \0 \x1b[31m", evidence={"raw": "\ud800\0"}, faults=("\udfff",))
    with Journal(tmp_path / "j", IDENTITY, pool) as journal:
        journal.record(questions[0].key, dataclasses.replace(odd, problem="half"))
        journal.flush()
        assert json.dumps(summary(journal), ensure_ascii=False).isprintable()
    with pytest.raises(InputError, match="could not be written: .*surrogates not allowed"):
        with Journal(tmp_path / "j", IDENTITY, pool) as journal:
            journal.record(questions[1].key, odd)


def test_whether_an_answer_is_known(tmp_path, questions, pool):
    with Journal(tmp_path / "j", IDENTITY, pool) as journal:
        for question, answer in zip(questions, (OK, UNREAD, FAILED), strict=False):
            assert journal.seen(question.key, answer) == ""
            journal.record(question.key, answer)
        journal.flush()
        for question, answer in zip(questions, (OK, UNREAD, FAILED), strict=False):
            assert journal.seen(question.key, answer) == KNOWN
        assert journal.seen(questions[0].key, dataclasses.replace(OK, rating=0.5)) == CONTRADICTS
        assert journal.seen(questions[0].key, UNREAD) == KNOWN, "an OK answer is final"
        assert journal.seen(questions[1].key, OK) == "" == journal.seen(questions[1].key, FAILED)


def test_the_last_words_of_every_kind_of_failure_stand_in_the_table(tmp_path, questions, pool):
    with Journal(tmp_path / "j", IDENTITY, pool) as journal:
        for i, question in enumerate(questions[:30]):
            evidence = {"raw": "{...}", "words": f"Use | 'x'\x1b[31m, said {i}"}
            journal.record(question.key, Answer(Status.FAILED, problem=f"HTTP {400 + i % 25}", evidence=evidence))
        journal.record(questions[31].key, UNREAD)
        journal.flush()
        told = summary(journal)
    assert told["words"]["HTTP 400"] == "Use | 'x'\\x1b[31m, said 25" and told["words"]["no number"] == "fine"
    table = summary_table(told)
    assert "| without a rating: HTTP 400 | 2 | Use \\| 'x'\\x1b[31m, said 25 |" in table
    assert re.search(r"\| without a rating: 6 other kinds \| \d+ \|", table), "twenty kinds are named"
    assert len({line.count(" | ") for line in table.splitlines()[2:]}) == 1 and "\x1b" not in table


@pytest.mark.parametrize("name", ["out.jsonl", "out.parquet"])
def test_export_is_what_the_journal_holds_oriented_and_masked(name, tmp_path, comparisons, questions, pool):
    rng, given = np.random.default_rng(0), {}
    with Journal(tmp_path / "j", IDENTITY, pool) as journal:
        for question in questions:
            if rng.random() < 0.7:
                rating, relevance = rng.uniform(-1, 1), rng.uniform()
                given[question.key] = rating, relevance
                journal.record(question.key, Answer(Status.OK, rating=rating, relevance=relevance))
            else:
                journal.record(question.key, UNREAD)
        journal.flush()
        path = tmp_path / name
        assert write_comparisons(path, rated_comparisons(comparisons, journal, pool), pool=pool) == len(comparisons)
        rated_path = tmp_path / f"rated-{name}"
        write_rated(rated_path, rated_responses(comparisons, journal, pool), pool=pool)
    by_text = {(q.prompt, q.response, q.rule.name): q.key for q in questions}
    back = list(iter_comparisons(path, pool=pool))
    assert [c.responses for c in back] == [c.responses for c in comparisons]
    seen = 0
    for c in back:
        for i, response in enumerate(c.responses):
            for k, rule in enumerate(pool):
                key = by_text[c.prompt, response, rule.name]
                assert c.mask[i, k] == (key in given)
                if key in given:
                    unit = (given[key][0] + 1) / 2
                    assert c.ratings[i, k] == pytest.approx(unit if rule.direction > 0 else 1 - unit, abs=1e-6)
                    assert c.extra["relevance"][rule.name][i] == pytest.approx(given[key][1], abs=1e-6)
                    seen += 1
        assert c.extra["judge"]["model"] == "m" and c.extra["judge"]["label"] == "judge-rated"
    assert seen == len(given)
    rated = list(iter_rated(rated_path, pool=pool))
    assert sum(int(r.mask.sum()) for r in rated) == len(given)
    of_text = {(c.prompt, text): (c, i) for c in back for i, text in enumerate(c.responses)}
    for r in rated:
        c, i = of_text[r.prompt, r.response]
        np.testing.assert_array_equal(r.mask, c.mask[i])
        np.testing.assert_array_equal(r.ratings[r.mask], c.ratings[i][r.mask])
        assert r.extra["judge"] == c.extra["judge"]
        assert r.extra["relevance"] == {rule: values[i] for rule, values in c.extra["relevance"].items()}


def test_a_rating_off_the_declared_scale_is_refused(tmp_path, comparisons, questions, pool):
    with Journal(tmp_path / "j", dataclasses.replace(IDENTITY, scale=(0.0, 1.0)), pool) as journal:
        journal.record(questions[0].key, Answer(Status.OK, rating=-0.5))
        journal.flush()
        with pytest.raises(InputError, match="-0.5 is not on the judge's scale from 0 to 1"):
            list(rated_comparisons(comparisons, journal, pool))


def test_keys_of_a_rule_outside_the_pool_are_refused(tmp_path, pool):
    with Journal(tmp_path / "j", IDENTITY, pool) as journal:
        with pytest.raises(InputError, match="'brave' is not in the pool"):
            journal.record(Key("0" * 32, 0, "brave"), OK)


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
