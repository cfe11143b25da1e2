"""LLM-as-a-judge on labelled pairs."""

from __future__ import annotations

from encore_jax.recipes.outside import Record, Sources
from encore_jax.recipes.rating_config import RatingConfig
from encore_jax.recipes.stages_by_name import ingest, judge_of, judge_pairs, report_verdicts, show_verdicts

PUBLISHED = ("results.json",)


def run(config: RatingConfig, stage) -> None:
    """The stages ingest, rate and report: labelled pairs, a judge's verdicts on them, and how the two agree."""
    data = stage("ingest", ingest, Sources(config.data, rated=False), config.seed, need_rated=False)
    verdicts = stage("rate", judge_pairs, data, judge_of(config), config.seed)
    report = stage("report", report_verdicts, data, verdicts, config.seed, Record(config))
    stage.always(show_verdicts, report, config.judge)
