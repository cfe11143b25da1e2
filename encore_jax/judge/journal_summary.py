"""What a journal says of one judge: how many ratings, what failed, by kind, and what was mended on the way."""

from __future__ import annotations

import collections
from collections.abc import Mapping

from encore_jax.errors import InputError
from encore_jax.json_shape import decode_json
from encore_jax.judge.journal import Journal
from encore_jax.judge.journal_file import sound
from encore_jax.judge.question import Status
from encore_jax.terminal_text import cut, one_line

MOST_KINDS = 20
"""Kinds of failure that a table names; the others are counted together."""

LONGEST_WORDS = 200


def summary(journal: Journal) -> dict:
    """Counts over everything this judge was asked, in this run or an earlier one, as JSON values.

    Returns:
      questions: by status. problems: unparsable and failed questions by kind. words: what the judge said the last time,
      by kind. faults: what went wrong on the way to an
      answer and was tried again, by kind. attempts: how often anything was asked. asked_again: questions asked more
      than once. other, unlisted: mean and largest probability of tokens that are none of the offered answers, and of
      those among them that a server did not list (see `reading`); None where not known.
    """
    with sound(journal.path):
        return _summary(journal)


def _summary(journal: Journal) -> dict:
    ask, judge = journal.select, (journal.judge,)
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
        for fault in decode_json(text, list[str], where=str(journal.path), replace_surrogates=True):
            faults[fault] += count
    for problem, count in ask(  # an answer that could not be used, and was asked for again
        "SELECT a.problem, count(*) FROM attempt a JOIN rating r USING (judge, conversation, response, rule) "
        "WHERE a.judge = ? AND a.status <> 'ok' AND a.id <> r.attempt GROUP BY a.problem",
        judge,
    ):
        faults[problem] += count
    ((attempts,),) = ask("SELECT count(*) FROM attempt WHERE judge = ?", judge)
    return {
        "questions": questions,
        "problems": dict(problems.most_common()),
        "words": _last_words(journal),
        "faults": dict(faults.most_common()),
        "attempts": attempts,
        "asked_again": again,
    } | {name: _spread(journal, name) for name in ("other", "unlisted")}


def _spread(journal: Journal, name: str) -> dict | None:
    ((mean, largest),) = journal.select(
        "SELECT avg(value), max(value) FROM (SELECT json_extract(evidence, ?) AS value FROM attempt WHERE judge = ?)",
        (f"$.{name}", journal.judge),
    )
    return None if mean is None else {"mean": mean, "largest": largest}


def _last_words(journal: Journal) -> dict[str, str]:
    rows = journal.select(
        "SELECT problem, evidence FROM attempt WHERE id IN "
        "(SELECT max(id) FROM attempt WHERE judge = ? AND problem IS NOT NULL GROUP BY problem)",
        (journal.judge,),
    )
    words = {problem: said_words(evidence, where=str(journal.path)) for problem, evidence in rows}
    return {problem: said for problem, said in words.items() if said}


def said_words(evidence: str | Mapping | None, where: str = "evidence") -> str:
    """What a judge said in an answer without a rating, on one line; "" where it said nothing.

    >>> said_words({"raw": "I cannot\\nsay."}), said_words({"raw": "{...}", "words": "Bad key"}), said_words(None)
    ('I cannot say.', 'Bad key', '')
    >>> said_words(r'{"raw": "half of a pair: \\ud800."}')
    'half of a pair: \ufffd.'
    """
    if isinstance(evidence, str):
        try:
            evidence = decode_json(evidence, dict, where=where, replace_surrogates=True)
        except InputError:
            return ""
    evidence = evidence or {}
    return cut(one_line(evidence.get("words", evidence.get("raw", ""))), LONGEST_WORDS)


def summary_rows(told: Mapping) -> list[tuple[str, int, str]]:
    """Of the summary's table: what became of questions, how many, and what the judge said the last time."""
    words = told.get("words", {})
    rows = [(name, told["questions"][key], "") for name, key in (("rated", "ok"), ("unparsable", "unparsable"))]
    rows += [("failed", told["questions"]["failed"], "")]
    for label, kinds in (("without a rating", told["problems"]), ("asked again after", told["faults"])):
        named = list(kinds.items())
        rows += [(f"{label}: {kind}", n, words.get(kind, "")) for kind, n in named[:MOST_KINDS]]
        rest = [n for _, n in named[MOST_KINDS:]]
        rows += [(f"{label}: {len(rest)} other kinds", sum(rest), "")] if rest else []
    return rows


def summary_table(told: Mapping) -> str:
    """The summary as a plain-text (Markdown) table.

    >>> print(summary_table({"questions": {"ok": 9, "unparsable": 1, "failed": 0}, "problems": {"no number": 1},
    ...                      "words": {"no number": "Safe!"}, "faults": {"HTTP 429": 3}, "attempts": 10}))
    | what became of the questions | n | the last one said |
    |---|---|---|
    | rated | 9 |  |
    | unparsable | 1 |  |
    | failed | 0 |  |
    | without a rating: no number | 1 | Safe! |
    | asked again after: HTTP 429 | 3 |  |
    """
    rows = [f"| {_cell(name)} | {n} | {_cell(said)} |" for name, n, said in summary_rows(told)]
    return "\n".join(["| what became of the questions | n | the last one said |", "|---|---|---|", *rows])


def _cell(text: str) -> str:
    return one_line(text).replace("|", "\\|")
