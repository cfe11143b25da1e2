"""Every question of a rating run answered, into the journal: what the run's configuration says, step by step."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from absl import logging

from encore_jax.errors import InputError
from encore_jax.judge import run
from encore_jax.judge.batch import read_batch_results, write_batch_requests
from encore_jax.judge.calls.request import answer_limit
from encore_jax.judge.estimate import Estimate, Trial, estimate, log_estimate, timed_trial
from encore_jax.judge.export import summary
from encore_jax.judge.journal import Journal
from encore_jax.judge.question import Identity, Judge, Question
from encore_jax.judge.request import shared_texts
from encore_jax.judge.run import Questions
from encore_jax.progress import clock
from encore_jax.recipes.rating_config import JudgeConfig
from encore_jax.recipes.stages.judges import RunJudge, asking, token_counter_of, wording_of
from encore_jax.rules import Rule
from encore_jax.train.preemption import EXIT_PREEMPTED

__all__ = ["Questions", "TrialDone", "WaitsForResults", "answered", "nothing_rated"]


class WaitsForResults(SystemExit):
    """Batch files are written, and their results are not there yet: the same command resumes once they are."""

    def __init__(self):
        super().__init__(EXIT_PREEMPTED)


class TrialDone(SystemExit):
    """A trial's questions are answered, and what all will take is told; without the trial the command continues."""

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
            _asked(asked, judge, questions, journal, seed)
        yield journal


def _estimate(asked: RunJudge, questions: Questions, journal: Journal, seed: int) -> Estimate:
    judge = asked.judge
    return log_estimate(
        questions,
        journal,
        judge.policy,
        wording_of(asked),
        tokens=token_counter_of(asked),
        answer_tokens=_answer_tokens(asked, journal.identity),
        prices=judge.prices,
        requests_per_second=judge.server.requests_per_second,
        seed=seed,
    )


def estimate_of(asked: RunJudge, questions: Iterable[Question], identity: Identity, seed: int) -> Estimate:
    """What these questions cost, whether or not they have answers; see `encore_jax.judge.estimate.estimate`."""
    return estimate(
        questions,
        functools.partial(shared_texts, wording_of(asked)),
        token_counter_of(asked),
        answer_tokens=_answer_tokens(asked, identity),
        prices=asked.judge.prices,
        seed=seed,
    )


def _answer_tokens(asked: RunJudge, identity: Identity) -> Callable[[list[Any]], int | None] | int:
    """What the answer to one request takes at most: nothing that anybody is billed for on one's own devices."""
    served = asked.judge.kind in ("server", "batch")
    return functools.partial(answer_limit, identity.decoding, wording_of(asked)) if served else 0


def _asked(asked: RunJudge, judge: Judge, questions: Questions, journal: Journal, seed: int) -> None:
    told, options = _estimate(asked, questions, journal, seed), asked.judge
    if not (options.trial and told.requests):
        run.ask(judge, questions, journal, options.policy, told.questions, hopeless=options.hopeless)
        return
    limits = {"seed": seed, "hopeless": options.hopeless}
    trial = timed_trial(judge, questions, journal, options.policy, options.trial, **limits)
    _tell_trial(options, journal, trial, told.questions - trial.asked)
    raise TrialDone


def _tell_trial(settings: JudgeConfig, journal: Journal, trial: Trial, left: int) -> None:
    if trial.problems and not trial.problems[""]:
        told = summary(journal)
        raise nothing_rated(f"{trial.asked:,} questions of the trial", told["problems"], told["words"], settings)
    print(
        f"{trial.asked:,} questions answered, {trial.pace:,.1f} per second; the other {left:,} will take about "
        f"{clock(left / trial.pace)} at that pace.\nWithout --config.judge.trial the same command resumes; what was "
        "answered is kept."
    )


def nothing_rated(what: str, problems: Mapping[str, int], words: Mapping[str, str], judge: JudgeConfig) -> InputError:
    """The error of a run in which no question has a rating; see `encore_jax.judge.run.nothing_rated`."""
    again = run.asks_again(judge.policy)
    return run.nothing_rated(what, problems, words, judge.model or judge.kind, judge.kind, again)


def _batch(
    asked: RunJudge, questions: Questions, rules: Sequence[Rule], journal: Journal, folder: Path, seed: int
) -> None:
    how, results = asking(asked), folder / "results"
    some = read_batch_results(folder, questions, how, journal, rules)
    told = _estimate(asked, questions, journal, seed)
    if told.requests and some:
        logging.warning("%s questions have no usable answer in %s yet", f"{told.questions:,}", results)
    files = write_batch_requests(folder, questions, how, journal, asked.judge.policy)
    if files:
        print(
            f"{told.questions:,} questions are in {len(files)} files {folder}/requests-*.jsonl.\n"
            f"Run each, e.g. `vllm run-batch --model {asked.judge.model} "
            f"-i {files[0]} -o {results / files[0].name}`,\n"
            f"put result and error files (*.jsonl) into {results}, and run the same command again."
        )
        raise WaitsForResults
