"""The theory: every claim measured, and the report of the verdicts."""

from __future__ import annotations

from pathlib import Path

from encore_jax.evaluation.view import View
from encore_jax.recipes.outside import OneFile, Record
from encore_jax.recipes.stages_by_name import check_claims, report_theory, show_theory
from encore_jax.recipes.theory_config import TheoryConfig

PUBLISHED = ("results.json", "report.html")


def run(config: TheoryConfig, stage) -> None:
    """The stages check and report."""
    for path in config.views:
        stage.before(View.load, Path(path))  # refused before anything is simulated
    views = [OneFile(path) for path in config.views]
    results = stage(
        "check", check_claims, config.pairs, config.repeats, views, config.replicates, config.seed, Record(config)
    )
    report = stage("report", report_theory, results)
    stage.always(show_theory, report)
