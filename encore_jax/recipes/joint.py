"""Joint training of one preference head and K rule heads on one backbone (SMORM, arXiv 2507.07375).

Three arms from the same initial values, on the same texts in the same order: preferences alone, rules alone, both. Each
is judged on held-out comparisons of the domain it was trained on, and of every other one.
"""

from __future__ import annotations

from encore_jax.recipes.joint_config import JointConfig
from encore_jax.recipes.outside import ModelFiles, Record, Sources
from encore_jax.recipes.stages_by_name import evaluate_joint, ingest, report_joint, show_joint, train_joint

PUBLISHED = ("results.json", "report.html")


def run(config: JointConfig, stage) -> None:
    """The stages ingest, train, evaluate and report.

    Args:
      config: validated.
      stage: a `Pipeline`, or a `Plan`.
    """
    seed, model = config.seed, ModelFiles(config.model, config.data.offline)
    data = stage("ingest", ingest, Sources(config.data), seed)
    trained = stage(
        "train", train_joint, model, config.train, data=data, domain=config.domain,
        test_fraction=config.data.test_fraction, seed=seed, aside={"mesh": config.mesh},
    )  # fmt: skip
    results = stage(
        "evaluate", evaluate_joint, data, trained, config.domain, config.compose, config.evaluate.replicates, seed,
        Record(config),
    )  # fmt: skip
    report = stage("report", report_joint, results)
    stage.always(show_joint, report)
