"""The configuration of the study of real judges."""

import dataclasses
from dataclasses import field

from encore_jax.errors import InputError
from encore_jax.recipes.checks import require
from encore_jax.recipes.run_config import RunConfig
from encore_jax.settings import Settings


@dataclasses.dataclass
class JudgedDataConfig(Settings):
    """Where judged responses lie.

    Attributes:
      path: a folder that holds HANNA, LLMBar or LLM-Rubric, or folders of them; docs/reliability.md says which files.
    """

    path: str = ""


@dataclasses.dataclass
class RealJudgesConfig(RunConfig):
    """Which rules can be trusted, on published ratings by LLMs.

    Attributes:
      data: the data sets; those that are missing are left out, and named.
      tau: temperature of the entropy weights.
      replicates: bootstrap draws over prompts, or over responses where pairs share no prompt.
      junk_draws: how often the junk rules that are added to HANNA's are drawn.
    """

    name: str = "real_judges"
    data: JudgedDataConfig = field(default_factory=JudgedDataConfig)
    tau: float = 2.0
    replicates: int = 500
    junk_draws: int = 20

    @property
    def recipe(self) -> str:
        return "experiments.studies.real_judges"

    def check(self) -> None:
        """Raises InputError."""
        if not self.data.path:
            raise InputError("is empty", where="config.data.path", fix="give --config.data.path=DIR")
        require("tau", self.tau > 0, "is positive")
        require("replicates", self.replicates >= 20, "is at least 20")
        require("junk_draws", self.junk_draws >= 1, "is at least 1")
