"""One head trained on preferences: nothing is rated and nothing composed."""

from __future__ import annotations

from encore_jax.recipes.chain import Chain, Plan
from encore_jax.recipes.stages.agreement import agreement, report_agreement, show_agreement
from encore_jax.recipes.stages.ingest import ingest
from encore_jax.recipes.stages.preferences import train_preferences
from encore_jax.recipes.stages.records import source_hashes


class PreferenceChain(Chain):
    """A Bradley-Terry reward model, and how it agrees with people on held-out comparisons."""

    STAGES = ("ingest", "train", "evaluate", "report")

    def plan(self) -> Plan:
        config, at, settings, outputs = self.config, self.at, self.settings, self.outputs
        return {
            "ingest": (
                lambda: settings("data") | {"sources": source_hashes(config.data, rated=False)},
                lambda folder: ingest(config.data, config.seed, folder, need_rated=False),
            ),
            "train": (
                lambda: settings("data", "model", "train") | outputs("ingest") | {"weights": self.weights},
                lambda folder: train_preferences(config, self.model(), self.weights, at["ingest"], folder),
            ),
            "evaluate": (
                lambda: self.everything() | outputs("ingest", "train"),
                lambda folder: agreement(config, at["ingest"], at["train"], folder),
            ),
            "report": (
                lambda: outputs("evaluate"),
                lambda folder: report_agreement(at["evaluate"], folder),
            ),
        }

    def show(self) -> None:
        show_agreement(self.at["report"])
