"""The report of a rating run: what became of the questions, and what the ratings look like, rule by rule."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from encore_jax.composition.settings import CompositionSettings
from encore_jax.data.manifest import FIX
from encore_jax.evaluation.first_line import first_line
from encore_jax.evaluation.rating_results import rating_results
from encore_jax.json_shape import read_json
from encore_jax.judge.export import summary_rows, summary_table
from encore_jax.judge.run import without_rating
from encore_jax.recipes.manifest import versions
from encore_jax.recipes.rating_config import JudgeConfig
from encore_jax.recipes.stages.answering import nothing_rated
from encore_jax.recipes.stages.halo import HaloResult
from encore_jax.recipes.stages.judge import Rated
from encore_jax.recipes.stages.report import Pages, pages_of, publish
from encore_jax.report.label_next import label_lines, of_run
from encore_jax.report.report_page import render_rating_report
from encore_jax.report.tables import over_refusal_lines
from encore_jax.report.text_tables import rating_table
from encore_jax.terminal_text import one_line


class IngestCounts(NamedTuple):
    """Of what an ingest stage wrote, the counts alone.

    Attributes:
      counts: rows read, used and left out, by reason.
    """

    counts: dict[str, Any]

    @classmethod
    def load(cls, folder: Path) -> IngestCounts:
        return cls(read_json(folder / "counts.json", dict[str, object], fix=FIX))


def report_ratings(
    data: IngestCounts,
    rated: Rated,
    compose: CompositionSettings,
    halo: HaloResult | None,
    config: Mapping[str, Any],
) -> Pages:
    """results.json and report.html.

    Args:
      data: what was read.
      rated: the ratings.
      compose: how rules' entropies are computed.
      halo: what several rules in a call do to ratings, where it was measured.
      config: the whole configuration as plain values, for the record.
    """
    results = rating_results(rated.responses, rated.comparisons, compose) | {
        "name": config["name"],
        "over_refusal": rated.over_refusal,
        "halo": None if halo is None else halo._asdict(),
        "summary": rated.summary | {"rows": summary_rows(rated.summary)},
        "counts": {"ingest": data.counts},
        "pool": {"name": rated.pool.name, "digest": rated.pool.digest},
        "config": dict(config),
        "versions": versions(),
    }
    return pages_of(results, {"report.html": render_rating_report})


def show_ratings(folder: Path, judge: JudgeConfig) -> None:
    """Prints a finished report's tables, and makes sure that the work directory holds its copies.

    Raises:
      InputError: there is no rating at all.
    """
    results = publish(folder)
    told = results["summary"]
    print(f"\n{first_line(results, str(folder.parent))}")
    if lacking := without_rating(told, judge.kind, judge.policy):
        print(f"Warning: {lacking}")
    print(f"\n{one_line(results['name'])}: {told['label']} by {one_line(told['identity']['model'])}\n")
    print(summary_table(told))
    print()
    print(rating_table(results["rules"]))
    print(
        "Entropy: of its ratings on the grid of config.compose, in nats. Agrees with people: of the labelled pairs of "
        "which it rates both responses (pairs), in how many it prefers the preferred one; a tie counts half."
    )
    for line in over_refusal_lines(results, by_rule=True):
        print(line)
    for warning in results["warnings"]:
        print(f"note: {warning}")
    advice = results["advice"] or {"label_next": []}
    for line in label_lines(*of_run(advice["label_next"], results | advice, str(folder.parent))):
        print(line)
    print(f"\nReport: {folder.parent / 'report.html'}")
    if not told["rated_responses"]:
        raise nothing_rated(f"{sum(told['questions'].values()):,} questions", told["problems"], told["words"], judge)
