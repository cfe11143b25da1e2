"""The journal: what is in it is final, comes back as it went in, and is all that decides what is asked."""

import contextlib
import dataclasses
import json
import math
import sqlite3

import pytest

from encore_jax.errors import InputError
from encore_jax.judge.export import summary
from encore_jax.judge.journal import CONTRADICTS, KNOWN, Journal
from encore_jax.judge.journal_file import open_journal
from encore_jax.judge.question import Answer, Key, Status, rating_questions
from encore_jax.judge.settings import RetryPolicy
from encore_jax.rules import Rule, RulePool
from tests.judge.answers import FAILED, IDENTITY, OK, UNREAD


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


def test_rows_that_are_dropped_after_the_journal_was_closed_harm_nothing(tmp_path, questions, pool):
    with Journal(tmp_path / "j", IDENTITY, pool) as journal:
        for question in questions:
            journal.record(question.key, OK)
        journal.flush()
        rows = journal.select("SELECT rating FROM rating")
        assert next(rows) == (0.25,)
    rows.close()


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
        with contextlib.closing(sqlite3.connect(tmp_path / "j")) as reader:
            assert reader.execute("SELECT rating, relevance FROM rating").fetchall() == [(0.25, 0.5)]


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


def test_keys_of_a_rule_outside_the_pool_are_refused(tmp_path, pool):
    with Journal(tmp_path / "j", IDENTITY, pool) as journal:
        with pytest.raises(InputError, match="'brave' is not in the pool"):
            journal.record(Key("0" * 32, 0, "brave"), OK)
