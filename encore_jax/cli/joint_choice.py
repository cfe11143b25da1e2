"""Which of a joint run's models and rewards is meant: what the command line may say, before a run is read."""

from __future__ import annotations

from typing import NamedTuple

from encore_jax.errors import InputError

ARMS = ("preferences", "rules", "joint")
"""What `--arm` may say: the arms of a joint run (`encore_jax.recipes.joint_config.LOSS_OF`)."""
PREFERENCE, RULES = "preference", "rules"
HEAD_NAMES = (PREFERENCE, RULES)
"""What `--head` may say."""


class Choice(NamedTuple):
    """A model of a joint run, and its reward; "" where the run leaves no choice, or the usual one is meant.

    Attributes:
      arm: of `ARMS`; "joint" unless another is named.
      trained_on: the domain.
      head: of `HEAD_NAMES`: the preference head, or the rule heads by ENCORE's weights. The preference head unless
        another is named, or the arm has none.
    """

    arm: str = ""
    trained_on: str = ""
    head: str = ""

    def check_unused(self, where: str) -> None:
        """Raises InputError for a choice that a run with one model does not leave."""
        flags = {"--arm": self.arm, "--trained-on": self.trained_on, "--head": self.head}
        if used := [flag for flag, value in flags.items() if value]:
            problem = "the run has one model, and its heads compose as it composed them"
            fix = f"leave out {' and '.join(used)}; --weights composes the heads otherwise"
            raise InputError(problem, where=where, fix=fix)
