"""Questions to a judge, step by step: what they will cost, a timed trial, all of them, files for a batch interface.

`encore_jax.judge.rate.rate` is all of it in one call. Every function takes what it reads, so that a notebook and a run
do the same work.
"""

from __future__ import annotations

import functools
import itertools
import random
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from absl import logging

from encore_jax.errors import InputError
from encore_jax.judge.batch import ingest_results, write_requests
from encore_jax.judge.how_asked import shared_texts
from encore_jax.judge.journal import Journal
from encore_jax.judge.prompts import Wording
from encore_jax.judge.question import Judge
from encore_jax.judge.request import RequestFormat
from encore_jax.judge.run import (
    MAX_FAILURES_IN_A_ROW,
    Estimate,
    ask_all,
    estimate,
    estimate_text,
    hint,
    kinds,
    last_words,
)
from encore_jax.judge.settings import RetryPolicy
from encore_jax.progress import track
from encore_jax.rules import Rule

Questions = Callable[[], Iterable[Any]]
"""Makes the same questions, of ratings or of verdicts, whenever it is called."""

COMPILES = ("local", "model")
"""Kinds of judges that compile programs when they are first asked."""


def estimated(
    questions: Questions,
    journal: Journal,
    policy: RetryPolicy,
    prompt: Wording,
    *,
    tokens: Callable[[str], int] | None = None,
    answer_tokens: int | None = 0,
    prices: Sequence[float] = (0.0, 0.0),
    requests_per_second: float = 0.0,
    seed: int = 0,
) -> Estimate:
    """What the questions without an answer will cost; also logs it.

    Args:
      questions, journal, policy: what is asked, what is known, and what is asked again.
      prompt: the wording.
      tokens: counts a text's tokens; guesses from characters if left out.
      answer_tokens: an answer's at most; None where only the server limits them.
      prices: per million prompt tokens, per million answer tokens.
      requests_per_second: the limit; 0 for none.
      seed: of the sample whose tokens are counted.
    """
    options = {"answer_tokens": answer_tokens, "prices": prices, "requests_per_second": requests_per_second}
    texts = functools.partial(shared_texts, prompt)
    cost = estimate(journal.pending(questions(), policy), texts, tokens, **options, seed=seed)
    logging.info("to ask: %s", estimate_text(cost))
    return cost


def ask(
    judge: Judge,
    questions: Questions,
    journal: Journal,
    policy: RetryPolicy,
    total: int,
    *,
    hopeless: int = MAX_FAILURES_IN_A_ROW,
) -> Counter:
    """Asks whatever has no answer yet, with progress.

    Args:
      judge: who answers.
      questions, journal, policy: what is asked, what is known, and what is asked again.
      total: how many questions are open.
      hopeless: ends after so many answers in a row without a rating; 0 never does. A judge that computes or looks up
        its ratings may have none for many questions, and goes on whatever this says.

    Returns:
      How many answers have each problem; under "" how many have a rating.

    Raises:
      InputError: the judge cannot go on; what was answered is in the journal.
    """
    hopeless = 0 if judge.identity.kind in ("model", "table") else hopeless
    answers = ask_all(judge, questions, journal, policy, hopeless=hopeless)
    return Counter(answer.problem for _, answer in track(answers, max(total, 1), "answers"))


class Trial(NamedTuple):
    """A timed part of the questions.

    Attributes:
      problems: as `ask` returns them.
      asked: how many questions.
      pace: questions answered in a second.
    """

    problems: Counter
    asked: int
    pace: float


def timed_trial(
    judge: Judge, questions: Questions, journal: Journal, policy: RetryPolicy, count: int, *, seed: int, hopeless: int
) -> Trial:
    """Asks about some conversations of those that are open, after whatever has to be compiled for them.

    Args:
      count: at least so many questions, all of one conversation together.
      seed: of which conversations.
      others: see `ask`.
    """
    chosen = some_conversations(journal.pending(questions(), policy), count, seed)
    if judge.identity.kind in COMPILES:
        for _ in judge.answers(chosen):
            pass
    start = time.monotonic()
    problems = ask(judge, lambda: chosen, journal, policy, len(chosen), hopeless=hopeless)
    return Trial(problems, len(chosen), len(chosen) / max(time.monotonic() - start, 1e-9))


def some_conversations(pending: Iterable[Any], count: int, seed: int) -> list[Any]:
    """All questions about random conversations, at least `count` where there are so many."""
    chance, groups, size = random.Random(seed), [], 0
    for met, (_, group) in enumerate(itertools.groupby(pending, key=lambda question: question.key.conversation)):
        group = list(group)
        if size < count:
            groups.append(group)
            size += len(group)
        elif (place := chance.randrange(met + 1)) < len(groups):
            groups[place] = group
    return list(itertools.chain.from_iterable(groups))


def read_batch_results(
    folder: Path, questions: Questions, how: RequestFormat, journal: Journal, rules: Sequence[Rule]
) -> bool:
    """Records the result files that lie in FOLDER/results; says whether there was any line in them."""
    results = folder / "results"
    results.mkdir(parents=True, exist_ok=True)
    asked = {question.key.conversation for question in questions()}
    skips = ingest_results(sorted(results.glob("*.jsonl")), how, journal, rules, asked)
    logging.info("results: %s", skips)
    return bool(skips.kept or skips.reasons)


def write_batch_requests(
    folder: Path, questions: Questions, how: RequestFormat, journal: Journal, policy: RetryPolicy
) -> list[Path]:
    """Writes FOLDER/requests-*.jsonl with every question that is open; no file where none is."""
    return write_requests(folder, journal.pending(questions(), policy), how)


def nothing_rated(
    what: str, problems: Mapping[str, int], words: Mapping[str, str], judge: str, kind: str, again: str
) -> InputError:
    """The error where no question has a rating.

    Args:
      what: was asked, e.g. "12 questions".
      problems: how many, by kind.
      words: what the judge said the last time, by kind.
      judge, kind: its name, and what kind it is.
      again: the setting under which such questions are asked again.
    """
    commonest = max(problems, key=problems.get, default="")
    said = words.get(commonest, "")
    why = kinds(Counter(problems)) or "no answer"
    return InputError(
        f"none of the {what} has a rating: {why}{last_words(said)}",
        where=f"judge {judge}",
        fix=f"{hint(commonest, said, kind)}; under the same settings questions are asked again only with {again}",
    )
