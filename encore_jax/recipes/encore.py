"""ENCORE: rule heads trained on ratings, composed by every method, evaluated on held-out comparisons."""

from __future__ import annotations

from encore_jax.recipes.config import ExperimentConfig
from encore_jax.recipes.outside import ModelFiles, OneFile, Probe, Record, Sources
from encore_jax.recipes.split import Split
from encore_jax.recipes.stages_by_name import (
    audit,
    baselines,
    compose,
    evaluate,
    ingest,
    publish_audit,
    rate,
    report,
    score,
    show,
    text_features,
    train,
)

PUBLISHED = ("results.json", "report.html", "audit.html")
"""What lies beside the stages' folders in the end."""


def run(config: ExperimentConfig, stage) -> None:
    """The stages.

    A frozen backbone is loaded by stage features, and by no other. Where training changes it there is no such stage.

    Args:
      config: validated.
      stage: a `Pipeline`, or a `Plan`.
    """
    seed, synthetic, probe = config.seed, config.semi_synthetic, Probe()
    split = Split(config.data.test_fraction, config.train.folds, seed)
    model = ModelFiles(config.model, config.data.offline)
    ridge = config.train.method == "ridge"
    frozen = ridge or config.train.trainable == "heads"

    data = stage("ingest", ingest, Sources(config.data), seed)
    ratings = stage("rate", rate, synthetic, data, seed)
    features = None
    if ridge:
        aside = {"ratings": ratings, "split": split, "mesh": config.mesh}
        features = stage("features", text_features, model, data, probe, aside=aside)
    trained = stage(
        "train", train, model, config.train, data=data, ratings=ratings, split=split, features=features, probe=probe,
        aside={"mesh": config.mesh},
    )  # fmt: skip
    verdicts = OneFile(config.baselines.verdicts)
    others = stage("baselines", baselines, config.baselines, verdicts, data, split, features, trained)
    by_people = config.data.source == "pyrit"
    scored = stage("score", score, data, split, ratings, features, trained, others, synthetic, by_people)
    composed = stage(
        "compose", compose, config.compose, scored, trained, model, seed, frozen, data, split, ratings,
    )  # fmt: skip
    results = stage(
        "evaluate", evaluate, config.evaluate, config.compose, synthetic, data, split, ratings, trained, scored,
        composed, others, Record(config),
    )  # fmt: skip
    audited = stage("audit", audit, config.name, data, split, trained, scored, composed)
    reported = stage("report", report, results)
    stage.always(publish_audit, audited)
    stage.always(show, reported)
