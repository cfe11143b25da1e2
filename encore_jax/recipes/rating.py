"""Rules to ratings: every response rated by one judge, on every rule or on those that an adapter predicts."""

from __future__ import annotations

from absl import logging

from encore_jax.data.rows import named
from encore_jax.recipes.data_config import ANY
from encore_jax.recipes.outside import AdapterRun, Record, Sources
from encore_jax.recipes.rating_config import RatingConfig
from encore_jax.recipes.stages_by_name import (
    Rules,
    halo,
    ingest,
    judge_of,
    rate_by_judge,
    report_ratings,
    show_halo,
    show_ratings,
)


def tell_rules(config: RatingConfig) -> None:
    """Says which rules are asked about, before anything is asked, and how others are named."""
    name = config.judge.pool or config.data.pool
    pool = Rules(config.judge.pool, config.data).pool
    logging.info("rules: %d of %s (%s); --config.judge.pool=RULES asks others", len(pool), name, named(pool.names))


PUBLISHED = ("results.json", "report.html")


def run(config: RatingConfig, stage) -> None:
    """The stages ingest, rate and report; halo before rate, where it is measured."""
    from_table = config.judge.kind == "table"
    sources, rules = Sources(config.data, rated=from_table), Rules(config.judge.pool, config.data)
    adapter = AdapterRun(config.judge.rules_of) if config.judge.rules_of else None
    stage.always(tell_rules, config)
    data = stage("ingest", ingest, sources, config.seed, need_rated=from_table, need=ANY)
    measured = None
    if config.judge.halo_sample:
        measured = stage("halo", halo, data, judge_of(config), rules, config.judge.halo_sample, config.seed)
        stage.always(show_halo, measured)
    rated = stage("rate", rate_by_judge, data, judge_of(config), rules, config.seed, adapter)
    report = stage("report", report_ratings, data, rated, config.compose, measured, aside={"config": Record(config)})
    stage.always(show_ratings, report, config.judge)
