"""Ratings that are there already, and what a run would cost."""

import numpy as np
import pytest

from encore_jax.data import RatedResponse
from encore_jax.errors import InputError
from encore_jax.http.client import backoff
from encore_jax.http.settings import RetrySettings
from encore_jax.judge.estimate import SAMPLE, estimate, estimate_text
from encore_jax.judge.export import rated_comparisons, summary
from encore_jax.judge.journal import Journal
from encore_jax.judge.question import rating_questions
from encore_jax.judge.run import ask_all
from encore_jax.judge.settings import RetryPolicy
from encore_jax.judge.table import MISSING, TableJudge


@pytest.fixture
def rated(comparisons, pool):
    """Of every first response."""
    rng = np.random.default_rng(0)
    return [
        RatedResponse(c.prompt, c.responses[0], pool.names, rng.random(3).round(2), rng.random(3) < 0.8)
        for c in comparisons
    ]


def test_a_table_goes_through_a_journal_unchanged(rated, comparisons, pool, tmp_path):
    judge = TableJudge(rated, pool, "people.jsonl")
    assert judge.identity.label == "human-rated"
    with Journal(tmp_path / "j", judge.identity, pool) as journal:
        asked = lambda: rating_questions(comparisons, pool)  # noqa: E731
        assert len(list(ask_all(judge, asked, journal, RetryPolicy(failed=1), hopeless=0))) == 120
        out = list(rated_comparisons(comparisons, journal, pool))
        told = summary(journal)
    given = sum(int(record.mask.sum()) for record in rated)
    assert told["questions"]["ok"] == given and told["problems"] == {MISSING: 120 - given}
    for comparison, record in zip(out, rated, strict=True):
        np.testing.assert_array_equal(comparison.mask, [record.mask, np.zeros(3, bool)])
        np.testing.assert_allclose(comparison.ratings[0], record.ratings, atol=1e-7)


def test_a_table_that_contradicts_itself_is_refused(rated, pool):
    other = RatedResponse(rated[0].prompt, rated[0].response, pool.names, 1 - rated[0].ratings, rated[0].mask)
    with pytest.raises(InputError, match="people.jsonl, record 20: rated .* before"):
        TableJudge([*rated, other], pool, "people.jsonl")
    assert TableJudge(rated, pool, "t").identity != TableJudge(rated[1:], pool, "t").identity


def test_an_estimate_counts_exactly_where_it_sees_everything(comparisons, pool):
    asked = list(rating_questions(comparisons, pool))
    assert len(asked) <= SAMPLE
    texts = lambda q: (f"{q.response} | {q.rule.text}", f"{q.response} | ~")  # noqa: E731
    words = lambda text: len(text.split())  # noqa: E731
    told = estimate(iter(asked), texts, words, answer_tokens=2, prices=(3.0, 5.0), requests_per_second=10.0)
    total = sum(words(texts(q)[0]) for q in asked)
    assert told.requests == 120 and told.conversations == 40 and told.margin == 0
    assert told.prompt_tokens == pytest.approx(total) and told.answer_tokens == 240 and told.seconds == 12.0
    assert told.price == pytest.approx((3 * total + 5 * 240) / 1e6)
    shared = 3  # "Answer 7 |"
    assert told.fresh_tokens == pytest.approx(total - shared * (120 - 40))


def test_an_estimate_from_a_sample_is_near_and_says_how_near(comparisons, pool):
    many = list(rating_questions(comparisons, pool)) * 30
    texts = lambda q: ("w " * (5 + int(q.key.conversation, 16) % 20), "")  # noqa: E731
    told = estimate(many, texts, lambda text: len(text.split()), answer_tokens=1)
    true = sum(5 + int(q.key.conversation, 16) % 20 for q in many)
    assert 0 < told.margin < 0.1 * true and abs(told.prompt_tokens - true) < 3 * told.margin
    assert told.price is None and told.seconds is None
    assert estimate([], texts, None, answer_tokens=1).requests == 0


def test_an_estimate_without_a_limit_of_tokens_promises_none(comparisons, pool):
    asked = list(rating_questions(comparisons, pool))
    told = estimate(asked, lambda q: ("w", ""), None, answer_tokens=None, prices=(1.0, 1.0))
    assert told.answer_tokens is None and told.price == pytest.approx(120 / 1e6)
    assert "no limit on answer tokens; price at least 0.00" in estimate_text(told)


def test_waits_grow_are_bounded_and_differ():
    import random

    settings, chance = RetrySettings(first_wait=1.0, longest_wait=10.0), random.Random(0)
    waits = {tried: [backoff(tried, settings, chance) for _ in range(200)] for tried in (1, 2, 3, 9)}
    for tried, bound in {1: 1, 2: 2, 3: 4, 9: 10}.items():
        assert 0.8 * bound < max(waits[tried]) <= bound and len(set(waits[tried])) == 200
    assert backoff(10**9, settings, chance) <= 10, "however often one has tried"
