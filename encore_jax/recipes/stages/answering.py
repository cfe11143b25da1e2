"""Every question of a rating run answered, into the journal, whoever the judge is."""

from __future__ import annotations

import contextlib
import functools
import itertools
import random
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from absl import logging

from encore_jax.errors import InputError
from encore_jax.judge.ask import ask_all, kinds, last_words
from encore_jax.judge.asking import token_limit
from encore_jax.judge.batch import ingest_results, write_requests
from encore_jax.judge.estimate import Estimate, estimate, estimate_text
from encore_jax.judge.hints import hint
from encore_jax.judge.journal import Journal
from encore_jax.judge.journal_summary import summary
from encore_jax.judge.question import Judge
from encore_jax.progress import clock, track
from encore_jax.recipes.rating_config import JudgeConfig
from encore_jax.recipes.stages.judges import RunJudge, asking, shared_texts, token_counter
from encore_jax.rules import Rule
from encore_jax.train.preemption import EXIT_PREEMPTED

Questions = Callable[[], Iterable[Any]]
"""Makes the same questions, of ratings or of verdicts, anew whenever it is called."""


class WaitsForResults(SystemExit):
    """Batch files are written, and their results are not there yet: the same command goes on once they are."""

    def __init__(self):
        super().__init__(EXIT_PREEMPTED)


class TrialDone(SystemExit):
    """A trial's questions are answered, and what all will take is told; without the trial the command goes on."""

    def __init__(self):
        super().__init__(0)


@contextlib.contextmanager
def answered(
    asked: RunJudge,
    judge: Judge | None,
    questions: Questions,
    rules: Sequence[Rule],
    workdir: Path,
    seed: int,
) -> Iterator[Journal]:
    """The journal, open, with an answer to every question; asks what it does not know.

    Args:
      asked: how the judge is asked.
      judge: who answers; None where batch files are written.
      questions: what is asked.
      rules: all that occur in them.
      workdir: of the run; the journal and batch files live here.
      seed: of what the estimate and a trial draw.

    Raises:
      WaitsForResults: judge "batch", and not all results are there.
      TrialDone: there was a trial.
      InputError: the judge cannot go on; what was answered is in the journal.
    """
    identity = asking(asked).identity if judge is None else judge.identity
    with Journal(asked.judge.journal_in(workdir), identity, rules) as journal:
        if judge is None:
            _batch(asked, questions, rules, journal, workdir / "batch", seed)
        else:
            told = _estimate(asked, questions, journal, seed)
            if asked.judge.trial and told.requests:
                _trial(asked.judge, judge, questions, journal, told, seed)
            else:
                _ask(asked.judge, judge, questions, journal, told.requests)
        yield journal


def _estimate(asked: RunJudge, questions: Questions, journal: Journal, seed: int) -> Estimate:
    told = estimate(
        journal.pending(questions(), asked.judge.policy),
        functools.partial(shared_texts, asked),
        token_counter(asked),
        answer_tokens=token_limit(journal.identity.decoding) if asked.judge.kind in ("server", "batch") else 0,
        prices=asked.judge.prices,
        requests_per_second=asked.judge.server.requests_per_second,
        seed=seed,
    )
    logging.info("to ask: %s", estimate_text(told))
    return told


def _ask(settings: JudgeConfig, judge: Judge, questions: Questions, journal: Journal, total: int) -> Counter:
    """Asks what is pending; returns the problems of answers without a rating, and under "" how many have one."""
    hopeless = 0 if settings.kind in ("model", "table") else settings.hopeless
    answers = ask_all(judge, questions, journal, settings.policy, hopeless=hopeless)
    return Counter(answer.problem for _, answer in track(answers, max(total, 1), "answers"))


def _trial(
    settings: JudgeConfig, judge: Judge, questions: Questions, journal: Journal, told: Estimate, seed: int
) -> None:
    """Asks about some conversations of the pending ones, timed, and says how long the rest will take."""
    chosen = _some(journal.pending(questions(), settings.policy), settings.trial, seed)
    if settings.kind in ("local", "model"):
        for _ in judge.answers(chosen):  # so that no compilation is in the time
            pass
    start = time.monotonic()
    problems = _ask(settings, judge, lambda: chosen, journal, len(chosen))
    if problems and not problems[""]:
        told = summary(journal)
        raise nothing_rated(f"{len(chosen):,} questions of the trial", told["problems"], told["words"], settings)
    pace = len(chosen) / max(time.monotonic() - start, 1e-9)
    left = told.requests - len(chosen)
    print(
        f"{len(chosen):,} questions answered, {pace:,.1f} per second; the other {left:,} will take about "
        f"{clock(left / pace)} at that pace.\nWithout --config.judge.trial the same command goes on; what was "
        "answered is kept."
    )
    raise TrialDone


def nothing_rated(what: str, problems: Mapping[str, int], words: Mapping[str, str], judge: JudgeConfig) -> InputError:
    """The error of a run in which no question has a rating.

    Args:
      what: was asked, e.g. "12 questions".
      problems: how many, by kind.
      words: what the judge said the last time, by kind.
      judge: how it was asked.
    """
    commonest = max(problems, key=problems.get, default="")
    said, policy = words.get(commonest, ""), judge.policy
    why = kinds(Counter(problems)) or "no answer"
    return InputError(
        f"none of the {what} has a rating: {why}{last_words(said)}",
        where=f"judge {judge.model or judge.kind}",
        fix=f"{hint(commonest, said, judge.kind)}; under the same settings questions are asked again only with "
        f"--config.judge.policy.failed={2 * policy.failed} --config.judge.policy.unparsable={2 * policy.unparsable}",
    )


def _some(pending: Iterable[Any], count: int, seed: int) -> list[Any]:
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


def _batch(
    asked: RunJudge, questions: Questions, rules: Sequence[Rule], journal: Journal, folder: Path, seed: int
) -> None:
    ask, results = asking(asked), folder / "results"
    results.mkdir(parents=True, exist_ok=True)
    conversations = {question.key.conversation for question in questions()}
    skips = ingest_results(sorted(results.glob("*.jsonl")), ask, journal, rules, conversations)
    logging.info("results: %s", skips)
    told = _estimate(asked, questions, journal, seed)
    if told.requests and (skips.kept or skips.reasons):
        logging.warning("%s questions have no usable answer in %s yet", f"{told.requests:,}", results)
    files = write_requests(folder, journal.pending(questions(), asked.judge.policy), ask)
    if files:
        print(
            f"{told.requests:,} questions are in {len(files)} files {folder}/requests-*.jsonl.\n"
            f"Run each, e.g. `vllm run-batch --model {asked.judge.model} "
            f"-i {files[0]} -o {results / files[0].name}`,\n"
            f"put result and error files (*.jsonl) into {results}, and run the same command again."
        )
        raise WaitsForResults
