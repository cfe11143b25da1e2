"""The configuration of joint training: one preference head and K rule heads on one backbone."""

import dataclasses
from dataclasses import field

from encore_jax.composition.settings import CompositionSettings
from encore_jax.errors import InputError
from encore_jax.parallel.mesh import MeshSettings
from encore_jax.recipes.checks import one_of, require
from encore_jax.recipes.config import DataConfig, EvaluateConfig, ModelConfig, TrainConfig, check_parts
from encore_jax.recipes.run_config import RECIPES, RunConfig

LOSS_OF = {"preferences": "bradley_terry", "rules": "regression", "joint": "joint"}
"""The loss of every arm: preferences alone, rules alone, or both."""
DOMAINS = ("source", "subset")
"""Fields of a comparison that may say which distribution it is of."""


@dataclasses.dataclass
class JointTrainConfig(TrainConfig):
    """How every arm is trained: from the same initial values, on the same texts in the same order.

    Attributes:
      arms: which, of `LOSS_OF`.
      train_on: domains; every arm is trained on each alone, and judged on the held-out prompts of all. None: one
        training on all of them together.
    """

    method: str = "gradient"
    loss: str = "joint"
    trainable: str = "lora"
    arms: tuple[str, ...] = tuple(LOSS_OF)
    train_on: tuple[str, ...] = ()

    def check(self) -> None:
        """Raises InputError."""
        one_of("train.method", self.method, ("gradient",))
        one_of("train.loss", self.loss, ("joint",))
        one_of("train.keep_best", self.keep_best, ("", "loss"))
        if self.trainable == "heads":
            raise InputError(
                "leaves the backbone frozen, so the two losses share no parameter and joint training is none",
                where="config.train.trainable",
                fix="use lora or all; `encore fit` trains rule heads on a frozen backbone",
            )
        for arm in self.arms:
            one_of("train.arms", arm, tuple(LOSS_OF))
        require("train.arms", len(set(self.arms)) == len(self.arms) > 0, "holds at least one arm, none twice")
        require("train.train_on", len(set(self.train_on)) == len(self.train_on), "holds no domain twice")
        super().check()


@dataclasses.dataclass
class JointConfig(RunConfig):
    """Preferences alone, rules alone, and both together, judged in and out of distribution.

    Attributes:
      domain: the field of comparisons that says which distribution they are of: "source" (of several files that were
        joined, the file) or "subset".
    """

    data: DataConfig = field(default_factory=lambda: DataConfig(source="files"))
    model: ModelConfig = field(default_factory=ModelConfig)
    mesh: MeshSettings = field(default_factory=MeshSettings)
    train: JointTrainConfig = field(default_factory=JointTrainConfig)
    domain: str = "source"
    compose: CompositionSettings = field(default_factory=CompositionSettings)
    evaluate: EvaluateConfig = field(default_factory=EvaluateConfig)

    @property
    def recipe(self) -> str:
        return f"{RECIPES}.joint"

    def check(self) -> None:
        """Raises InputError for a choice that cannot be."""
        one_of("domain", self.domain, DOMAINS)
        check_parts(self, "data", "model", "train", "mesh", "compose", "evaluate")
