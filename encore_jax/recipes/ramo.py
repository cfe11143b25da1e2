"""RAMO: an adapter, labels by the rules that it and its rivals select, and reward models trained on them."""

from __future__ import annotations

import dataclasses

from encore_jax.recipes.data_config import PAIRS
from encore_jax.recipes.outside import AdapterRun, ModelFiles, Probe, Record, Sources
from encore_jax.recipes.ramo_config import RamoConfig
from encore_jax.recipes.ramo_runs import cells_of, runs_of
from encore_jax.recipes.split import PartSplit
from encore_jax.recipes.stages_by_name import (
    adopt_adapter,
    evaluate_ramo,
    frozen_features,
    ingest,
    label,
    rate_rules,
    report_ramo,
    show_ramo,
    train_adapter,
    train_arms,
)

PUBLISHED = ("results.json", "report.html")


def run(config: RamoConfig, stage) -> None:
    """The stages ingest, features, rate, adapter, label, train, evaluate and report.

    Args:
      config: validated.
      stage: a `Pipeline`, or a `Plan`.
    """
    seed, select, train, by_heads = config.seed, config.select, config.train, config.rate.source == "heads"
    adopted, on_features = bool(config.adapter_from), train.method == "heads"
    split = PartSplit(config.data.test_fraction, 0.0 if adopted else config.adapter_fraction, seed)
    model = ModelFiles(config.model, config.data.offline)
    cells = cells_of(train.arms, select.r, train.rs)
    runs = runs_of(cells, select.r, train.sizes, train.seeds)

    data = stage("ingest", ingest, Sources(config.data, rated=by_heads), seed, need_rated=by_heads, need=PAIRS)
    features = stage(
        "features", frozen_features, model, data, Probe() if by_heads or on_features else None,
        response=by_heads or on_features, pair=config.adapter.method == "heads" and not adopted, rated=by_heads,
        seed=seed, aside={"mesh": config.mesh},
    )  # fmt: skip
    ratings = stage("rate", rate_rules, data, features, config.rate, select, split)
    if adopted:
        adapter = stage("adapter", adopt_adapter, AdapterRun(config.adapter_from), data, seed)
    else:
        where = config.adapter.checkpoints or train.checkpoints  # of a pod, what its processes share
        adapter = stage(
            "adapter", train_adapter, model, dataclasses.replace(config.adapter, checkpoints=where), data=data,
            features=features, ratings=ratings, split=split, select=select, aside={"mesh": config.mesh},
        )  # fmt: skip
    labels = stage("label", label, cells, train.seeds, data, ratings, adapter, split, select)
    models = stage(
        "train", train_arms, runs, model, train, data=data, features=features, adapter=adapter, labels=labels,
        split=split, aside={"mesh": config.mesh},
    )  # fmt: skip
    results = stage(
        "evaluate", evaluate_ramo, data, features, ratings, adapter, labels, models, runs, split, select.r, by_heads,
        config.simulate, config.evaluate.replicates, Record(config),
    )  # fmt: skip
    report = stage("report", report_ramo, results)
    stage.always(show_ramo, report)
