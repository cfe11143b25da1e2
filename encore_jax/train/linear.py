"""How strong a penalty: one search for the linear fits on frozen features, by what held-out data say."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, Int

from encore_jax.errors import InputError
from encore_jax.train.bradley_terry import bradley_terry_weights


class Search(NamedTuple):
    """What a search for a penalty found.

    Attributes:
      best: the penalty to use.
      tried: what every penalty was worth, in the order given.
    """

    best: float
    tried: dict[float, float]

    @property
    def told(self) -> dict[str, float]:
        """`tried` as JSON has it."""
        return {f"{penalty:g}": value for penalty, value in self.tried.items()}


def best_penalty(penalties: Sequence[float], worth: Callable[[float], float]) -> Search:
    """The penalty of the highest worth; ties go to the larger one, and NaN is worth nothing.

    Args:
      penalties: the grid, positive.
      worth: of a penalty, on held-out data; higher is better.

    Raises:
      InputError: the grid is empty or has a value that is not positive, or no penalty is worth a number.

    >>> best_penalty((0.1, 1.0, 10.0), lambda penalty: -abs(math.log10(penalty) - 0.5)).best
    10.0
    """
    if not penalties or not all(0 < penalty < math.inf for penalty in penalties):
        raise InputError(f"got {tuple(penalties)}", where="penalties", fix="give at least one, all of them positive")
    tried = {float(penalty): float(worth(penalty)) for penalty in penalties}
    known = [penalty for penalty, value in tried.items() if not math.isnan(value)]
    if not known:
        raise InputError("no penalty gives a finite fit", where="penalties", fix="add larger ones")
    return Search(max(known, key=lambda penalty: (tried[penalty], penalty)), tried)


def held_out_margins(
    difference: Float[np.ndarray, "N D"], fold: Int[np.ndarray, " N"], penalty: float
) -> Float[np.ndarray, " N"]:
    """Margins of comparisons by Bradley-Terry heads that saw none of their fold.

    Args:
      difference: fp32 ``[N, D]``, features of the preferred response minus those of the other.
      fold: ``[N]``; comparisons of one prompt must share a fold.
      penalty: λ of `bradley_terry_weights`.

    Raises:
      InputError: all comparisons are in one fold, or as `bradley_terry_weights`.
    """
    x_NxD, margin = jnp.asarray(difference, jnp.float32), np.zeros(len(difference), np.float32)
    folds = np.unique(fold)
    if len(folds) < 2:
        raise InputError(
            f"{len(difference)} comparisons are in {len(folds)} folds, so that nothing is held out",
            where="held_out_margins",
            fix="give comparisons of more prompts",
        )
    for held_out in (fold == f for f in folds):
        head = bradley_terry_weights(x_NxD, penalty, counts=jnp.asarray(~held_out, jnp.float32))
        margin[held_out] = np.asarray(difference[held_out], np.float32) @ np.asarray(head)
    return margin
