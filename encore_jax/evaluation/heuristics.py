"""Baselines that read no rule: does the response refuse, and is it short? A reward model must beat these."""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np

_APOLOGY = r"(?:i(?:'| a)?m|we(?:'| a)?re) (?:really |very |so |truly )?(?:sorry|afraid|unable|not able)"
_CANNOT = r"(?:i|we) (?:just |simply |really )?(?:can't|cannot|can not|won't|will not|couldn't|must decline|decline to)"
_POLICY = (
    r"(?:as an ai|not (?:appropriate|comfortable|able to (?:help|assist|provide))|against my (?:guidelines|policy))"
)
REFUSAL = re.compile(rf"\b(?:{_APOLOGY}|{_CANNOT}|{_POLICY}|sorry, (?:but|i))\b", re.IGNORECASE)
WINDOW = 200
"""Characters from the beginning in which a refusal shows."""


def is_refusal(response: str) -> bool:
    """Whether the response opens like a refusal (English phrases; a heuristic, not a classifier).

    >>> is_refusal("I'm sorry, but I can't help with that."), is_refusal("Sure, here is the recipe.")
    (True, False)
    """
    return REFUSAL.search(response.replace("’", "'")[:WINDOW]) is not None


def heuristic_rewards(responses: Sequence[Sequence[str]]) -> dict[str, np.ndarray]:
    """Rewards ``[N, n]`` by name: "refusal" (1 if it refuses) and "shorter" (minus the length in characters)."""
    refusal = np.array([[is_refusal(text) for text in row] for row in responses], np.float32)
    shorter = np.array([[-len(text) for text in row] for row in responses], np.float32)
    return {"refusal": refusal, "shorter": shorter}
