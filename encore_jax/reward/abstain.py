"""Rewards that abstain: what a trainer gets where a model's intervals say that it does not know.

Three policies, for a value with its interval ``[lower, upper]``:

- ``lower``: the lower end. A policy that is trained on it gains nothing where the reward may as well be low.
- ``clip``: the value, but at most and at least what was seen in the calibration. A policy that drives rewards beyond
  every rated response gains nothing there.
- ``mask``: the value, or nothing where the interval holds the threshold: whether the response is better or worse than
  that is not known.

A value without an interval of finite width is masked by ``lower`` and ``mask``.
"""

from __future__ import annotations

import dataclasses
import math
import numbers
from collections.abc import Sequence
from typing import Any

import numpy as np

from encore_jax.errors import InputError
from encore_jax.reward.intervals import Bounds

LOWER, CLIP, MASK = "lower", "clip", "mask"
POLICIES = (LOWER, CLIP, MASK)


@dataclasses.dataclass(frozen=True)
class Policy:
    """What becomes of a value that is not sure.

    Args:
      kind: "lower", "clip" or "mask".
      threshold: of "mask", on the scale of the rewards (of functions for single rules: of the ratings).

    Raises:
      InputError: no such policy, "mask" without a threshold, or a threshold that nothing reads.

    >>> bounds = Bounds(np.float32([0.25, 1.0]), np.float32([0.0, 0.75]), np.float32([0.5, 1.25]))
    >>> [Policy(kind, t).values(bounds, (0.125, 0.875)).tolist() for kind, t in
    ...  (("lower", None), ("clip", None), ("mask", 0.375))]
    [[0.0, 0.75], [0.25, 0.875], [nan, 1.0]]
    """

    kind: str
    threshold: float | None = None

    def __post_init__(self):
        if self.kind not in POLICIES:
            raise InputError(f"{self.kind!r} is unknown", where="policy", fix=f"use one of {', '.join(POLICIES)}")
        if self.kind == MASK:
            given = self.threshold
            if not _is_number(given):
                fix = "give the value that a response is to be known to be above or below, e.g. threshold=0.5"
                raise InputError(f"is {given!r}", where="threshold", fix=fix)
        elif self.threshold is not None:
            raise InputError(f"policy {self.kind!r} does not read it", where="threshold", fix="leave it out")

    def values(self, bounds: Bounds, ends: Sequence[float]) -> np.ndarray:
        """What is given instead of the values; NaN for nothing.

        Args:
          bounds: values and intervals, of any shape.
          ends: lowest and highest value of the calibration.
        """
        value, lower, upper = bounds
        if self.kind == CLIP:
            return np.clip(value, *(np.float32(end) for end in ends))
        known = np.isfinite(lower) & np.isfinite(upper)
        if self.kind == LOWER:
            return np.where(known, lower, np.nan).astype(np.float32)
        sure = known & ((lower > self.threshold) | (upper < self.threshold))
        return np.where(sure, value, np.nan).astype(np.float32)


def policy_of(policy: str | None, threshold: float | None) -> Policy | None:
    """The policy, None without one.

    Raises:
      InputError: see `Policy`.
    """
    if policy is not None:
        return Policy(policy, threshold)
    if threshold is not None:
        raise InputError("nothing reads it", where="threshold", fix="say policy='mask', or leave it out")
    return None


def check_given(policy: Policy | None, too_long: Any, abstain: Any) -> None:
    """Raises InputError unless both are None or finite numbers, and `abstain` has a policy that may ask for it.

    Args:
      policy: see `policy_of`.
      too_long, abstain: what a trainer is given where there is no reward, and where the policy holds one back.
    """
    for name, value in (("too_long", too_long), ("abstain", abstain)):
        if value is not None and not _is_number(value):
            raise InputError(f"is {value!r}", where=name, fix="give a number, or None for no reward")
    if abstain is not None and policy is None:
        raise InputError(
            "nothing reads it", where="abstain", fix="say which policy holds rewards back, or leave it out"
        )


def _is_number(value: Any) -> bool:
    """Whether it is a finite number; a truth value is none."""
    return isinstance(value, numbers.Real) and not isinstance(value, bool) and math.isfinite(value)
