"""The study of real judges: entropy and agreement measured on every data set that there is, and reported."""

from __future__ import annotations

from encore_jax.data.readers.judged_sets import judged_folders
from encore_jax.recipes.outside import Record
from experiments.studies.real_judges_config import RealJudgesConfig
from experiments.studies.real_judges_stages import JudgedSets, measure, report_judges, show_judges

PUBLISHED = ("results.json", "report.html")


def run(config: RealJudgesConfig, stage) -> None:
    """The stages measure and report."""
    sets = JudgedSets(config.data.path)
    if config.data.path:
        stage.always(judged_folders, config.data.path)  # refused before anything is written
    measured = stage("measure", measure, sets, config.tau, config.replicates, config.junk_draws, config.seed)
    report = stage("report", report_judges, measured, Record(config))
    stage.always(show_judges, report)
