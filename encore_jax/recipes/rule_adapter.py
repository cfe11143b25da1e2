"""A Rule Adapter: critical rules of rated comparisons, learnt from their texts."""

from __future__ import annotations

from encore_jax.recipes.data_config import PAIRS
from encore_jax.recipes.outside import ModelFiles, Probe, Record, Sources
from encore_jax.recipes.ramo_config import AdapterConfig
from encore_jax.recipes.split import PartSplit
from encore_jax.recipes.stages_by_name import (
    evaluate_adapter,
    frozen_features,
    ingest,
    rate_rules,
    report_ramo,
    show_ramo,
    train_adapter,
)

PUBLISHED = ("results.json", "report.html")


def run(config: AdapterConfig, stage) -> None:
    """The stages ingest, features, rate, adapter, evaluate and report.

    Args:
      config: validated.
      stage: a `Pipeline`, or a `Plan`.
    """
    seed, select, by_heads = config.seed, config.select, config.rate.source == "heads"
    split = PartSplit(config.data.test_fraction, 1.0, seed)
    model = ModelFiles(config.model, config.data.offline)

    data = stage("ingest", ingest, Sources(config.data, rated=by_heads), seed, need_rated=by_heads, need=PAIRS)
    features = stage(
        "features", frozen_features, model, data, Probe() if by_heads else None, response=by_heads,
        pair=config.train.method == "heads", rated=by_heads, seed=seed,
        aside={"mesh": config.mesh},
    )  # fmt: skip
    ratings = stage("rate", rate_rules, data, features, config.rate, select, split)
    adapter = stage(
        "adapter", train_adapter, model, config.train, data=data, features=features, ratings=ratings, split=split,
        select=select, aside={"mesh": config.mesh},
    )  # fmt: skip
    results = stage(
        "evaluate", evaluate_adapter, data, features, ratings, adapter, split, select.r, by_heads, config.simulate,
        config.evaluate.replicates, Record(config),
    )  # fmt: skip
    report = stage("report", report_ramo, results)
    stage.always(show_ramo, report)
