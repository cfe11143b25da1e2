"""The configuration of the theory's report."""

import dataclasses

from encore_jax.recipes.checks import require
from encore_jax.recipes.run_config import RECIPES, RunConfig


@dataclasses.dataclass
class TheoryConfig(RunConfig):
    """How much is simulated, and on which real ratings trained weights are compared with entropies.

    Attributes:
      pairs: in each simulation.
      repeats: of each simulation; they give the standard errors.
      views: files view-NAME.npz of runs' score stages; none leaves real ratings out.
      replicates: bootstrap replicates over a view's prompts.
    """

    name: str = "theory"
    pairs: int = 50_000
    repeats: int = 20
    views: tuple[str, ...] = ()
    replicates: int = 200

    @property
    def recipe(self) -> str:
        return f"{RECIPES}.theory"

    def check(self) -> None:
        """Raises InputError."""
        require("pairs", self.pairs >= 100, "is at least 100")
        require("repeats", self.repeats >= 3, "is at least 3")
        require("replicates", self.replicates >= 20, "is at least 20")
