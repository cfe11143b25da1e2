"""A Rule Adapter, and RAMO on top of it."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from encore_jax.data.probes import over_refusal_probe
from encore_jax.recipes.chain import Chain, Plan
from encore_jax.recipes.config import TrainConfig
from encore_jax.recipes.ramo_config import AdapterConfig, RamoConfig
from encore_jax.recipes.stages.adapter import adopt_adapter, train_adapter
from encore_jax.recipes.stages.arms import label
from encore_jax.recipes.stages.frozen import features
from encore_jax.recipes.stages.ingest import ingest
from encore_jax.recipes.stages.predicted_rules import prediction_hashes
from encore_jax.recipes.stages.presented import Presented, present
from encore_jax.recipes.stages.probe import probe_digest
from encore_jax.recipes.stages.ramo_results import evaluate_ramo, report_ramo, show_ramo
from encore_jax.recipes.stages.records import PAIRS, rule_pool, source_hashes
from encore_jax.recipes.stages.reward_arms import train_arms
from encore_jax.recipes.stages.rule_ratings import rate_rules
from encore_jax.rules import RulePool


class AdapterChain(Chain):
    """Critical rules of rated comparisons, learnt from their texts."""

    STAGES = ("ingest", "features", "rate", "adapter", "evaluate", "report")

    def shown(self) -> Presented:
        """The comparisons, split and ordered."""
        return present(self.at["ingest"], self.config.seed, **self.split())

    def adapter_config(self) -> AdapterConfig:
        """The configuration of the adapter alone."""
        return self.config

    def training(self, stage: str) -> TrainConfig | None:
        return self.adapter_config().train if stage == "adapter" else super().training(stage)

    def split(self) -> dict:
        """What decides which comparison is in which part."""
        return {"test_fraction": self.config.data.test_fraction, "adapter_fraction": 1.0}

    def plan(self) -> Plan:
        config, at, settings, outputs = self.config, self.at, self.settings, self.outputs
        from_heads, needed = config.rate.source == "heads", frozen_parts(config)
        before = self.STAGES[:-2]
        probe = {"probe": probe_digest(over_refusal_probe())} if "probe" in needed else {}
        return {
            "ingest": (
                lambda: settings("data") | {"sources": source_hashes(config.data, rated=from_heads)},
                lambda folder: ingest(config.data, config.seed, folder, need_rated=from_heads, need=PAIRS),
            ),
            "features": (
                lambda: settings("model") | outputs("ingest") | {"needed": needed, "weights": self.weights} | probe,
                lambda folder: features(config.model, self.shown(), at["ingest"], needed, folder),
            ),
            "rate": (
                lambda: settings("rate", "select") | self.split() | outputs("ingest", "features"),
                lambda folder: rate_rules(config, self.shown(), at["ingest"], at["features"], folder),
            ),
            "adapter": (self.adapter_inputs, self.make_adapter),
            "evaluate": (
                lambda: self.everything() | outputs(*before),
                lambda folder: evaluate_ramo(config, self.shown(), {stage: at[stage] for stage in before}, folder),
            ),
            "report": (
                lambda: outputs("evaluate"),
                lambda folder: report_ramo(at["evaluate"], folder),
            ),
        }

    def adapter_inputs(self) -> dict:
        """What the adapter depends on."""
        return (
            self.settings("data", "model", "rate", "select")
            | self.split()
            | self.outputs("ingest", "features", "rate")
            | {"train": self._plain["train"], "weights": self.weights}
        )

    def make_adapter(self, folder: Path) -> None:
        """Trains it."""
        at = self.at
        train_adapter(
            self.adapter_config(), self.shown(), self.weights, at["ingest"], at["features"], at["rate"], folder
        )

    def show(self) -> None:
        show_ramo(self.at["report"])


class RamoChain(AdapterChain):
    """The adapter, labels by the rules it and its rivals select, and reward models trained on them."""

    STAGES = ("ingest", "features", "rate", "adapter", "label", "train", "evaluate", "report")

    def adapter_config(self) -> AdapterConfig:
        config = self.config
        shared = {name: getattr(config, name) for name in ("name", "seed", "data", "model", "mesh", "rate", "select")}
        where = config.adapter.checkpoints or config.train.checkpoints  # of a pod, what its processes share
        train = dataclasses.replace(config.adapter, checkpoints=where)
        return AdapterConfig(**shared, train=train, simulate=config.simulate, evaluate=config.evaluate)

    def split(self) -> dict:
        share = 0.0 if self.config.adapter_from else self.config.adapter_fraction
        return super().split() | {"adapter_fraction": share}

    def adapter_inputs(self) -> dict:
        source = self.config.adapter_from
        if not source:
            return super().adapter_inputs() | {"train": self._plain["adapter"]}
        return self.outputs("ingest") | {
            "adopted": prediction_hashes(Path(source)),
            "pool": rule_pool(self.config.data).digest,
        }

    def make_adapter(self, folder: Path) -> None:
        """Trains it, or takes over another run's predictions."""
        source = self.config.adapter_from
        if not source:
            return super().make_adapter(folder)
        pool = RulePool.from_yaml(self.at["ingest"] / "pool.yaml")
        return adopt_adapter(Path(source), self.shown(), pool, folder)

    def plan(self) -> Plan:
        config, at, settings, outputs = self.config, self.at, self.settings, self.outputs
        return super().plan() | {
            "label": (
                lambda: settings("select", "train") | self.split() | outputs("ingest", "rate", "adapter"),
                lambda folder: label(config, self.shown(), at["rate"], at["adapter"], folder),
            ),
            "train": (
                lambda: (
                    settings("model", "train")
                    | self.split()
                    | outputs("ingest", "features", "adapter", "label")
                    | {"weights": self.weights}
                ),
                lambda folder: train_arms(
                    config, self.shown(), self.weights, at["features"], at["adapter"], at["label"], folder
                ),
            ),
        }


def frozen_parts(config: AdapterConfig | RamoConfig) -> tuple[str, ...]:
    """The fields of `Features` that the run's methods need, in their order."""
    ramo = isinstance(config, RamoConfig)
    adapter = config.adapter if ramo else config.train
    heads = config.rate.source == "heads"
    wanted = {
        "response": heads or (ramo and config.train.method == "heads"),
        "pair": adapter.method == "heads" and not (ramo and config.adapter_from),
        "rated": heads,
        "probe": heads or (ramo and config.train.method == "heads"),
    }
    return tuple(name for name, is_wanted in wanted.items() if is_wanted)
