"""A judge, its questions and a journal brought together: asked once each, tried again by policy, nothing lost."""

from __future__ import annotations

import collections
from collections.abc import Callable, Iterable, Iterator

from encore_jax.errors import InputError
from encore_jax.judge.journal import Journal
from encore_jax.judge.question import Answer, Judge, Question, Status
from encore_jax.judge.retry_policy import RetryPolicy

HOPELESS = 100
"""So many answers without a single rating, from the start of a run, and it ends."""


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
      hopeless: give up if so many answers at the start hold no rating; 0 never does.

    Raises:
      InputError: the judge cannot go on, or every answer at the start is unusable; what was answered is kept.
    """
    policy = RetryPolicy() if policy is None else policy
    bad, good = collections.Counter(), False
    asked = True
    while asked:
        asked = False
        for question, answer in judge.answers(journal.pending(questions(), policy)):
            journal.record(question.key, answer)
            asked = True
            good = good or answer.status == Status.OK
            bad[answer.problem] += not good
            yield question, answer
            if not good and hopeless and bad.total() >= hopeless:
                raise InputError(
                    f"none of the first {bad.total()} answers holds a rating: {_kinds(bad)}; the last one says "
                    f"{str(answer.evidence.get('raw', ''))[:300]!r}",
                    where=f"judge {judge.identity.model}",
                    fix="mend the judge's settings (log-probabilities, model, prompt) and run again",
                )
        journal.flush()


def _kinds(counts: collections.Counter) -> str:
    return ", ".join(f"{n} {problem}" for problem, n in counts.most_common())
