"""Whether held-out ratings are on the scale of those that calibrated a model: intervals hold no others."""

from __future__ import annotations

import logging
from collections.abc import Sequence

import numpy as np
from jaxtyping import Float

from encore_jax.data.mixed_scales import SeveralScales, off_grid, step_of
from encore_jax.reward.calibration import Calibration

APART, CLEARLY_APART = 4.0, 10.0
"""How much farther one scale reaches, where ratings of the other are fractions, and where they are whole numbers."""
BEYOND = 1.1
"""A rating so many times as high as all of the other set lies beyond them."""
CHANCE = 1e-6
"""Probability below which ratings of one scale do not happen to lie together so."""


def check_same_scale(
    calibration: Calibration,
    ratings: Float[np.ndarray, "R K"],
    prompt: np.ndarray,
    rules: Sequence[str],
    where: str = "rated",
) -> None:
    """Refuses held-out ratings that reach far beyond those of the calibration, or not nearly as far, and are finer;
    warns of them where they are no finer, because they may be all low by their prompts.

    Let s be the share of the set that reaches farther which lies beyond the other's end, one rating more counted as
    within. If both were of one scale and one kind of prompts, none of the other's n prompts would lie there with
    probability ``(1 - s)^n``.

    Args:
      calibration: of the model.
      ratings: by people or judges, NaN where there is none.
      prompt: ``[R]``, equal for responses to one prompt.
      rules: K names.
      where: what to call the ratings.

    Raises:
      InputError: naming the rule and both ranges.
    """
    for k, rule in enumerate(rules):
        mine, theirs = calibration.ratings[:, k], ratings[:, k]
        known = ~np.isnan(mine), ~np.isnan(theirs)
        if not (known[0].any() and known[1].any()):
            continue
        sets = [(mine[known[0]], calibration.prompt[known[0]]), (theirs[known[1]], np.asarray(prompt)[known[1]])]
        (near, near_prompts), (far, _) = sorted(sets, key=lambda one: float(np.abs(one[0]).max()))
        if _of_one_scale(near, len(np.unique(near_prompts)), far):
            continue
        low, high, least, most = (float(end) for one in (theirs, mine) for end in (np.nanmin(one), np.nanmax(one)))
        sure = _finer(near, far)
        problem = (
            f"its ratings lie between {low:g} and {high:g}, and those that calibrated the model between {least:g} and "
            f"{most:g}: they {'are' if sure else 'may be'} on two scales"
        )
        told = SeveralScales(problem, where=f"{where}, rule {rule!r}", fix="bring them to the scale of the calibration")
        if sure:
            raise told
        logging.getLogger(__name__).warning("%s; leave them if these prompts are only unlike those", told)


def _finer(near: np.ndarray, far: np.ndarray) -> bool:
    """Whether most ratings that reach less far are off the grid of the others."""
    step = step_of(far)
    return step is not None and 2 * int(off_grid(near, step).sum()) > len(near)


def _of_one_scale(near: np.ndarray, prompts: int, far: np.ndarray) -> bool:
    """Whether the ratings `near`, of so many prompts, may be on the scale of those that reach as far as `far` does."""
    end, most = float(np.abs(near).max()), float(np.abs(far).max())
    fractions = len(np.unique(near[near % 1 != 0])) > 1
    apart = APART if fractions else CLEARLY_APART
    if most < apart * max(end, 1e-9) or len(np.unique(near)) < (2 if fractions else 3):
        return True
    share = float((np.abs(far) > BEYOND * end).sum()) / (len(far) + 1)
    return (1 - share) ** prompts >= CHANCE
