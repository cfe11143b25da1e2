"""What a journal says of a run: its ratings, oriented and masked, and a table of what had none."""

import dataclasses
import re

import numpy as np
import pytest

from encore_jax.data import iter_comparisons, iter_rated, write_comparisons, write_rated
from encore_jax.errors import InputError
from encore_jax.judge.export import rated_comparisons, rated_responses, summary, summary_table
from encore_jax.judge.journal import Journal
from encore_jax.judge.question import Answer, Status
from tests.judge.answers import IDENTITY, UNREAD


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
