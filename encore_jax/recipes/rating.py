"""Rules to ratings: every response rated by one judge, on every rule or on those that an adapter predicts."""

from __future__ import annotations

from encore_jax.recipes.outside import AdapterRun, Record, Sources
from encore_jax.recipes.rating_config import RatingConfig
from encore_jax.recipes.stages.ingest import ingest
from encore_jax.recipes.stages.judge import rate
from encore_jax.recipes.stages.judges import Rules, judge_of
from encore_jax.recipes.stages.rating_report import report_ratings, show_ratings
from encore_jax.recipes.stages.records import ANY

PUBLISHED = ("results.json", "report.html")


def run(config: RatingConfig, stage) -> None:
    """The stages ingest, rate and report."""
    from_table = config.judge.kind == "table"
    sources, rules = Sources(config.data, rated=from_table), Rules(config.judge.pool, config.data)
    adapter = AdapterRun(config.judge.rules_of) if config.judge.rules_of else None
    data = stage("ingest", ingest, sources, config.seed, need_rated=from_table, need=ANY)
    rated = stage("rate", rate, data, judge_of(config), rules, config.seed, adapter)
    report = stage("report", report_ratings, data, rated, config.compose, aside={"config": Record(config)})
    stage.always(show_ratings, report, config.judge)
