"""Rule heads, composed: the stages of ENCORE."""

from __future__ import annotations

from pathlib import Path

from encore_jax.data.probes import over_refusal_probe
from encore_jax.recipes.chain import Chain, Plan
from encore_jax.recipes.config import ExperimentConfig
from encore_jax.recipes.stages.audit import audit, publish
from encore_jax.recipes.stages.baselines import baselines, verdicts_sha256
from encore_jax.recipes.stages.compose import compose
from encore_jax.recipes.stages.evaluate import evaluate
from encore_jax.recipes.stages.ingest import ingest
from encore_jax.recipes.stages.probe import probe_digest
from encore_jax.recipes.stages.rate import rate
from encore_jax.recipes.stages.records import source_hashes
from encore_jax.recipes.stages.report import report, show
from encore_jax.recipes.stages.score import score
from encore_jax.recipes.stages.text_features import text_features
from encore_jax.recipes.stages.train import train


class HeadsChain(Chain):
    """Heads trained on ratings, composed by every method, evaluated on held-out comparisons.

    A frozen backbone is loaded by stage features, and by no other. Where training changes it there is no such stage.
    """

    STAGES = ("ingest", "rate", "features", "train", "baselines", "score", "compose", "evaluate", "audit", "report")
    PUBLISHED = ("results.json", "report.html", "audit.html")

    def __init__(self, config: ExperimentConfig, workdir: Path):
        if config.train.method != "ridge":  # training changes the backbone, so no features are those of every stage
            self.STAGES = tuple(stage for stage in self.STAGES if stage != "features")
        super().__init__(config, workdir)

    def plan(self) -> Plan:
        config, at, settings, outputs = self.config, self.at, self.settings, self.outputs
        made = ("ingest", "rate", "train", "score", "compose")
        frozen = ("features",) if "features" in self.STAGES else ()
        return {
            "ingest": (
                lambda: settings("data") | {"sources": source_hashes(config.data)},
                lambda folder: ingest(config.data, config.seed, folder),
            ),
            "rate": (
                lambda: settings("semi_synthetic") | outputs("ingest"),
                lambda folder: rate(config.semi_synthetic, config.seed, at["ingest"], folder),
            ),
            "features": (  # the same for every seed and every split
                lambda: (
                    {"model": self._plain["model"], "probe": probe_digest(over_refusal_probe())}
                    | outputs("ingest")
                    | {"weights": self.weights}
                ),
                lambda folder: text_features(config, at["ingest"], at["rate"], folder),
            ),
            "train": (
                lambda: (
                    settings("data", "model", "train") | outputs("ingest", "rate", *frozen) | {"weights": self.weights}
                ),
                lambda folder: train(config, self.weights, at["ingest"], at["rate"], at.get("features"), folder),
            ),
            "baselines": (
                lambda: (
                    settings("data", "train", "baselines")
                    | outputs("ingest", *frozen, "train")
                    | {"verdicts": verdicts_sha256(config.baselines)}
                ),
                lambda folder: baselines(config, at["ingest"], at.get("features"), at["train"], folder),
            ),
            "score": (
                lambda: settings("data", "semi_synthetic") | outputs("ingest", "rate", *frozen, "train", "baselines"),
                lambda folder: score(
                    config, at["ingest"], at["rate"], at.get("features"), at["train"], at["baselines"], folder
                ),
            ),
            "compose": (
                lambda: settings("compose") | outputs("train", "score"),
                lambda folder: compose(config, at["train"], at["score"], folder),
            ),
            "evaluate": (
                lambda: self.everything() | outputs(*made, "baselines"),
                lambda folder: evaluate(config, *(at[stage] for stage in made), at["baselines"], folder),
            ),
            "audit": (
                lambda: settings("data", "train") | {"name": config.name} | outputs(*made),
                lambda folder: audit(config, at["ingest"], at["train"], at["score"], at["compose"], folder),
            ),
            "report": (
                lambda: outputs("evaluate"),
                lambda folder: report(at["evaluate"], folder),
            ),
        }

    def show(self) -> None:
        publish(self.at["audit"])
        show(self.at["report"])
