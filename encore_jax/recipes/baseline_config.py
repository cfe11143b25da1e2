"""The configuration of the baselines stage."""

import dataclasses
from dataclasses import field

from encore_jax.recipes.checks import require
from encore_jax.settings import Settings
from encore_jax.train.settings import PENALTIES, GateSettings


@dataclasses.dataclass
class BaselineConfig(Settings):
    """Methods that are no weighting of the rules; they need a frozen backbone (train.method "ridge").

    Attributes:
      gate: ArmoRM's prompt-dependent weights; none with 0 steps, the default: fitting takes minutes, and a model of
        your own rules does not need it. 2000 steps are the published recipe, which the quickstart compares.
      balanced_gate: a second gate that differs from the first only in the scale it begins with, taken from the
        training margins (`encore_jax.train.gating.balanced_scale`); without gate.steps there is none.
      penalties: to choose from for a single Bradley-Terry head on the features; () leaves it out.
      verdicts: file of an LLM judge's verdicts on the comparisons, see `encore_jax.evaluation.verdicts`; "" for none.
    """

    gate: GateSettings = field(default_factory=lambda: GateSettings(steps=0))
    balanced_gate: bool = True
    penalties: tuple[float, ...] = PENALTIES
    verdicts: str = ""

    def check(self) -> None:
        """Raises InputError."""
        require("baselines.gate.steps", self.gate.steps >= 0, "is 0 (no gate) or more")
        for name in ("layers", "width", "batch"):
            require(f"baselines.gate.{name}", getattr(self.gate, name) >= 1, "is at least 1")
        for name in ("temperature", "scale", "lr"):
            require(f"baselines.gate.{name}", getattr(self.gate, name) > 0, "is positive")
        require("baselines.gate.dropout", 0 <= self.gate.dropout < 1, "is at least 0 and below 1")
        require("baselines.gate.weight_decay", self.gate.weight_decay >= 0, "is not negative")
        require("baselines.penalties", all(penalty > 0 for penalty in self.penalties), "holds positive values")
