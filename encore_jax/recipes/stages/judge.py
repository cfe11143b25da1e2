"""The rate stage of a rating run: every question answered, into the journal, and out of it as rated data."""

from __future__ import annotations

import functools
import json
from pathlib import Path

from encore_jax.data import write_comparisons, write_rated
from encore_jax.data.comparison import Comparison
from encore_jax.evaluation.probe_model import over_refusal_of
from encore_jax.judge.export import rated_comparisons, rated_responses, summary
from encore_jax.judge.journal import Journal
from encore_jax.judge.question import Judge, Key, critical_questions, rating_questions
from encore_jax.recipes.rating_config import RatingConfig
from encore_jax.recipes.stages import ingest
from encore_jax.recipes.stages.answering import Questions, answered
from encore_jax.recipes.stages.judges import judging_pool, reward_model
from encore_jax.recipes.stages.predicted_rules import predicted_rules
from encore_jax.rules import RulePool

PROBE = "over_refusal.json"
"""Of a reward model that rates, beside its ratings."""


def judge(config: RatingConfig, ingested: Path, workdir: Path, folder: Path, made: Judge | None = None) -> None:
    """Asks what the journal does not know, then writes pool.yaml, comparisons.jsonl, rated.jsonl and summary.json; of a
    reward model as judge also over_refusal.json, what the over-refusal probe says of its rewards.

    Args:
      config: who is asked, and how.
      ingested: the ingest stage's folder.
      workdir: where the journal and batch files live.
      folder: to write into.
      made: the judge, if it is made already.

    Raises:
      WaitsForResults, TrialDone, InputError: see `answered`.
    """
    pool, (_, _, comparisons) = judging_pool(config), ingest.load(ingested)
    questions = _questions(config, comparisons, pool)
    with answered(config, questions, pool, ingested, workdir, made) as journal:
        asked = {question.key for question in questions()} if config.judge.rules_of else None
        _export(comparisons, journal, pool, asked, folder)
    if config.judge.kind == "model":
        (folder / PROBE).write_text(json.dumps(over_refusal_of(reward_model(config), config.seed), allow_nan=False))


def _questions(config: RatingConfig, comparisons: list[Comparison], pool: RulePool) -> Questions:
    if not config.judge.rules_of:
        return functools.partial(rating_questions, comparisons, pool)
    rules = predicted_rules(Path(config.judge.rules_of), comparisons, pool, config.judge.most_rules)
    return functools.partial(critical_questions, comparisons, rules)


def _export(
    comparisons: list[Comparison], journal: Journal, pool: RulePool, asked: set[Key] | None, folder: Path
) -> None:
    pool.to_yaml(folder / "pool.yaml")
    write_comparisons(folder / "comparisons.jsonl", rated_comparisons(comparisons, journal, pool, asked), pool=pool)
    rated = write_rated(folder / "rated.jsonl", rated_responses(comparisons, journal, pool, asked), pool=pool)
    told = summary(journal) | {
        "identity": {"digest": journal.identity.digest, "kind": journal.identity.kind, "model": journal.identity.model},
        "label": journal.identity.label,
        "scale": list(journal.identity.scale),
        "decoding": dict(journal.identity.decoding),
        "prompt": journal.identity.prompt,
        "rated_responses": rated,
    }
    (folder / "summary.json").write_text(json.dumps(told, indent=1))
