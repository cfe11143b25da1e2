"""The rate stage of a rating run: every question answered, into the journal, and out of it as rated data."""

from __future__ import annotations

import functools
import json
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from encore_jax.data import iter_comparisons, iter_rated, write_comparisons, write_rated
from encore_jax.data.comparison import Comparison, RatedResponse
from encore_jax.data.manifest import FIX
from encore_jax.evaluation.probe_model import over_refusal_of
from encore_jax.json_shape import read_json
from encore_jax.judge.export import rated_comparisons, rated_responses, summary
from encore_jax.judge.journal import Journal
from encore_jax.judge.question import Judge, critical_questions, rating_questions
from encore_jax.recipes.outside import AdapterRun
from encore_jax.recipes.stages.answering import Questions, answered
from encore_jax.recipes.stages.ingest import Ingested
from encore_jax.recipes.stages.judges import Rules, RunJudge, make_judge, reward_model
from encore_jax.recipes.stages.predicted_rules import predicted_rules
from encore_jax.rules import Rule, RulePool

POOL, COMPARISONS, RATED, SUMMARY = "pool.yaml", "comparisons.jsonl", "rated.jsonl", "summary.json"
PROBE = "over_refusal.json"
"""Of a reward model that rates, beside its ratings."""


class Rated(NamedTuple):
    """Ratings by one judge.

    Attributes:
      pool: the rules.
      comparisons: with their ratings.
      responses: every different one that has a rating, once.
      summary: who was asked, and what became of the questions.
      over_refusal: of a reward model, what the over-refusal probe says of its rewards; {} of any other judge.
    """

    pool: RulePool
    comparisons: Iterable[Comparison]
    responses: Iterable[RatedResponse]
    summary: dict[str, Any]
    over_refusal: dict[str, Any]

    def save(self, folder: Path) -> None:
        """Writes pool.yaml, comparisons.jsonl, rated.jsonl, summary.json and, of a reward model, over_refusal.json."""
        self.pool.to_yaml(folder / POOL)
        write_comparisons(folder / COMPARISONS, self.comparisons, pool=self.pool)
        write_rated(folder / RATED, self.responses, pool=self.pool)
        (folder / SUMMARY).write_text(json.dumps(self.summary, indent=1))
        if self.over_refusal:
            (folder / PROBE).write_text(json.dumps(self.over_refusal, allow_nan=False))

    @classmethod
    def load(cls, folder: Path) -> Rated:
        """What `save` wrote; records are read whenever somebody iterates over them."""
        pool = RulePool.from_yaml(folder / POOL)
        comparisons = Stored(iter_comparisons, folder / COMPARISONS, pool)
        responses = Stored(iter_rated, folder / RATED, pool)
        probed = read_json(folder / PROBE, dict[str, object], fix=FIX) if (folder / PROBE).is_file() else {}
        return cls(pool, comparisons, responses, read_json(folder / SUMMARY, dict[str, object], fix=FIX), probed)


class Stored:
    """Records of a file, which is read again by everybody who iterates over them.

    Args:
      reader: of the file, by path and pool.
      path: the file.
      pool: the rules of its ratings.
    """

    def __init__(self, reader, path: Path, pool: RulePool):
        self._read = functools.partial(reader, path, pool=pool)

    def __iter__(self) -> Iterator:
        return iter(self._read())


def rate_by_judge(
    data: Ingested, asked: RunJudge, rules: Rules, seed: int, adapter: AdapterRun | None, folder: Path
) -> Rated:
    """Asks a judge what the journal does not know.

    Args:
      data: whose comparisons are rated.
      asked: who rates.
      rules: what is asked about.
      seed: of what a trial asks about, and of the over-refusal probe.
      adapter: predicts the rules that each comparison is asked about; None asks about all.
      folder: the stage's; the journal and batch files live beside it.

    Raises:
      WaitsForResults, TrialDone, InputError: see `answered`.
    """
    pool, own = rules.pool, None
    if adapter is not None:
        own = predicted_rules(adapter.folder, data.comparisons, pool, asked.judge.most_rules)
    judge = make_judge(asked, data.pool, data.rated)
    return rated_by(asked, judge, data.comparisons, pool, seed, folder.parent, own)


def rated_by(
    asked: RunJudge,
    judge: Judge | None,
    comparisons: list[Comparison],
    pool: RulePool,
    seed: int,
    workdir: Path,
    own: Sequence[Sequence[Rule]] | None = None,
) -> Rated:
    """The comparisons as a judge rates them; see `rate_by_judge`.

    Args:
      asked: how the judge is asked.
      judge: who answers; None where batch files are written.
      comparisons: what is rated.
      pool: the rules.
      seed: as above.
      workdir: the journal and batch files live here.
      own: of every comparison the rules that it is asked about; all if left out.
    """
    questions = functools.partial(rating_questions, comparisons, pool, asked.judge.call_size)
    if own is not None:
        questions = functools.partial(critical_questions, comparisons, own)
    with answered(asked, judge, questions, pool, workdir, seed) as journal:
        rated = _export(comparisons, journal, pool, None if own is None else questions)
    if asked.judge.kind == "model":
        rated = rated._replace(over_refusal=over_refusal_of(reward_model(asked), seed))
    return rated


def _export(comparisons: list[Comparison], journal: Journal, pool: RulePool, questions: Questions | None) -> Rated:
    """What the journal says of these questions; of all that it knows if they are left out."""
    keys = None if questions is None else {question.key for question in questions()}
    responses = list(rated_responses(comparisons, journal, pool, keys))
    identity = journal.identity
    told = summary(journal) | {
        "identity": {"digest": identity.digest, "kind": identity.kind, "model": identity.model},
        "label": identity.label,
        "scale": list(identity.scale),
        "decoding": dict(identity.decoding),
        "prompt": identity.prompt,
        "rated_responses": len(responses),
    }
    return Rated(pool, list(rated_comparisons(comparisons, journal, pool, keys)), responses, told, {})
