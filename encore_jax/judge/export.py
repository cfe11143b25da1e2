"""What a journal says: rated comparisons and responses, masked where there is no rating, and a summary of the run.

Ratings are exported on the unit scale, whatever the judge's own: a rating P(Yes) - P(No) in [-1, 1] becomes
(rating + 1) / 2. They are oriented by the rules' directions in memory, and as the judge gave them in files, as
everywhere in this project. A summary counts how many ratings there are, what failed, by kind, and what succeeded when
it was tried again.
"""

from __future__ import annotations

import collections
import itertools
from collections.abc import Container, Iterable, Iterator, Mapping
from dataclasses import replace

import numpy as np

from encore_jax.data.comparison import Comparison, RatedResponse
from encore_jax.errors import InputError
from encore_jax.json_shape import decode_json
from encore_jax.judge.journal import Journal
from encore_jax.judge.journal_file import row_errors
from encore_jax.judge.question import Key, Status, conversation_id, distinct_responses
from encore_jax.rules import RulePool
from encore_jax.terminal_text import cut, one_line

CHUNK = 256
"""Comparisons looked up together."""

MOST_KINDS = 20
"""Kinds of failure that a table names; the others are counted together."""

LONGEST_WORDS = 200


def rated_comparisons(
    comparisons: Iterable[Comparison], journal: Journal, pool: RulePool, asked: Container[Key] | None = None
) -> Iterator[Comparison]:
    """Each comparison with the judge's ratings ``[n, K]`` and their mask, and in `extra`: who judged, and relevance.

    `extra["relevance"]` holds n numbers per rule, None where the judge gave none; it is left out if there are none at
    all. `extra["judge"]` names the judge. Ratings that the comparison had are replaced.

    Args:
      comparisons: streamed.
      journal: of the judge.
      pool: the rules.
      asked: the questions of this run, where it does not ask about all rules; what another run left in the journal
        about others is not its own.

    Raises:
      InputError: a rating lies outside the judge's declared scale.
    """
    comparisons, judge = iter(comparisons), _judge(journal)
    while chunk := list(itertools.islice(comparisons, CHUNK)):
        ids = [[conversation_id(c.prompt, (response,)) for response in c.responses] for c in chunk]
        with row_errors(journal.path):
            table, place = _rating_table({name for names in ids for name in names}, journal, pool, asked)
        for comparison, names in zip(chunk, ids, strict=True):
            ratings, relevance = table[[place[name] for name in names]].swapaxes(0, 1)
            yield replace(
                comparison,
                rules=pool.names,
                ratings=np.nan_to_num(ratings).astype(np.float32),
                mask=~np.isnan(ratings),
                extra=dict(comparison.extra) | judge | _relevance(pool, relevance),
            )


def rated_responses(
    comparisons: Iterable[Comparison], journal: Journal, pool: RulePool, asked: Container[Key] | None = None
) -> Iterator[RatedResponse]:
    """Each different response once, with the judge's ratings ``[K]``; those without any rating are left out."""
    return distinct_responses(rated_comparisons(comparisons, journal, pool, asked))


def _rating_table(
    conversations: set[str], journal: Journal, pool: RulePool, asked: Container[Key] | None
) -> tuple[np.ndarray, dict[str, int]]:
    """Oriented unit ratings and relevances float64 ``[N, 2, K]``, NaN where there is none, and each one's row."""
    place = {name: i for i, name in enumerate(sorted(conversations))}
    table = np.full((len(place), 2, len(pool)), np.nan)
    column = {journal.rule_id(rule.name): k for k, rule in enumerate(pool)}
    by_blob = {bytes.fromhex(name): i for name, i in place.items()}
    found = [
        (by_blob[blob], column[rule], rating, np.nan if relevance is None else relevance)
        for blob, _, rule, rating, relevance in journal.rows(place, "rating, relevance")
        if rating is not None and rule in column and _is_asked(asked, blob, journal.rule_name(rule))
    ]
    if found:
        row, k, rating, relevance = (np.array(values) for values in zip(*found, strict=True))
        table[row, 0, k], table[row, 1, k] = rating, relevance
    low, high = journal.identity.scale
    outside = np.argwhere(~((table[:, 0] >= low) & (table[:, 0] <= high) | np.isnan(table[:, 0])))
    if len(outside):
        n, k = outside[0]
        raise InputError(
            f"rating {table[n, 0, k]} is not on the judge's scale from {low:g} to {high:g}",
            where=f"{journal.path}, rule {pool[int(k)].name!r}",
            fix="declare the judge's scale in its identity",
        )
    unit = (table[:, 0] - low) / (high - low)
    table[:, 0] = np.where(pool.directions[None] < 0, 1.0 - unit, unit)
    return table, place


def _is_asked(asked: Container[Key] | None, conversation: bytes, rule: str | None) -> bool:
    return asked is None or Key(conversation.hex(), 0, rule or "") in asked


def _relevance(pool: RulePool, relevance: np.ndarray) -> dict:
    if np.isnan(relevance).all():
        return {}
    columns = np.round(relevance, 6).T.tolist()
    named = zip(pool.names, columns, strict=True)
    return {"relevance": {name: [None if v != v else v for v in column] for name, column in named}}


def _judge(journal: Journal) -> dict:
    identity = journal.identity
    return {
        "judge": {
            "kind": identity.kind,
            "model": identity.model,
            "label": identity.label,
            "prompt": identity.prompt,
            "scale": list(identity.scale),
            "digest": identity.digest,
        }
    }


def summary(journal: Journal) -> dict:
    """Counts over everything this judge was asked, in this run or an earlier one, as JSON values.

    Returns:
      questions: by status. problems: unparsable and failed questions by kind. words: what the judge said the last time,
      by kind. faults: what went wrong on the way to an
      answer and was tried again, by kind. attempts: how often anything was asked. asked_again: questions asked more
      than once. other, unlisted: mean and largest probability of tokens that are none of the offered answers, and of
      those among them that a server did not list (see `reading`); None where not known.
    """
    with row_errors(journal.path):
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
    words = {problem: reply_excerpt(evidence, where=str(journal.path)) for problem, evidence in rows}
    return {problem: said for problem, said in words.items() if said}


def reply_excerpt(evidence: str | Mapping | None, where: str = "evidence") -> str:
    """What a judge said in an answer without a rating, on one line; "" where it said nothing.

    >>> reply_excerpt({"raw": "I cannot\\nsay."}), reply_excerpt({"raw": "{...}", "words": "Bad key"})
    ('I cannot say.', 'Bad key')
    >>> reply_excerpt(None)
    ''
    >>> reply_excerpt(r'{"raw": "half of a pair: \\ud800."}')
    'half of a pair: \ufffd.'
    """
    if isinstance(evidence, str):
        try:
            evidence = decode_json(evidence, dict, where=where, replace_surrogates=True)
        except InputError:
            return ""
    evidence = evidence or {}
    return cut(one_line(evidence.get("words", evidence.get("raw", ""))), LONGEST_WORDS)


def summary_rows(counts: Mapping) -> list[tuple[str, int, str]]:
    """Of the summary's table: what became of questions, how many, and what the judge said the last time."""
    words = counts.get("words", {})
    rows = [(name, counts["questions"][key], "") for name, key in (("rated", "ok"), ("unparsable", "unparsable"))]
    rows += [("failed", counts["questions"]["failed"], "")]
    for label, kinds in (("without a rating", counts["problems"]), ("asked again after", counts["faults"])):
        named = list(kinds.items())
        rows += [(f"{label}: {kind}", n, words.get(kind, "")) for kind, n in named[:MOST_KINDS]]
        rest = [n for _, n in named[MOST_KINDS:]]
        rows += [(f"{label}: {len(rest)} other kinds", sum(rest), "")] if rest else []
    return rows


def summary_table(counts: Mapping) -> str:
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
    rows = [f"| {_cell(name)} | {n} | {_cell(said)} |" for name, n, said in summary_rows(counts)]
    return "\n".join(["| what became of the questions | n | the last one said |", "|---|---|---|", *rows])


def _cell(text: str) -> str:
    return one_line(text).replace("|", "\\|")
