"""Every question of a rating run answered, into the journal: what the run's configuration says, step by step."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from absl import logging

from encore_jax.errors import InputError
from encore_jax.judge import run
from encore_jax.judge.batch import read_batch_results, write_batch_requests
from encore_jax.judge.estimate import Estimate, Trial, log_estimate, timed_trial
from encore_jax.judge.export import summary
from encore_jax.judge.journal import Journal
from encore_jax.judge.question import Judge
from encore_jax.judge.request import token_limit
from encore_jax.judge.run import Questions
from encore_jax.progress import clock
from encore_jax.recipes.rating_config import RatingConfig
from encore_jax.recipes.stages.judges import asking, configured_wording, make_judge, token_counter_of
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
    config: RatingConfig,
    questions: Questions,
    rules: Sequence[Rule],
    ingested: Path,
    workdir: Path,
    judge: Judge | None = None,
) -> Iterator[Journal]:
    """The journal, open, with an answer to every question; asks what it does not know.

    Args:
      config: who is asked, and how.
      questions: what is asked.
      rules: all that occur in them.
      ingested: the ingest stage's folder.
      workdir: of the run; the journal and batch files live here.
      judge: who answers, if it is made already.

    Raises:
      WaitsForResults: judge "batch", and not all results are there.
      TrialDone: there was a trial.
      InputError: the judge cannot go on; what was answered is in the journal.
    """
    batch = config.judge.kind == "batch"
    judge = None if batch else judge or make_judge(config, ingested)
    identity = asking(config).identity if batch else judge.identity
    with Journal(config.journal(workdir), identity, rules) as journal:
        if batch:
            _batch(config, questions, rules, journal, workdir / "batch")
        else:
            _asked(config, judge, questions, journal)
        yield journal


def _estimate(config: RatingConfig, questions: Questions, journal: Journal) -> Estimate:
    limited = config.judge.kind in ("server", "batch")
    return log_estimate(
        questions,
        journal,
        config.judge.policy,
        configured_wording(config),
        tokens=token_counter_of(config),
        answer_tokens=token_limit(journal.identity.decoding) if limited else 0,
        prices=config.judge.prices,
        requests_per_second=config.judge.server.requests_per_second,
        seed=config.seed,
    )


def _asked(config: RatingConfig, judge: Judge, questions: Questions, journal: Journal) -> None:
    told, options = _estimate(config, questions, journal), config.judge
    if not (options.trial and told.requests):
        run.ask(judge, questions, journal, options.policy, told.requests, hopeless=options.hopeless)
        return
    limits = {"seed": config.seed, "hopeless": options.hopeless}
    trial = timed_trial(judge, questions, journal, options.policy, options.trial, **limits)
    _tell_trial(config, journal, trial, told.requests - trial.asked)
    raise TrialDone


def _tell_trial(config: RatingConfig, journal: Journal, trial: Trial, left: int) -> None:
    if trial.problems and not trial.problems[""]:
        told = summary(journal)
        raise nothing_rated(f"{trial.asked:,} questions of the trial", told["problems"], told["words"], config)
    print(
        f"{trial.asked:,} questions answered, {trial.pace:,.1f} per second; the other {left:,} will take about "
        f"{clock(left / trial.pace)} at that pace.\nWithout --config.judge.trial the same command resumes; what was "
        "answered is kept."
    )


def nothing_rated(what: str, problems: Mapping[str, int], words: Mapping[str, str], config: RatingConfig) -> InputError:
    """The error of a run in which no question has a rating; see `encore_jax.judge.run.nothing_rated`."""
    judge, policy = config.judge, config.judge.policy
    again = f"--config.judge.policy.failed={2 * policy.failed} --config.judge.policy.unparsable={2 * policy.unparsable}"
    return run.nothing_rated(what, problems, words, judge.model or judge.kind, judge.kind, again)


def _batch(config: RatingConfig, questions: Questions, rules: Sequence[Rule], journal: Journal, folder: Path) -> None:
    how, results = asking(config), folder / "results"
    some = read_batch_results(folder, questions, how, journal, rules)
    told = _estimate(config, questions, journal)
    if told.requests and some:
        logging.warning("%s questions have no usable answer in %s yet", f"{told.requests:,}", results)
    files = write_batch_requests(folder, questions, how, journal, config.judge.policy)
    if files:
        print(
            f"{told.requests:,} questions are in {len(files)} files {folder}/requests-*.jsonl.\n"
            f"Run each, e.g. `vllm run-batch --model {config.judge.model} "
            f"-i {files[0]} -o {results / files[0].name}`,\n"
            f"put result and error files (*.jsonl) into {results}, and run the same command again."
        )
        raise WaitsForResults
