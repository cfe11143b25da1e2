"""What a journal says of one judge: how many ratings, what failed, by kind, and what was mended on the way."""

from __future__ import annotations

import collections
import json

from encore_jax.judge.journal import Journal
from encore_jax.judge.question import Status


def summary(journal: Journal) -> dict:
    """Counts over everything this judge was asked, in this run or an earlier one, as JSON values.

    Returns:
      questions: by status. problems: unparsable and failed questions by kind. faults: what went wrong on the way to an
      answer and was tried again, by kind. attempts: how often anything was asked. asked_again: questions asked more
      than once. other, unlisted: mean and largest probability of tokens that are none of the offered answers, and of
      those among them that a server did not list (see `reading`); None where not known.
    """
    ask, judge = journal.connection.execute, (journal.judge,)
    questions = dict.fromkeys((status.value for status in Status), 0)
    problems, again = collections.Counter(), 0
    for status, problem, count, repeated in ask(
        "SELECT status, problem, count(*), sum(attempts > 1) FROM rating WHERE judge = ? GROUP BY status, problem",
        judge,
    ):
        questions[status] += count
        again += repeated
        if problem is not None:
            problems[problem] += count
    faults = collections.Counter()
    for text, count in ask(
        "SELECT faults, count(*) FROM attempt WHERE judge = ? AND faults IS NOT NULL GROUP BY faults", judge
    ):
        for fault in json.loads(text):
            faults[fault] += count
    for problem, count in ask(  # an answer that could not be used, and was asked for again
        "SELECT a.problem, count(*) FROM attempt a JOIN rating r USING (judge, conversation, response, rule) "
        "WHERE a.judge = ? AND a.status <> 'ok' AND a.id <> r.attempt GROUP BY a.problem",
        judge,
    ):
        faults[problem] += count
    (attempts,) = ask("SELECT count(*) FROM attempt WHERE judge = ?", judge).fetchone()
    return {
        "questions": questions,
        "problems": dict(problems.most_common()),
        "faults": dict(faults.most_common()),
        "attempts": attempts,
        "asked_again": again,
    } | {name: _spread(journal, name) for name in ("other", "unlisted")}


def _spread(journal: Journal, name: str) -> dict | None:
    mean, largest = journal.connection.execute(
        "SELECT avg(value), max(value) FROM (SELECT json_extract(evidence, ?) AS value FROM attempt WHERE judge = ?)",
        (f"$.{name}", journal.judge),
    ).fetchone()
    return None if mean is None else {"mean": mean, "largest": largest}


def summary_table(told: dict) -> str:
    """The summary as a plain-text (Markdown) table.

    >>> print(summary_table({"questions": {"ok": 9, "unparsable": 1, "failed": 0}, "problems": {"no number": 1},
    ...                      "faults": {"HTTP 429": 3}, "attempts": 10}))
    | what became of the questions | n |
    |---|---|
    | rated | 9 |
    | unparsable | 1 |
    | failed | 0 |
    | without a rating: no number | 1 |
    | asked again after: HTTP 429 | 3 |
    """
    named = {"rated": told["questions"]["ok"]} | {name: told["questions"][name] for name in ("unparsable", "failed")}
    named |= {f"without a rating: {kind}": n for kind, n in told["problems"].items()}
    named |= {f"asked again after: {kind}": n for kind, n in told["faults"].items()}
    rows = [f"| {name} | {n} |" for name, n in named.items()]
    return "\n".join(["| what became of the questions | n |", "|---|---|", *rows])
