"""Which way round the judges of a panel see things: some may go against the others, as if on a scale turned round.

A factor has no sign of its own, and a panel has two kinds of sign: a judge may go against the other judges on every
rule, and a rule may go against the other rules with every judge. The loadings of judge × rule tell one from the other:
where both occur, they are about the product of a judge's and a rule's sign.

Letters: Q judges, K rules.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int

from encore_jax.composition.camps import LEAST_LOADING


class Ways(NamedTuple):
    """Which way round each judge and each rule follows the one factor.

    Attributes:
      judges: ``[Q]``, 1 or -1; 0 for a judge that hardly follows it.
      rules: ``[K]``, likewise; most are 1.
    """

    judges: Int[np.ndarray, " Q"]
    rules: Int[np.ndarray, " K"]

    @property
    def judges_differ(self) -> bool:
        """Whether some judges go one way and some the other."""
        return bool((self.judges > 0).any() and (self.judges < 0).any())


def ways(loading: Float[np.ndarray, "Q K"]) -> Ways:
    """The signs of judges and rules whose product the loadings follow best.

    Args:
      loading: of every judge's rating of every rule on the one factor, NaN where unknown.

    >>> found = ways(np.array([[0.8, -0.7, 0.6], [0.7, -0.6, 0.8], [-0.6, 0.7, -0.5], [0.1, 0.0, -0.1]]))
    >>> found.judges.tolist(), found.rules.tolist()
    ([1, 1, -1, 0], [1, -1, 1])
    """
    known = np.nan_to_num(loading)
    _, _, rows = np.linalg.svd(known, full_matrices=False)
    rule = np.where(rows[0] < 0, -1, 1)
    judge = known @ rule
    ways = Ways(_sure(judge / len(rule)), _sure(np.where(judge < 0, -1, 1) @ known / len(judge)))
    # Where all judges go one way, what goes the other are rules; else most rules mean that more is better.
    wrong = rule.sum() < 0 if ways.judges_differ else judge.sum() < 0
    return Ways(-ways.judges, -ways.rules) if wrong else ways


def _sure(mean: np.ndarray) -> Int[np.ndarray, " n"]:
    return np.where(np.abs(mean) < LEAST_LOADING, 0, np.where(mean < 0, -1, 1))
