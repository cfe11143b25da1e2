"""The journal: what is in it is final, comes back as it went in, and is all that decides what is asked."""

import dataclasses
import sqlite3

import numpy as np
import pytest

from encore_jax.data import iter_comparisons, iter_rated, write_comparisons, write_rated
from encore_jax.errors import InputError
from encore_jax.judge.export import rated_comparisons, rated_responses
from encore_jax.judge.journal import Journal, open_journal
from encore_jax.judge.journal_summary import summary
from encore_jax.judge.question import Answer, Identity, Key, Status, rating_questions
from encore_jax.judge.retry_policy import RetryPolicy
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
    row = open_journal(tmp_path / "j").execute("SELECT status, problem, evidence FROM attempt").fetchone()
    assert row == ("unparsable", "no number", '{"raw": "fine"}')


def test_an_answer_is_durable_without_any_closing(tmp_path, questions, pool):
    with Journal(tmp_path / "j", IDENTITY, pool) as journal:
        journal.record(questions[0].key, OK)
        journal.flush()
        reader = sqlite3.connect(tmp_path / "j")
        assert reader.execute("SELECT rating, relevance FROM rating").fetchall() == [(0.25, 0.5)]
        reader.close()


def test_two_processes_do_not_write_to_one_journal(tmp_path, pool):
    with Journal(tmp_path / "j", IDENTITY, pool):
        with pytest.raises(InputError, match="another process writes"):
            Journal(tmp_path / "j", IDENTITY, pool)
    Journal(tmp_path / "j", IDENTITY, pool).close()


def test_what_is_no_journal_is_left_alone(tmp_path, pool):
    path = tmp_path / "notes.txt"
    path.write_text("These are my notes, and they are longer than the header of any database file." * 20)
    with pytest.raises(InputError, match="no journal"):
        Journal(path, IDENTITY, pool)
    assert path.read_text().startswith("These are my notes")


def test_a_full_disk_is_told_and_loses_nothing_committed(tmp_path, questions, pool):
    journal = Journal(tmp_path / "j", IDENTITY, pool)
    journal.record(questions[0].key, OK)
    journal.flush()
    journal._writer.put(("too", "few"), ("columns",))
    with pytest.raises(InputError, match="could not be written"):
        journal.flush()
    with pytest.raises(InputError, match="could not be written"):
        journal.record(questions[1].key, OK)
    with pytest.raises(InputError, match="could not be written"):
        journal.close()
    with Journal(tmp_path / "j", IDENTITY, pool) as again:
        assert len(list(again.pending(questions))) == len(questions) - 1


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
