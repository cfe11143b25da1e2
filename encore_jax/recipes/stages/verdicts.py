"""Pairs put to an LLM judge, and how its verdicts agree with the people who labelled the pairs."""

from __future__ import annotations

import functools
import json
import shutil
from pathlib import Path

import numpy as np

from encore_jax.data.atomic import atomic_path
from encore_jax.evaluation.first_line import first_line
from encore_jax.evaluation.heuristics import heuristic_rewards
from encore_jax.evaluation.preference import preference_results
from encore_jax.evaluation.verdicts import verdict_rewards
from encore_jax.judge.export import summary, summary_table
from encore_jax.judge.pairwise import PAIR_PROMPTS, pair_questions, write_verdicts
from encore_jax.recipes.config import to_dict
from encore_jax.recipes.manifest import versions
from encore_jax.recipes.rating_config import RatingConfig
from encore_jax.recipes.stages import ingest
from encore_jax.recipes.stages.answering import answered, nothing_rated
from encore_jax.recipes.stages.baselines import JUDGE
from encore_jax.report.text_tables import preference_table
from encore_jax.terminal_text import one_line


def judge_pairs(config: RatingConfig, ingested: Path, workdir: Path, folder: Path) -> None:
    """Asks about every pair that the journal has no verdict on, then writes verdicts.jsonl and summary.json.

    Raises:
      WaitsForResults, TrialDone, InputError: see `answered`.
    """
    _, _, comparisons = ingest.load(ingested)
    prompt = PAIR_PROMPTS[config.judge.prompt]
    questions = functools.partial(
        pair_questions, comparisons, config.seed, prompt=prompt, both=config.judge.both_orders
    )
    with answered(config, questions, [prompt.rule], ingested, workdir) as journal:
        counts = write_verdicts(folder / "verdicts.jsonl", comparisons, journal, questions())
        asked = journal.identity
        told = summary(journal) | {"verdicts": counts, "model": asked.model, "prompt": asked.prompt}
    (folder / "summary.json").write_text(json.dumps(told, indent=1))


def report_verdicts(config: RatingConfig, ingested: Path, judged: Path, folder: Path) -> None:
    """Writes results.json, the judge as a method beside what reads no model, copies it up, and shows the table."""
    _, _, comparisons = ingest.load(ingested)
    ordered = [[c.responses[c.preferred], c.responses[1 - c.preferred]] for c in comparisons]
    rewards, _ = verdict_rewards(judged / "verdicts.jsonl", comparisons)
    methods = {JUDGE: rewards[np.arange(len(rewards))[:, None], [(c.preferred, 1 - c.preferred) for c in comparisons]]}
    methods |= {f"heuristic: {name}": value for name, value in heuristic_rewards(ordered).items()}
    prompts = np.unique([str(c.prompt) for c in comparisons], return_inverse=True)[1]
    subsets = [c.subset or "all" for c in comparisons]
    results = {
        "name": config.name,
        "agreement": preference_results(methods, prompts, subsets, config.seed, 2000),
        "summary": json.loads((judged / "summary.json").read_text()),
        "config": to_dict(config),
        "versions": versions(),
    }
    (folder / "results.json").write_text(json.dumps(results, indent=1, allow_nan=False))
    show_verdicts(config, folder)


def show_verdicts(config: RatingConfig, folder: Path) -> None:
    """Prints a finished report's tables, and makes sure that the work directory holds its copy.

    Raises:
      InputError: there is no verdict at all.
    """
    with atomic_path(folder.parent / "results.json") as temporary:
        shutil.copyfile(folder / "results.json", temporary)
    results = json.loads((folder / "results.json").read_text())
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
        raise nothing_rated(f"{told['verdicts']['comparisons']:,} pairs", told["problems"], told["words"], config)
