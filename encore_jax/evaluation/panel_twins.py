"""Judges of a panel that are one judge: their ratings are equal wherever both rate.

Letters: Q judges, N comparisons, n responses, K rules.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import numpy as np
from jaxtyping import Float

FEWEST_ALIKE = 20
"""Comparisons on fewer than this may be rated alike by chance."""


def twins(values: Float[np.ndarray, "Q N n K"], names: Sequence[str]) -> tuple[tuple[str, str, int], ...]:
    """Any two judges whose ratings are equal and not all the same, and on how many comparisons both rate.

    Args:
      values: ratings, NaN where there is none.
      names: of the Q judges.

    >>> a = np.arange(40.0).reshape(1, 20, 2, 1)
    >>> twins(np.concatenate([a, a, -a]), ["first", "copy", "other"])
    (('first', 'copy', 20),)
    """
    found = []
    for i, j in itertools.combinations(range(len(values)), 2):
        if _differ(values[i, :FEWEST_ALIKE], values[j, :FEWEST_ALIKE]) or _differ(values[i], values[j]):
            continue
        both = ~np.isnan(values[i]) & ~np.isnan(values[j])
        rated = values[i][both]
        count = int(both.any((1, 2)).sum())
        if count >= FEWEST_ALIKE and (rated != rated[0]).any():
            found.append((names[i], names[j], count))
    return tuple(found)


def twin_words(one: str, other: str, count: int) -> str:
    """What to know about two judges that are perhaps one."""
    return (
        f"{one} and {other} give equal ratings in all {count:,} comparisons that both rate. If these are ratings of "
        "one judge, perhaps in another order of rows, it counts twice: leave one out, or name both as its draws."
    )


def _differ(one: np.ndarray, other: np.ndarray) -> bool:
    return bool(((one != other) & ~np.isnan(one) & ~np.isnan(other)).any())
