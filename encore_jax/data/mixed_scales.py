"""Ratings of one rule on two scales: fractions from 0 to 1 among grades, grades among percentages.

Four signs tell them, each for every usual end of a narrower scale that others reach far beyond:

- **grain**: whoever gives 0.3 and 0.7 gives 1.3 as well, where the scale is longer. All ratings that are finer than
  those beyond the end lie before it, which chance explains with a hypergeometric probability (Fisher's exact test).
- **edge**: the number of ratings drops at the end, and neither before nor after it.
- **block**: consecutive rows stay within the end, as those of a file that was appended do.
- **side**: ratings below 0 reach not nearly as far as those above, or the other way round.

Grain beyond chance is refused. The other signs have innocent readings as well (most answers are harmless, easy prompts
come first, nobody gave the lowest rating), so that both readings are told in a warning.

No sign shows a mixture whose scales end less than `FAR` times apart: 1 to 5 among 1 to 10 may be low grades. Most
shuffled mixtures of one grain are not seen either, unless about half of the ratings are on each scale
(`tests/data/test_scales_told_apart.py`).
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float

from encore_jax.data.orientation import Scale
from encore_jax.data.rating_cells import Cell, infer_scale
from encore_jax.errors import InputError

ENDS = (1.0, 3.0, 5.0, 7.0, 10.0)
"""How far the narrower of two scales reaches."""
FAR = 5.0
"""How many times as far the wider one does, where both have one grain; finer ones are told apart from twice on."""
STEPS = (10.0, 5.0, 1.0, 0.5, 0.25, 0.2, 0.1, 0.05, 0.01)
"""What the ratings of a scale may be multiples of, coarsest first; nobody rates in steps of 2, and a few even
grades beyond odd ones are no scale of their own."""
KNOWN = 1e4
"""How many steps large a float32 rating may be for its grid to be told."""
HEAP = 5.0
"""People round percentages to multiples of it, which makes edges of its own."""
LEAST = 2
"""Ratings that either scale has at least: a single one is a slip, which `encore_jax.data.stray` looks for."""
SURE, LIKELY = 1e-3, 0.1
"""Probabilities by chance below which grain is refused, and below which it is told."""
UNLIKELY = 1e-3
"""Probability below which an edge or a block is told."""
DROP = 3.0
"""How many times as much the number of ratings falls at an edge as beside it."""
UNEVEN = 1.5
"""How many times as far ratings reach on one side of 0 as on the other, on no usual scale."""


class SeveralScales(InputError):
    """Ratings rest on more than one scale, or on a slip, so that none can be inferred."""


class TwoScales(NamedTuple):
    """Which ratings are on the narrower scale, and which on the other, and what says so.

    Attributes:
      inside, beyond: ``[n]``; 0 and 1 may be on either.
      sure: whether it is to be refused.
      why: the sign, in words.
    """

    inside: Bool[np.ndarray, " n"]
    beyond: Bool[np.ndarray, " n"]
    sure: bool
    why: str


def two_scales(values: Float[np.ndarray, " n"]) -> TwoScales | None:
    """The two scales that one rule's ratings are on, or may be on; None if nothing says so.

    Args:
      values: all ratings of a rule, in the order of their rows.

    >>> found = two_scales(np.array([1.0, 2, 3, 4, 5, 0.2, 0.5, 0.9] * 9))
    >>> found.inside.sum(), found.sure, found.why
    (np.int64(27), True, 'all 27 that are no multiples of 1 are at most 1')
    >>> two_scales(np.array([1.0, 2.5, 3, 4, 5, 0.5, 0.5, 0.5] * 9)) is None  # one grain
    True
    """
    size = np.abs(values)
    if not len(values) or _geometric(np.unique(size[size > 0])):
        return None
    grains = [found for end in ENDS if (found := _grain(values, size, end)) is not None]
    if grains:
        return min(grains, key=lambda pair: pair[0])[1]
    others = [found for sign in (_block, _edge) for end in ENDS if (found := sign(values, size, end)) is not None]
    return _side(values) or (min(others, key=lambda pair: pair[0])[1] if others else None)


def _geometric(levels: np.ndarray) -> bool:
    """Whether levels are equally far apart as powers: 0.01, 0.1, 1, 10, 100 or 1, 2, 5, 10, 20, 50."""
    if len(levels) < 4 or levels[-1] < 50 * levels[0]:
        return False
    ratios = levels[1:] / levels[:-1]
    return bool(ratios.min() > 1.4 and ratios.max() <= 2 * ratios.min())


def off_grid(values: np.ndarray, step: float) -> np.ndarray:
    """Which values are no multiples of a step, but for rounding to float32."""
    return np.abs(values / step - np.round(values / step)) > 1e-5 * np.maximum(np.abs(values / step), 1)


def step_of(values: np.ndarray) -> float | None:
    """The coarsest step that all values are multiples of; None of continuous ones, and of those too large to tell."""
    largest = float(np.abs(values).max(initial=0.0))
    return next((step for step in STEPS if largest <= KNOWN * step and not off_grid(values, step).any()), None)


def _grain(values: np.ndarray, size: np.ndarray, end: float) -> tuple[float, TwoScales] | None:
    """Ratings up to the end that are finer than all beyond it, and the probability that chance has put them there."""
    before, after = size <= end, size > end
    whole = end > 1
    if after.sum() < LEAST or size.max() < (FAR * end if whole else 2 * end):
        return None
    step = step_of(size[after])
    if step is None or len(np.unique(size[after])) < 2:
        return None
    finer = before & off_grid(values, step)
    if finer.sum() < LEAST or len(np.unique(values[finer])) < (3 if whole else 2):
        return None
    from scipy import stats  # takes a second to import

    p = float(stats.hypergeom.sf(finer.sum() - 1, len(values), before.sum(), finer.sum()))
    if p >= LIKELY:
        return None
    why = f"all {finer.sum():,} that are no multiples of {step:g} are at most {end:g}"
    inside = finer | (before & (size > 1)) if whole else finer
    return p, TwoScales(inside, after, p < SURE and not _coarsens(size[after]), why)


def _coarsens(size: np.ndarray) -> bool:
    """Whether ratings get coarser as they get larger, as those of somebody who rounds to one digit do."""
    split = float(np.sqrt(size.min() * size.max()))
    low, high = size[size <= split], size[size > split]
    if len(np.unique(low)) < 3 or len(np.unique(high)) < 2:
        return False
    steps = step_of(low), step_of(high)
    return steps[0] is not None and steps[1] is not None and steps[0] < steps[1]


def _edge(values: np.ndarray, size: np.ndarray, end: float) -> tuple[float, TwoScales] | None:
    """A drop at the end, beside which there is none: in windows of half the narrower scale, two on either side."""
    if size.max() < FAR * end or values.min() < 0:
        return None
    smooth = values[(values % HEAP != 0) | (end < HEAP)]
    width = 1.0 if end == 1 and not off_grid(values, 1).any() else end / 2
    steps = end + width * np.array([-2, -1, 0, 1, 2])
    counts = [int(((low < smooth) & (smooth <= high)).sum()) for low, high in zip(steps, steps[1:], strict=False)]
    if width == end == 1:
        counts[0] = int((smooth == 0).sum())
    far, before, after = values > end + 2 * width, counts[1], counts[2]
    if far.sum() < max(LEAST, 0.01 * len(values)) or before < 2 * LEAST:
        return None
    falls = [(counts[i] + 1) / (counts[i + 1] + 1) for i in (0, 2)]
    odds = DROP * max(1.0, *falls)
    from scipy import stats  # takes a second to import

    p = float(stats.binom.sf(before - 1, before + after, odds / (1 + odds)))
    if p >= UNLIKELY:
        return None
    inside = (values > end - width) & (values <= end)
    why = f"{before:,} ratings lie just below {end:g}, and only {after:,} just above it"
    return p, TwoScales(inside, values > end, False, why)


def _block(values: np.ndarray, size: np.ndarray, end: float) -> tuple[float, TwoScales] | None:
    """A run of rows that stay within the end and use all of that scale, where the others go beyond it."""
    after = size > end
    if size.max() < FAR * end or after.sum() < LEAST:
        return None
    stops = np.concatenate([[-1], np.flatnonzero(after), [len(values)]])
    longest = int(np.argmax(np.diff(stops)))
    start, stop = int(stops[longest]) + 1, int(stops[longest + 1])
    own, others = values[start:stop], len(values) - (stop - start)
    if len(np.unique(own)) < 3 or np.abs(own).max() < 0.9 * end or np.mean(np.abs(own) > end / 2) < 0.2:
        return None
    if (np.diff(own) >= 0).all() or (np.diff(own) <= 0).all() or not others:  # sorted by rating
        return None
    p = float(len(values) * (1 - after.sum() / (others + 1)) ** len(own))
    if p >= UNLIKELY:
        return None
    inside = np.zeros(len(values), bool)
    inside[start:stop] = True
    why = f"{len(own):,} rows one after the other are at most {end:g}"
    return p, TwoScales(inside, after, False, why)


def _side(values: np.ndarray) -> TwoScales | None:
    """Ratings on both sides of 0 that reach much farther on one, on no usual scale."""
    low, high = float(values.min()), float(values.max())
    scale = infer_scale([Cell(low), Cell(high)])
    if low >= 0 or high <= 0 or scale[0] == -scale[1]:
        return None
    near, far = sorted((-low, high))
    beyond = np.abs(values) > near
    inside = values < 0 if near == -low else values > 0
    if far < UNEVEN * near or beyond.sum() < LEAST:
        return None
    return TwoScales(inside, beyond, False, f"they reach {near:g} on one side of 0, and {far:g} on the other")


def check_mixed(
    values: Mapping[str, Float[np.ndarray, " n"]], place: Callable[[str, int], str], fix: str = "give their scale"
) -> None:
    """Refuses a rule whose ratings are on two scales; warns of one where they may be.

    Args:
      values: by rule, all its ratings.
      place: where a rule's i-th rating stands.
      fix: how the scale is given; LOWEST and HIGHEST in it become those of the wider scale.

    Raises:
      InputError: naming the rule, a rating of either kind, and both scales.

    >>> check_mixed({"kind": np.array([1.0, 2, 3, 4, 5, 0.2, 0.5, 0.9] * 9)}, "line {1}".format)
    ... # doctest: +ELLIPSIS, +NORMALIZE_WHITESPACE
    Traceback (most recent call last):
    encore_jax.data.mixed_scales.SeveralScales: line 5, rule 'kind': this rating is 0.2: 27 ratings lie on the scale
    from 0 to 1, and 36 on that from 1 to 5 (as at line 1: 2; all 27 that are no multiples of 1 are at most 1)...
    """
    for rule, own in values.items():
        own = np.asarray(own, np.float64)
        found = two_scales(own)
        if found is None:
            continue
        rarer, other = sorted((found.inside, found.beyond), key=np.sum)
        i, j = int(np.argmax(rarer)), int(np.argmax(other))
        (low, high), (start, end) = (_scale(own[part]) for part in (found.inside, found.beyond))
        lie, on = ("lie", "on") if found.sure else ("may lie", "may be on")
        problem = (
            f"this rating is {own[i]:g}: {found.inside.sum():,} ratings {lie} on the scale from {low:g} to {high:g}, "
            f"and {found.beyond.sum():,} {on} that from {start:g} to {end:g} (as at {place(rule, j)}: {own[j]:g}; "
            f"{found.why})"
        )
        where = ", ".join(part for part in (place(rule, i), f"rule {rule!r}") if part)
        first, last = _scale(own)
        how = fix.replace("LOWEST", f"{first:g}").replace("HIGHEST", f"{last:g}")
        told = SeveralScales(problem, where=where, fix=f"bring them to one scale; if they are on one, {how}")
        if found.sure:
            raise told
        logging.getLogger(__name__).warning("%s. They are read by one, from %g to %g", told, first, last)


def _scale(values: np.ndarray) -> Scale:
    return infer_scale([Cell(float(values.min())), Cell(float(values.max()))])
