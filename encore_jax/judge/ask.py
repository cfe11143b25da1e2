"""A judge, its questions and a journal brought together: asked once each, tried again by policy, nothing lost."""

from __future__ import annotations

import collections
from collections.abc import Callable, Iterable, Iterator

from encore_jax.errors import InputError
from encore_jax.judge.hints import hint
from encore_jax.judge.journal import Journal
from encore_jax.judge.journal_summary import said_words
from encore_jax.judge.question import Answer, Judge, Question, Status
from encore_jax.judge.retry_policy import RetryPolicy

HOPELESS = 100
"""So many answers in a row without a single rating, and a run ends."""


def ask_all(
    judge: Judge,
    questions: Callable[[], Iterable[Question]],
    journal: Journal,
    policy: RetryPolicy | None = None,
    *,
    hopeless: int = HOPELESS,
) -> Iterator[tuple[Question, Answer]]:
    """Asks whatever the journal has no final answer to, in passes, until policy says that nothing is left.

    Every answer is with the journal's writer before it is yielded. Killed, and run again, it goes on where it was.

    Args:
      judge: whose identity the journal was opened with.
      questions: makes the same questions anew for every pass.
      journal: what is known already, and where answers go.
      policy: which questions are asked again.
      hopeless: give up after so many answers in a row that hold no rating; 0 never does.

    Raises:
      InputError: the judge cannot go on, or gives no usable answer any more; what was answered is kept.
    """
    policy = RetryPolicy() if policy is None else policy
    bad: collections.Counter = collections.Counter()
    asked, good = True, False
    while asked:
        asked = False
        for question, answer in judge.answers(journal.pending(questions(), policy)):
            journal.record(question.key, answer)
            asked = True
            if answer.status is Status.OK:
                good = True
                bad.clear()
            else:
                bad[answer.problem] += 1
            yield question, answer
            if hopeless and bad.total() >= hopeless:
                journal.flush()
                raise _hopeless(judge, bad, good, answer)
        journal.flush()


def _hopeless(judge: Judge, bad: collections.Counter, good: bool, last: Answer) -> InputError:
    which = f"the last {bad.total()} answers" if good else f"the first {bad.total()} answers"
    said = said_words(last.evidence)
    return InputError(
        f"none of {which} holds a rating: {kinds(bad)}{last_words(said)}",
        where=f"judge {judge.identity.model}",
        fix=f"{hint(bad.most_common(1)[0][0], said, judge.identity.kind)}, and run again; what was answered is kept",
    )


def last_words(said: str) -> str:
    """What a judge said, as the end of a sentence; "" where it said nothing."""
    return f"; the last one says '{said}'" if said else ""


def kinds(counts: collections.Counter) -> str:
    """Kinds and how often each, the commonest first.

    >>> kinds(collections.Counter({"no number": 3, "HTTP 400": 1}))
    '3 no number, 1 HTTP 400'
    """
    shown = [f"{n} {problem}" for problem, n in counts.most_common(5)]
    more = len(counts) - len(shown)
    return ", ".join(shown) + (f", and {more} other kinds" if more > 0 else "")
