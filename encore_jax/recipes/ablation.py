"""An ablation: a grid of settings decided on the cached scores of one view, and which choices matter."""

from __future__ import annotations

import math

from encore_jax.evaluation.ablation_axes import AblationAxes, Draws, Entropies
from encore_jax.recipes.ablation_config import AblateConfig
from encore_jax.recipes.outside import Record
from encore_jax.recipes.stages_by_name import (
    AblationSource,
    Reading,
    check_readable,
    decide_all,
    prepare,
    report_ablation,
    show_ablation,
)

PUBLISHED = ("results.json", "report.html", "choices.csv")


def run(config: AblateConfig, stage) -> None:
    """The stages prepare, decide and report."""
    source = AblationSource(config.scores, config.features, config.pool)
    reading = Reading(config.label, config.scale, config.test_fraction, config.seed)
    if config.scores:
        stage.before(check_readable, source, reading)  # refused before anything is written
    draws = Draws(config.seeds, config.shares)
    entropies = Entropies(config.grids, config.estimators, config.normalize, config.bases)
    taus = config.taus if math.inf in config.taus else (*config.taus, math.inf)  # equal weights are always there
    axes = AblationAxes(draws, entropies, taus, config.agreement, config.replicates)

    inputs = stage(
        "prepare", prepare, source, reading, draws, entropies, config.subsets, config.sampled, config.agreement,
        config.replicates, config.alphas, config.folds,
    )  # fmt: skip
    decided = stage("decide", decide_all, inputs, axes, config.part)
    report = stage("report", report_ablation, source, reading, inputs, decided, axes, Record(config))
    stage.always(show_ablation, report)
