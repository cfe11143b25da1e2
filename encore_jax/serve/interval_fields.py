"""The request field "intervals", and what an answer says then."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from encore_jax.reward.intervals import Intervals, no_intervals
from encore_jax.reward.scored import Scored
from encore_jax.serve.reading import read_flag


def asked_intervals(
    body: Mapping[str, Any], intervals: Intervals | None, mismatch: Sequence[str] = ()
) -> Intervals | None:
    """The intervals, if they are asked for.

    Raises:
      InputError: nobody has calibrated the model as it is.
    """
    if not read_flag(body, "intervals"):
        return None
    if intervals is None:
        raise no_intervals("intervals", mismatch)
    return intervals


def interval_ends(scored: Scored, rules: Sequence[str], intervals: Intervals | None, by_rule: bool) -> dict[str, Any]:
    """Ends of the rewards' intervals, and of each rule's; null for one at infinity, and where there is no score."""
    if intervals is None:
        return {}
    rewards = intervals.of_rewards(scored.rewards)
    result: dict[str, Any] = {"lower": _finite(rewards.lower), "upper": _finite(rewards.upper)}
    if by_rule:
        scores = intervals.of_scores(scored.scores)
        for name, values in (("scores_lower", scores.lower), ("scores_upper", scores.upper)):
            result[name] = dict(zip(rules, map(_finite, values.T), strict=True))
    return result


def promise(intervals: Intervals | None) -> dict[str, Any]:
    """What the intervals promise, and what they do not."""
    return {} if intervals is None else {"coverage": intervals.coverage, "notes": list(intervals.notes)}


def _finite(values: np.ndarray) -> list[float | None]:
    return [value if math.isfinite(value) else None for value in np.asarray(values, np.float64).tolist()]
