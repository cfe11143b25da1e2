"""The study of real judges: measured, and reported."""

from __future__ import annotations

from encore_jax.data.readers.judged_sets import LAYOUT, judged_folders
from encore_jax.recipes.chain import Chain, Plan
from encore_jax.recipes.manifest import file_sha256
from experiments.studies.real_judges_stages import measure, report_judges, show_judges


class RealJudgesChain(Chain):
    """Entropy and agreement on every data set that there is."""

    STAGES = ("measure", "report")

    def plan(self) -> Plan:
        config, at = self.config, self.at
        folders = judged_folders(config.data.path)  # refused before anything is written

        def digests() -> dict:
            return {name: [file_sha256(folder / file) for file in LAYOUT[name]] for name, folder in folders.items()}

        return {
            "measure": (
                lambda: self.settings("tau", "replicates", "junk_draws") | {"files": digests()},
                lambda folder: measure(config, folders, folder),
            ),
            "report": (
                lambda: self.everything() | self.outputs("measure"),
                lambda folder: report_judges(at["measure"], folder),
            ),
        }

    def show(self) -> None:
        show_judges(self.at["report"])
