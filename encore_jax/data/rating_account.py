"""Where the ratings of a file are: so many in, so many compared, and the others by reason, so that it adds up.

Letters: N comparisons, n responses of each, K rules.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from jaxtyping import Bool

BLANK = "in rows with a blank prompt or response"
AGAIN = "averaged with another of the same response and rule"
ALONE = "of responses that are alone with their prompt"
ONE_SIDED = "by a rule that rates no other response of the comparison"


def compared(where: Bool[np.ndarray, "N n K"]) -> tuple[int, dict[str, int]]:
    """How many ratings are compared with another one, and how many are not, by reason.

    Args:
      where: which ratings exist.

    >>> compared(np.array([[[True, True], [True, False]], [[True, True], [False, False]]]))
    ... # doctest: +NORMALIZE_WHITESPACE
    (2, {'by a rule that rates no other response of the comparison': 1,
         'of responses that are alone with their prompt': 2})
    """
    beside = where & (where.sum(1, keepdims=True) > 1)
    alone = where & (where.any(2).sum(1) == 1)[:, None, None]
    one_sided = where & ~beside & ~alone
    return int(beside.sum()), {ONE_SIDED: int(one_sided.sum()), ALONE: int(alone.sum())}


def account(given: int, lost: Mapping[str, int], where: np.ndarray, responses: bool = True) -> str:
    """The sentence.

    Args:
      given: ratings in the file.
      lost: ratings that were not taken over as they are, by reason.
      where: which of the others exist, ``[N, n, K]``; ``[N, K]`` where every response is alone with its prompt.
      responses: whether the file says which response is rated.

    >>> print(account(5, {BLANK: 2}, np.array([[[True], [True]], [[True], [False]]])))
    Ratings: 5 of 2 comparisons by 1 rule. 2 are compared. 3 are not: 2 in rows with a blank prompt or response; \
1 of responses that are alone with their prompt.
    """
    rules = f"{where.shape[-1]:,} rule{'s' * (where.shape[-1] != 1)}"
    if where.ndim == 2:
        used, others = int(where.sum()), dict(lost)
        head = f"Ratings: {given:,} of {len(where):,} responses by {rules}. {used:,} are used as they are, "
        head += "because no prompt has two responses." if responses else "because the file has no responses to compare."
    else:
        used, more = compared(where)
        others = dict(lost) | more
        head = f"Ratings: {given:,} of {len(where):,} comparisons by {rules}. {used:,} are compared."
    others = {reason: count for reason, count in others.items() if count}
    if unknown := given - used - sum(others.values()):
        others["for other reasons"] = unknown
    if not others:
        return head
    listed = "; ".join(f"{count:,} {reason}" for reason, count in others.items())
    return f"{head} {sum(others.values()):,} are not: {listed}."
