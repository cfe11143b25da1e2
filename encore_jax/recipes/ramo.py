"""RAMO: an adapter, labels by the rules that it and its rivals select, and reward models trained on them."""

from __future__ import annotations

import dataclasses

from encore_jax.recipes.outside import AdapterRun, ModelFiles, Probe, Record, Sources
from encore_jax.recipes.ramo_config import RamoConfig
from encore_jax.recipes.stages.adapter import adopt_adapter, train_adapter
from encore_jax.recipes.stages.arms import cells_of, label
from encore_jax.recipes.stages.frozen import frozen_features
from encore_jax.recipes.stages.ingest import ingest
from encore_jax.recipes.stages.presented import PartSplit
from encore_jax.recipes.stages.ramo_results import evaluate_ramo, report_ramo, show_ramo
from encore_jax.recipes.stages.records import PAIRS
from encore_jax.recipes.stages.report import PUBLISHED  # noqa: F401  what lies beside the stages' folders in the end
from encore_jax.recipes.stages.reward_arms import train_arms
from encore_jax.recipes.stages.reward_runs import runs_of
from encore_jax.recipes.stages.rule_ratings import rate_rules


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
