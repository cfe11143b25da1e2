"""An ablation: a grid of settings decided on the cached scores of one view."""

from __future__ import annotations

from encore_jax.recipes.chain import Chain, Plan
from encore_jax.recipes.stages.ablation import decide_all, prepare
from encore_jax.recipes.stages.ablation_report import report, show
from encore_jax.recipes.stages.ablation_source import ablation_view, source_digests


class AblationChain(Chain):
    """What settings choose from, the decisions of all settings, and which choices matter."""

    STAGES = ("prepare", "decide", "report")
    PUBLISHED = ("results.json", "report.html", "choices.csv")

    def plan(self) -> Plan:
        config, at = self.config, self.at
        ablation_view(config)  # refused before anything is written
        # where the files lie, and how the run is called, changes no result
        config_of = {
            name: value for name, value in self._plain.items() if name not in ("name", "scores", "features", "pool")
        }
        return {
            "prepare": (
                lambda: {
                    "config": {n: v for n, v in config_of.items() if n != "part"},
                    "files": source_digests(config),
                },
                lambda folder: prepare(config, folder),
            ),
            "decide": (
                lambda: {"config": config_of} | self.outputs("prepare"),
                lambda folder: decide_all(config, at["prepare"], folder),
            ),
            "report": (
                lambda: self.everything() | self.outputs("prepare", "decide"),
                lambda folder: report(config, at["prepare"], at["decide"], folder),
            ),
        }

    def show(self) -> None:
        show(self.at["report"])
