"""The best setting of an ablation beside equal weights: how far ahead, and whether trying so many explains it.

The best of many settings is ahead by chance alone. So the chance of its lead, by a normal distribution whose standard
error is the bootstrap's, is multiplied by how many settings were tried (Bonferroni): too careful where settings are
alike, never too bold.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from statistics import NormalDist

import numpy as np

from encore_jax.evaluation.ablation_grid import Grid
from encore_jax.evaluation.ablation_results import REPLICATE, SUBSET, TAU, value_text

AGREEMENT = "agreement"
FEWEST_REPLICATES = 20
"""Bootstrap replicates below which a standard error is a guess."""


def best_setting(
    grid: Grid, index: int, subset: np.ndarray, accuracy_of: Callable[[list[int]], np.ndarray]
) -> dict[str, object]:
    """The setting with this number beside equal weights of all rules, everything else alike.

    Args:
      grid: of all settings.
      index: number of the best one, of the comparisons themselves (replicate 0).
      subset: bool ``[M, K]``, the rules of each value of the axis "subset".
      accuracy_of: accuracies ``[S, R]`` of settings, given the numbers of their first replicates.

    Returns:
      `settings`, how many were tried; `accuracy`; `values` on the axes that vary, but for the subset, and `rules`, how
      many of them take part; `minus_uniform`, None where no setting weighs equally; `equal`, whether no setting is
      better than that; `p`, corrected for all settings, None with fewer than 20 replicates.
    """
    names, replicates = list(grid.names), len(grid.axes[-1])
    digits = grid.digits(index)
    values = {
        axis.name: value_text(axis.values[d])
        for axis, d in zip(grid.axes, digits.tolist(), strict=True)
        if len(axis) > 1 and axis.name not in (REPLICATE, SUBSET)
    }
    rules = int(subset[digits[names.index(SUBSET)]].sum())
    if rules < subset.shape[1]:
        values["rules"] = f"{rules} of {subset.shape[1]}"
    found = {"settings": grid.size // replicates, "values": values, "minus_uniform": None, "equal": False, "p": None}
    reference = _uniform(grid, digits, subset)
    if reference is None:
        return found | {"accuracy": float(accuracy_of([index])[0, 0])}
    own, uniform = accuracy_of([index, reference]).astype(np.float64)
    gain = own - uniform
    found |= {"accuracy": float(own[0]), "minus_uniform": float(gain[0]), "equal": bool(gain[0] <= 0)}
    if replicates > FEWEST_REPLICATES:
        error = float(gain[1:].std(ddof=1))
        alone = 2 * NormalDist().cdf(-abs(gain[0]) / error) if error > 0 else float(gain[0] == 0)
        found["p"] = min(1.0, alone * found["settings"])
    return found


def _uniform(grid: Grid, digits: np.ndarray, subset: np.ndarray) -> int | None:
    """Number of the setting that weighs all rules equally and is else like these digits; None if there is none."""
    digits = digits.copy()
    for name, wanted in ((TAU, math.inf), (AGREEMENT, "no")):
        values = list(grid.axes[grid.names.index(name)].values)
        if wanted not in values:
            return None
        digits[grid.names.index(name)] = values.index(wanted)
    whole = np.flatnonzero(subset.all(1))
    if not whole.size:
        return None
    digits[grid.names.index(SUBSET)] = whole[0]
    return int(np.ravel_multi_index(digits, grid.shape))
