"""Split-conformal intervals: a score, plus and minus the error that ratings nobody trained on allow for.

The radius is a quantile of absolute errors ``|s - ψ|`` (Vovk et al., 2005; Lei et al., 2018, arXiv 1604.04173). Errors
of responses to one prompt depend on each other, so what is exchangeable here are prompts. Every prompt counts once,
its n responses 1/n each, and one prompt more, whose error is infinite, stands for the new one: hierarchical conformal
prediction (Lee, Barber & Willett, 2023, arXiv 2306.06342, section 3). If the new prompt is exchangeable with the P
prompts of the calibration, the rating of a response drawn from it lies within ``s ± radius`` with probability at least
`coverage`, whatever the distribution, for any P. With one response to each prompt this is the usual quantile, the
``ceil((P + 1) coverage)``-th smallest error.

The error usually depends on the score, so the radius may: scores are divided into bands of about as many responses,
and each band has its own quantile (Mondrian conformal prediction), which holds within each band.

Letters: R rated responses, P prompts, B bands.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from encore_jax.composition.checks import numbers, real_number, refuse_masked, whole_number
from encore_jax.errors import InputError

COVERAGE = 0.9
"""Probability with which an interval holds the rating, unless told otherwise."""
COVERAGES = (0.001, 0.999)
"""Beyond these an interval holds next to no rating, or takes thousands of prompts to be finite."""
MOST_BANDS = 4
BAND_PROMPTS = 50
"""Prompts that each band has at least, where there is more than one."""
_SLACK = 1e-9
"""Of sums of 1/n, in prompts."""


class Bands(NamedTuple):
    """Radius by score.

    Attributes:
      edges: ``[B - 1]``, increasing; a score on an edge is in the band above.
      radius: ``[B]``, each at least 0; infinite where there are too few prompts.
      prompts: int ``[B]``, how many each radius comes from.

    >>> Bands(np.array([0.5]), np.array([0.1, 0.3]), np.array([50, 50])).at(np.array([0.2, 0.5, np.nan])).tolist()
    [0.1, 0.3, nan]
    """

    edges: np.ndarray
    radius: np.ndarray
    prompts: np.ndarray

    def at(self, scores: np.ndarray) -> np.ndarray:
        """The radius of every score, of the same shape; NaN where there is no score."""
        return np.where(np.isnan(scores), np.nan, self.radius[self.band(scores)])

    def band(self, scores: np.ndarray) -> np.ndarray:
        """Which band every score is in, 0 to B - 1."""
        return np.searchsorted(self.edges, scores, side="right").clip(0, len(self.edges))


def fewest_prompts(coverage: float = COVERAGE) -> int:
    """How many prompts it takes for a finite radius.

    Raises:
      InputError: the coverage is not within `COVERAGES`.

    >>> fewest_prompts(0.9), fewest_prompts(0.95), fewest_prompts(0.5)
    (9, 19, 1)
    """
    _check_coverage(coverage)
    return max(1, math.ceil(coverage / (1 - coverage) - _SLACK))


def conformal_radius(errors: np.ndarray, prompt: np.ndarray, coverage: float = COVERAGE) -> float:
    """The radius of intervals that hold a rating with a given probability.

    Args:
      errors: ``[R]``, scores minus ratings, of either sign; NaN where there is no rating.
      prompt: ``[R]``, equal for responses to one prompt.
      coverage: within `COVERAGES`.

    Returns:
      A number of the ratings' scale; infinity where there are fewer than `fewest_prompts` prompts with a rating.

    Raises:
      InputError: shapes that differ, an infinite error, or a coverage that is none.

    >>> conformal_radius(np.arange(10) / 10, np.arange(10))
    0.9
    >>> conformal_radius(np.arange(8) / 10, np.arange(8))
    inf
    """
    errors, prompt = _checked(errors, prompt)
    fewest = fewest_prompts(coverage)
    known = ~np.isnan(errors)
    size = np.abs(errors[known])
    _, prompt, counts = np.unique(prompt[known], return_inverse=True, return_counts=True)
    if len(counts) < fewest:
        return math.inf
    order = np.argsort(size, kind="stable")
    total = np.cumsum(1 / counts[prompt[order]])
    place = int(np.searchsorted(total, coverage * (len(counts) + 1) - _SLACK))
    return float(size[order[min(place, len(order) - 1)]])


def conformal_bands(
    scores: np.ndarray, errors: np.ndarray, prompt: np.ndarray, coverage: float = COVERAGE, most: int = MOST_BANDS
) -> Bands:
    """A radius for every band of scores.

    Args:
      scores: ``[R]``, finite.
      errors, prompt, coverage: see `conformal_radius`.
      most: bands at most; there are fewer where one would have less than `BAND_PROMPTS` prompts.

    Raises:
      InputError: as `conformal_radius`; or a score is not finite.

    >>> scores = np.repeat([0.0, 1.0], 60)
    >>> bands = conformal_bands(scores, 0.1 + scores, np.arange(120))
    >>> bands.edges.tolist(), bands.radius.round(1).tolist()
    ([1.0], [0.1, 1.1])
    """
    errors, prompt = _checked(errors, prompt)
    scores = np.asarray(numbers(scores, "scores", rank=1, dtype=None), np.float64)
    whole_number(most, "most", 1)
    if scores.shape != errors.shape:
        problem = f"has shape {scores.shape}, beside errors of {errors.shape}"
        raise InputError(problem, where="scores", fix="pass a score for every error")
    known = ~np.isnan(errors)
    scores, errors, prompt = scores[known], errors[known], prompt[known]
    edges = np.zeros(0)
    for count in range(min(most, len(scores) // BAND_PROMPTS), 1, -1):
        tried = np.unique(np.sort(scores)[np.arange(1, count) * len(scores) // count])
        tried = tried[tried > scores.min()]
        if _prompts(tried, scores, prompt).min() >= BAND_PROMPTS:
            edges = tried
            break
    bands = Bands(edges, np.zeros(len(edges) + 1), _prompts(edges, scores, prompt))
    band = bands.band(scores)
    radius = [conformal_radius(errors[band == b], prompt[band == b], coverage) for b in range(len(edges) + 1)]
    return bands._replace(radius=np.array(radius))


def _prompts(edges: np.ndarray, scores: np.ndarray, prompt: np.ndarray) -> np.ndarray:
    """How many prompts have a response in each band."""
    band = np.searchsorted(edges, scores, side="right")
    return np.array([len(np.unique(prompt[band == b])) for b in range(len(edges) + 1)])


def _checked(errors: np.ndarray, prompt: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    refuse_masked(prompt, "prompt")
    errors = np.asarray(numbers(errors, "errors", rank=1, finite=False, dtype=None), np.float64)
    prompt = np.asarray(prompt)
    if errors.ndim != 1 or prompt.shape != errors.shape:
        problem = f"have shapes {errors.shape} and {prompt.shape}"
        raise InputError(problem, where="errors and prompt", fix="pass [R] and [R]")
    if np.isinf(errors).any():
        raise InputError("is infinite", where=f"errors[{int(np.argmax(np.isinf(errors)))}]", fix="leave it out")
    return errors, prompt


def _check_coverage(coverage: float) -> None:
    low, high = COVERAGES
    fix = f"give a number from {low} to {high}, e.g. 0.9"
    real_number(coverage, "coverage", lambda value: low <= value <= high, fix)
