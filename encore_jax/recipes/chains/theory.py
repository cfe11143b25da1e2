"""The theory: claims measured, and reported."""

from __future__ import annotations

from pathlib import Path

from encore_jax.evaluation.view import View
from encore_jax.recipes.chain import Chain, Plan
from encore_jax.recipes.manifest import file_sha256
from encore_jax.recipes.stages.theory import check_claims, report_theory, show_theory


class TheoryChain(Chain):
    """Every claim with its verdict."""

    STAGES = ("check", "report")

    def plan(self) -> Plan:
        config, at = self.config, self.at
        for path in config.views:
            View.load(Path(path))  # refused before anything is simulated
        return {
            "check": (
                lambda: self.everything() | {"views": [file_sha256(Path(path)) for path in config.views]},
                lambda folder: check_claims(config, folder),
            ),
            "report": (
                lambda: self.outputs("check"),
                lambda folder: report_theory(at["check"], folder),
            ),
        }

    def show(self) -> None:
        show_theory(self.at["report"])
