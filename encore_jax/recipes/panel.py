"""Rules to ratings by a panel: every response rated by every judge, and what is known about which judges to trust."""

from __future__ import annotations

from encore_jax.recipes.outside import Record, Sources
from encore_jax.recipes.panel_config import PanelConfig
from encore_jax.recipes.stages_by_name import (
    Rules,
    ingest_panel,
    measure_panel,
    members_of,
    rate_panel,
    report_panel,
    show_panel,
    tables_of,
)

PUBLISHED = ("results.json", "report.html")


def run(config: PanelConfig, stage) -> None:
    """The stages ingest, rate, panel and report."""
    sources, rules = Sources(config.data, rated=config.reads_own_ratings), Rules(config.pool, config.data)
    data = stage("ingest", ingest_panel, sources, tables_of(config), rules, config.seed)
    rated = stage("rate", rate_panel, data, members_of(config), config.seed)
    panel = stage(
        "panel",
        measure_panel,
        rated,
        min_judges=config.min_judges,
        mean_of=config.mean_of,
        anchor=config.anchor,
        replicates=config.replicates,
        tau=config.tau,
        seed=config.seed,
    )
    report = stage("report", report_panel, data, panel, Record(config))
    stage.always(show_panel, report)
