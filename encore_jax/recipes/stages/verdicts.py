"""Pairs put to an LLM judge, and how its verdicts agree with the people who labelled the pairs."""

from __future__ import annotations

import functools
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from encore_jax.data.manifest import FIX
from encore_jax.evaluation.first_line import first_line
from encore_jax.evaluation.heuristics import heuristic_rewards
from encore_jax.evaluation.preference import preference_results
from encore_jax.evaluation.verdicts import verdict_rewards
from encore_jax.json_shape import read_json
from encore_jax.judge.export import summary, summary_table
from encore_jax.judge.pairwise import PAIR_PROMPTS, pair_questions, write_verdicts
from encore_jax.recipes.manifest import versions
from encore_jax.recipes.rating_config import JudgeConfig
from encore_jax.recipes.stages.answering import answered, nothing_rated
from encore_jax.recipes.stages.baselines import JUDGE
from encore_jax.recipes.stages.ingest import Ingested
from encore_jax.recipes.stages.judges import RunJudge, make_judge
from encore_jax.recipes.stages.report import Pages, pages_of, publish
from encore_jax.report.text_tables import preference_table
from encore_jax.terminal_text import one_line

VERDICTS, SUMMARY = "verdicts.jsonl", "summary.json"
REPLICATES = 2000


class Verdicts(NamedTuple):
    """A judge's verdicts on pairs.

    Attributes:
      path: the file that holds them.
      summary: who was asked, and what became of the questions.
    """

    path: Path
    summary: dict[str, Any]

    def save(self, folder: Path) -> None:
        """Writes summary.json, beside the verdicts."""
        (folder / SUMMARY).write_text(json.dumps(self.summary, indent=1))

    @classmethod
    def load(cls, folder: Path) -> Verdicts:
        """What `save` wrote."""
        return cls(folder / VERDICTS, read_json(folder / SUMMARY, dict[str, object], fix=FIX))


def judge_pairs(data: Ingested, asked: RunJudge, seed: int, folder: Path) -> Verdicts:
    """Asks about every pair that the journal has no verdict on, and writes verdicts.jsonl.

    Args:
      data: whose comparisons are judged.
      asked: who judges.
      seed: of the order in which a pair is shown.
      folder: the stage's; the journal and batch files live beside it.

    Raises:
      WaitsForResults, TrialDone, InputError: see `answered`.
    """
    prompt = PAIR_PROMPTS[asked.judge.prompt]
    both = asked.judge.both_orders
    questions = functools.partial(pair_questions, data.comparisons, seed, prompt=prompt, both=both)
    judge = make_judge(asked, data.pool, data.rated)
    with answered(asked, judge, questions, [prompt.rule], folder.parent, seed) as journal:
        counts = write_verdicts(folder / VERDICTS, data.comparisons, journal, questions())
        identity = journal.identity
        told = summary(journal) | {"verdicts": counts, "model": identity.model, "prompt": identity.prompt}
    return Verdicts(folder / VERDICTS, told)


def report_verdicts(data: Ingested, verdicts: Verdicts, seed: int, config: Mapping[str, Any]) -> Pages:
    """results.json: the judge as a method beside what reads no model.

    Args:
      data: the labelled pairs.
      verdicts: on them.
      seed: of the bootstrap.
      config: the whole configuration as plain values, for the record.
    """
    comparisons = data.comparisons
    ordered = [[c.responses[c.preferred], c.responses[1 - c.preferred]] for c in comparisons]
    rewards, _ = verdict_rewards(verdicts.path, comparisons)
    methods = {JUDGE: rewards[np.arange(len(rewards))[:, None], [(c.preferred, 1 - c.preferred) for c in comparisons]]}
    methods |= {f"heuristic: {name}": value for name, value in heuristic_rewards(ordered).items()}
    prompts = np.unique([str(c.prompt) for c in comparisons], return_inverse=True)[1]
    subsets = [c.subset or "all" for c in comparisons]
    results = {
        "name": config["name"],
        "agreement": preference_results(methods, prompts, subsets, seed, REPLICATES),
        "summary": verdicts.summary,
        "config": dict(config),
        "versions": versions(),
    }
    return pages_of(results, {})


def show_verdicts(folder: Path, judge: JudgeConfig) -> None:
    """Prints a finished report's tables, and makes sure that the work directory holds its copy.

    Raises:
      InputError: there is no verdict at all.
    """
    results = publish(folder, ("results.json",))
    told = results["summary"]
    print(
        f"\n{first_line(results)}\n\n{one_line(results['name'])}: "
        f"{told['verdicts']['comparisons']} pairs judged by {one_line(told['model'])}\n"
    )
    print(summary_table(told))
    for name, count in told["verdicts"].items():
        print(f"| {name.replace('_', ' ')} | {count} |  |")
    print()
    print(preference_table(results["agreement"]))
    if not told["verdicts"]["verdicts"]:
        raise nothing_rated(f"{told['verdicts']['comparisons']:,} pairs", told["problems"], told["words"], judge)
