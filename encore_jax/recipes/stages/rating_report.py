"""The report of a rating run: what became of the questions, and what the ratings look like, rule by rule."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

from encore_jax.data import iter_comparisons, iter_rated
from encore_jax.data.atomic import atomic_path
from encore_jax.evaluation.first_line import first_line
from encore_jax.evaluation.rating_results import rating_results
from encore_jax.judge.export import summary_rows, summary_table
from encore_jax.recipes.config import to_dict
from encore_jax.recipes.manifest import versions
from encore_jax.recipes.rating_config import RatingConfig
from encore_jax.recipes.stages.answering import nothing_rated
from encore_jax.recipes.stages.judge import PROBE
from encore_jax.report.report_page import render_rating_report
from encore_jax.report.tables import over_refusal_lines
from encore_jax.report.text_tables import rating_table
from encore_jax.rules import RulePool
from encore_jax.terminal_text import one_line

PUBLISHED = ("results.json", "report.html")


def rating_report(config: RatingConfig, ingested: Path, rated: Path, folder: Path) -> None:
    """Writes results.json and report.html, copies them up to the work directory, and shows the tables."""
    pool = RulePool.from_yaml(rated / "pool.yaml")
    told = rating_results(
        iter_rated(rated / "rated.jsonl", pool=pool),
        iter_comparisons(rated / "comparisons.jsonl", pool=pool),
        config.compose,
    )
    summary = json.loads((rated / "summary.json").read_text())
    probed = rated / PROBE
    results = told | {
        "name": config.name,
        "over_refusal": json.loads(probed.read_text()) if probed.is_file() else _not_probed(config),
        "summary": summary | {"rows": summary_rows(summary)},
        "counts": {"ingest": json.loads((ingested / "counts.json").read_text())},
        "pool": {"name": pool.name, "digest": pool.digest},
        "config": to_dict(config),
        "versions": versions(),
    }
    (folder / "results.json").write_text(json.dumps(results, indent=1, allow_nan=False))
    with atomic_path(folder / "report.html") as temporary:
        temporary.write_text(render_rating_report(results), encoding="utf-8")
    show_ratings(config, folder)


def _not_probed(config: RatingConfig) -> dict:
    """Ratings by a judge that is no reward model are not probed."""
    if config.judge.kind != "model":
        return {}
    return {"not_scored": "these ratings are of an older version: --rerun=rate scores the probe"}


def show_ratings(config: RatingConfig, folder: Path) -> None:
    """Prints a finished report's tables, and makes sure that the work directory holds its copies.

    Raises:
      InputError: there is no rating at all.
    """
    for name in PUBLISHED:
        with atomic_path(folder.parent / name) as temporary:
            shutil.copyfile(folder / name, temporary)
    results = json.loads((folder / "results.json").read_text())
    told = results["summary"]
    print(f"\n{first_line(results)}")
    if results["advice"] and results["advice"]["label_next"]:
        print(f"Label next: {one_line(', '.join(results['advice']['label_next']))}")
    print(f"\n{one_line(results['name'])}: {told['label']} by {one_line(told['identity']['model'])}\n")
    print(summary_table(told))
    print()
    print(rating_table(results["rules"]))
    for line in over_refusal_lines(results, by_rule=True):
        print(line)
    for warning in results["warnings"]:
        print(f"note: {warning}")
    print(f"\nReport: {folder.parent / 'report.html'}")
    if not told["rated_responses"]:
        raise nothing_rated(f"{sum(told['questions'].values()):,} questions", told["problems"], told["words"], config)
