"""The rate stage of a rating run: every question answered, into the journal, and out of it as rated data."""

from __future__ import annotations

import functools
import json
from collections.abc import Callable, Iterator
from pathlib import Path

import jax
from absl import logging

from encore_jax.data import write_comparisons, write_rated
from encore_jax.data.comparison import Comparison
from encore_jax.errors import InputError
from encore_jax.judge.ask import HOPELESS, ask_all
from encore_jax.judge.batch import ingest_results, write_requests
from encore_jax.judge.estimate import estimate, estimate_text
from encore_jax.judge.export import rated_comparisons, rated_responses
from encore_jax.judge.journal import Journal
from encore_jax.judge.journal_summary import summary
from encore_jax.judge.question import Question, critical_questions, rating_questions
from encore_jax.rules import RulePool
from encore_jax.train.preemption import EXIT_PREEMPTED
from experiments.progress import track
from experiments.rating_config import RatingConfig
from experiments.stages import ingest
from experiments.stages.judges import asking, judging_pool, make_judge, shared_texts, token_counter
from experiments.stages.predicted_rules import predicted_rules

Questions = Callable[[], Iterator[Question]]


class WaitsForResults(SystemExit):
    """Batch files are written, and their results are not there yet: the same command goes on once they are."""

    def __init__(self):
        super().__init__(EXIT_PREEMPTED)


def judge(config: RatingConfig, ingested: Path, workdir: Path, folder: Path) -> None:
    """Asks what the journal does not know, then writes pool.yaml, comparisons.jsonl, rated.jsonl and summary.json.

    Raises:
      WaitsForResults: judge "batch", and not all results are there.
      InputError: the judge cannot go on; what was answered is in the journal.
    """
    if jax.process_count() > 1:
        raise InputError("several processes would all ask", where="config.judge", fix="run it without --multihost")
    pool, (_, _, comparisons) = judging_pool(config), ingest.load(ingested)
    questions = _questions(config, comparisons, pool)
    batch = config.judge.kind == "batch"
    judge = None if batch else make_judge(config, ingested)
    identity = asking(config).identity if batch else judge.identity
    with Journal(config.journal(workdir), identity, pool) as journal:
        if batch:
            _batch(config, questions, pool, journal, workdir / "batch")
        else:
            _ask(config, judge, questions, journal)
        _export(comparisons, journal, pool, folder)


def _questions(config: RatingConfig, comparisons: list[Comparison], pool: RulePool) -> Questions:
    if not config.judge.rules_of:
        return functools.partial(rating_questions, comparisons, pool)
    rules = predicted_rules(Path(config.judge.rules_of), comparisons, pool, config.judge.most_rules)
    return functools.partial(critical_questions, comparisons, rules)


def _ask(config: RatingConfig, judge, questions: Questions, journal: Journal) -> None:
    total = _estimate(config, questions, journal).requests
    answers = ask_all(
        judge,
        questions,
        journal,
        config.judge.policy,
        hopeless=0 if config.judge.kind == "table" else HOPELESS,
    )
    for _ in track(answers, max(total, 1), "ratings"):
        pass


def _estimate(config: RatingConfig, questions: Questions, journal: Journal):
    told = estimate(
        journal.pending(questions(), config.judge.policy),
        functools.partial(shared_texts, config),
        token_counter(config),
        answer_tokens=journal.identity.decoding.get("max_tokens", 0),
        prices=config.judge.prices,
        requests_per_second=config.judge.server.requests_per_second,
        seed=config.seed,
    )
    logging.info("to ask: %s", estimate_text(told))
    return told


def _batch(config: RatingConfig, questions: Questions, pool: RulePool, journal: Journal, folder: Path) -> None:
    ask, results = asking(config), folder / "results"
    results.mkdir(parents=True, exist_ok=True)
    asked = {question.key.conversation for question in questions()}
    skips = ingest_results(sorted(results.glob("*.jsonl")), ask, journal, pool, asked)
    logging.info("results: %s", skips)
    told = _estimate(config, questions, journal)
    files = write_requests(folder, journal.pending(questions(), config.judge.policy), ask)
    if files:
        print(
            f"{told.requests:,} questions are in {len(files)} files {folder}/requests-*.jsonl.\n"
            f"Run each, e.g. `vllm run-batch --model {config.judge.model} "
            f"-i {files[0]} -o {results / files[0].name}`,\n"
            f"put result and error files (*.jsonl) into {results}, and run the same command again."
        )
        raise WaitsForResults


def _export(comparisons: list[Comparison], journal: Journal, pool: RulePool, folder: Path) -> None:
    pool.to_yaml(folder / "pool.yaml")
    write_comparisons(folder / "comparisons.jsonl", rated_comparisons(comparisons, journal, pool), pool=pool)
    rated = write_rated(folder / "rated.jsonl", rated_responses(comparisons, journal, pool), pool=pool)
    told = summary(journal) | {
        "identity": {"digest": journal.identity.digest, "kind": journal.identity.kind, "model": journal.identity.model},
        "label": journal.identity.label,
        "scale": list(journal.identity.scale),
        "decoding": dict(journal.identity.decoding),
        "prompt": journal.identity.prompt,
        "rated_responses": rated,
    }
    (folder / "summary.json").write_text(json.dumps(told, indent=1))
