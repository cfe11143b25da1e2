"""Bradley-Terry: one reward head trained on preferences, and how it agrees with people on held-out ones.

Nothing is rated and nothing composed.
"""

from __future__ import annotations

from encore_jax.recipes.config import ExperimentConfig
from encore_jax.recipes.outside import ModelFiles, Record, Sources
from encore_jax.recipes.stages_by_name import agreement, ingest, report_agreement, show_agreement, train_preferences

PUBLISHED = ("results.json", "report.html")


def run(config: ExperimentConfig, stage) -> None:
    """The stages ingest, train, evaluate and report."""
    seed, model = config.seed, ModelFiles(config.model, config.data.offline)
    data = stage("ingest", ingest, Sources(config.data, rated=False), seed, need_rated=False)
    trained = stage(
        "train", train_preferences, model, config.train, data=data, test_fraction=config.data.test_fraction, seed=seed,
        aside={"mesh": config.mesh},
    )  # fmt: skip
    results = stage("evaluate", agreement, data, trained, config.evaluate.replicates, seed, Record(config))
    report = stage("report", report_agreement, results)
    stage.always(show_agreement, report)
