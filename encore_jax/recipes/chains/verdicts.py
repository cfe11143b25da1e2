"""LLM-as-a-judge on labelled pairs."""

from __future__ import annotations

from encore_jax.recipes.chain import Chain, Plan
from encore_jax.recipes.chains.rating import judging_model
from encore_jax.recipes.rating_config import RatingConfig
from encore_jax.recipes.stages.ingest import ingest
from encore_jax.recipes.stages.records import source_hashes
from encore_jax.recipes.stages.verdicts import judge_pairs, report_verdicts, show_verdicts


class VerdictChain(Chain):
    """Labelled pairs, an LLM judge's verdicts on them, and how the two agree."""

    STAGES = ("ingest", "rate", "report")
    PUBLISHED = ("results.json",)

    def plan(self) -> Plan:
        config: RatingConfig = self.config
        at, settings, outputs = self.at, self.settings, self.outputs
        return {
            "ingest": (
                lambda: settings("data") | {"sources": source_hashes(config.data, rated=False)},
                lambda folder: ingest(config.data, config.seed, folder, need_rated=False),
            ),
            "rate": (
                lambda: settings("judge") | outputs("ingest") | judging_model(self),
                lambda folder: judge_pairs(config, at["ingest"], folder.parent, folder),
            ),
            "report": (
                lambda: self.everything() | outputs("ingest", "rate"),
                lambda folder: report_verdicts(config, at["ingest"], at["rate"], folder),
            ),
        }

    def show(self) -> None:
        show_verdicts(self.config, self.at["report"])
