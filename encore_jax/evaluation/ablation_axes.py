"""The axes of an ablation: what its settings choose from, slowest first.

Draws of the training data, ways of measuring entropies, temperatures, subsets of the rules, agreement, replicates.

Letters: M subsets, K rules.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from encore_jax.errors import InputError
from encore_jax.evaluation.ablation_grid import MOST_ENUMERATED, Axis, Grid, all_subsets, sampled_subsets
from encore_jax.evaluation.ablation_tables import ENTROPY_AXES

DRAW_AXES = ("seed", "share")


class Draws(NamedTuple):
    """Draws of the training prompts, see `encore_jax.evaluation.ablation_tables.training_draws`."""

    seeds: tuple[int, ...] = (0,)
    shares: tuple[float, ...] = (1.0,)

    @property
    def axes(self) -> tuple[Axis, ...]:
        """One for each field."""
        return tuple(map(Axis, DRAW_AXES, self))


class Entropies(NamedTuple):
    """Ways of measuring entropies.

    Attributes:
      grids: of ratings, each "N levels" or "N bins".
      estimators, normalize, bases: see `encore_jax.composition.rating_entropy`.
    """

    grids: tuple[str, ...]
    estimators: tuple[str, ...]
    normalize: tuple[str, ...]
    bases: tuple[float, ...]

    @property
    def axes(self) -> tuple[Axis, ...]:
        """One for each field."""
        return tuple(map(Axis, ENTROPY_AXES, self))


class AblationAxes(NamedTuple):
    """All choices but the subset of the rules.

    Attributes:
      draws: of the training prompts.
      entropies: how they are measured.
      taus: temperatures; inf means equal weights.
      agreement: whether weights are multiplied by those of what the rules have in common, "no" or "yes".
      replicates: bootstrap replicates of the comparisons, beside the comparisons themselves.
    """

    draws: Draws
    entropies: Entropies
    taus: tuple[float, ...]
    agreement: tuple[str, ...] = ("no",)
    replicates: int = 0

    def grid(self, subsets: int) -> Grid:
        """The product of all axes, with so many subsets."""
        subset, replicate = Axis("subset", range(subsets)), Axis("replicate", range(self.replicates + 1))
        others = (Axis("tau", self.taus), subset, Axis("agreement", self.agreement), replicate)
        return Grid((*self.draws.axes, *self.entropies.axes, *others))


def rule_subsets(kind: str, rules: int, sampled: int = 10_000, seed: int = 0) -> np.ndarray:
    """Subsets of the rules, bool ``[M, K]``.

    Args:
      kind: "full" (all rules), "all" (every non-empty subset), "sampled", or "auto": all of them up to 16 rules,
        sampled beyond.
      rules: how many there are, K.
      sampled: how many subsets "sampled" draws.
      seed: of these.

    Raises:
      InputError: another kind, or all subsets of too many rules.
    """
    if kind not in ("auto", "full", "all", "sampled"):
        raise InputError(f"{kind!r} is no kind of subsets", where="subsets", fix="use auto, full, all or sampled")
    if kind == "auto":
        kind = "all" if rules <= MOST_ENUMERATED else "sampled"
    if kind == "full":
        return np.ones((1, rules), bool)
    return all_subsets(rules) if kind == "all" else sampled_subsets(rules, sampled, seed)
