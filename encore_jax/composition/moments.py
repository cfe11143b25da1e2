"""Sums from which correlations of rules follow. Sums of parts add up, so a bootstrap needs no second look at the rows.

Letters: N rows (responses, or differences of two responses), K rules, G groups of prompts, R bootstrap draws.
"""

from __future__ import annotations

import itertools
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from encore_jax.composition.checks import flags, numbers
from encore_jax.composition.ties import is_tie, rule_margins
from encore_jax.errors import InputError

FEWEST_TOGETHER = 20
"""Two rules that were rated together in fewer rows than this have no correlation worth the name."""

MOST_GROUPS = 500
"""Prompts are put into at most so many groups: enough for a bootstrap, few enough to keep a ``[G, K, K]`` array."""


class Moments(NamedTuple):
    """Sums over the rows in which rules i and j are both rated.

    Attributes:
      count: ``[..., K, K]``, number of such rows.
      first: ``[..., K, K]``, sum of rule i's values.
      second: ``[..., K, K]``, sum of the products of both.
      square: ``[..., K, K]``, sum of rule i's squares.
    """

    count: Float[Array, "*draws K K"]
    first: Float[Array, "*draws K K"]
    second: Float[Array, "*draws K K"]
    square: Float[Array, "*draws K K"]

    def total(self) -> Moments:
        """Of all groups (the first axis) together."""
        return Moments(*(part.sum(0) for part in self))

    def centred(self) -> Moments:
        """About the mean of each rule over all groups' rows with both rules, as if that were 0."""
        total = self.total()
        mean_i = total.first / np.maximum(total.count, 1)
        first_j, mean_j = np.swapaxes(self.first, -1, -2), mean_i.T
        second = self.second - mean_i * first_j - self.first * mean_j + self.count * mean_i * mean_j
        square = self.square - 2 * mean_i * self.first + self.count * mean_i**2
        return Moments(self.count, np.zeros_like(self.first), second, square)

    def resampled(self, times_RxG: Float[Array, "R G"]) -> Moments:
        """Of R draws, in which group g occurs ``times[r, g]`` times."""
        return Moments(*(np.einsum("rg,gij->rij", times_RxG, part, optimize=True) for part in self))


class Rows(NamedTuple):
    """What correlations are taken over.

    Attributes:
      values: ``[N, K]``: ratings of responses, or their differences within one prompt.
      mask: ``[N, K]``, which of them exist.
      prompt: ``[N]``, rows of one prompt are drawn together.
      differences: whether rows are differences. They are taken in both orientations, so their mean is 0 and nothing
        depends on which response came first.
    """

    values: Float[np.ndarray, "N K"]
    mask: Bool[np.ndarray, "N K"]
    prompt: Int[np.ndarray, " N"]
    differences: bool


def rating_rows(
    ratings: Float[Array, "N K"] | Float[Array, "N n K"],
    where: Bool[Array, "N K"] | Bool[Array, "N n K"] | None = None,
    prompt: Int[Array, " N"] | None = None,
) -> Rows:
    """The rows of ratings of single responses ``[N, K]``, or of comparisons of n responses ``[N, n, K]``.

    Args:
      ratings: higher is better; of comparisons every two responses give one row, their difference.
      where: which ratings exist; a difference exists where both do.
      prompt: ``[N]`` prompt of every response or comparison; each is of a prompt of its own if left out.

    Raises:
      InputError: shapes that do not fit, ratings that exist and are not finite, or none at all.

    >>> rows = rating_rows(np.array([[[3.0, 1.0, 2.0], [1.0, 1.0, 5.0]]]))
    >>> rows.values.tolist(), rows.differences
    ([[2.0, 0.0, -3.0]], True)
    """
    ratings = np.asarray(numbers(ratings, "ratings", finite=False, dtype=None), np.float64)
    mask = np.ones(ratings.shape, bool) if where is None else np.asarray(flags(where))
    if ratings.ndim not in (2, 3) or mask.shape != ratings.shape or (ratings.ndim == 3 and ratings.shape[1] < 2):
        raise InputError(
            f"ratings have shape {ratings.shape}, their mask {mask.shape}",
            where="ratings",
            fix="pass [N, K] of single responses or [N, n, K] of comparisons of n >= 2 responses, and a mask like them",
        )
    prompt = np.arange(len(ratings)) if prompt is None else np.asarray(prompt)
    if prompt.shape != (len(ratings),):
        raise InputError(f"has shape {prompt.shape}, not ({len(ratings)},)", where="prompt", fix="one prompt per row")
    bad = mask & ~np.isfinite(ratings)
    if bad.any():
        place = np.argwhere(bad)[0]
        where_bad = f"ratings, row {place[0]}, rule {place[-1]}"
        raise InputError(f"{ratings[tuple(place)]} is not finite", where=where_bad, fix="mask it, or rate it again")
    if not mask.any():
        raise InputError("nothing is rated", where="ratings", fix="pass at least one rating that the mask keeps")
    ratings = np.where(mask, ratings, 0)
    if ratings.ndim == 2:
        return Rows(_without_rounding(ratings, mask), mask, prompt, False)
    pairs = list(itertools.combinations(range(ratings.shape[1]), 2))
    values = np.concatenate([rule_margins(ratings[:, a], ratings[:, b]).value for a, b in pairs])
    both = np.concatenate([mask[:, a] & mask[:, b] for a, b in pairs])
    return Rows(np.where(both, values, 0), both, np.tile(prompt, len(pairs)), True)


def _without_rounding(ratings: Float[np.ndarray, "N K"], mask: Bool[np.ndarray, "N K"]) -> Float[np.ndarray, "N K"]:
    """The ratings, constant where those of a rule differ by rounding alone."""
    low, high = (f(ratings, axis=0, where=mask, initial=i) for f, i in ((np.min, np.inf), (np.max, -np.inf)))
    low, high = (np.where(mask.any(0), end, 0) for end in (low, high))
    constant = is_tie(rule_margins(high, low).value)
    return np.where(constant & mask, low, ratings)


def prompt_groups(prompt: Int[np.ndarray, " N"], seed: int = 0, most: int = MOST_GROUPS) -> Int[np.ndarray, " N"]:
    """The group 0..G-1 of every row: whole prompts, and with more than `most` of them several drawn at random.

    >>> sorted(prompt_groups(np.array([7, 7, 9, 8])).tolist())
    [0, 1, 2, 2]
    """
    names, prompt = np.unique(prompt, return_inverse=True)
    return (np.random.default_rng(seed).permutation(len(names)) % min(most, len(names)))[prompt.ravel()]


def grouped_moments(rows: Rows, seed: int = 0, most: int = MOST_GROUPS) -> Moments:
    """Moments ``[G, K, K]`` of groups of whole prompts (`prompt_groups`), in fp64.

    A prompt is never split. Resampling groups estimates the same variance as resampling prompts, from fewer parts.
    """
    return moments_of(rows, prompt_groups(rows.prompt, seed, most))


def moments_of(rows: Rows, group: Int[np.ndarray, " N"]) -> Moments:
    """Moments ``[G, K, K]`` of groups of rows, numbered 0..G-1, in fp64."""
    order = np.argsort(group, kind="stable")
    ends = np.cumsum(np.bincount(group))
    mask = rows.mask.astype(np.float64)
    centre = np.zeros(mask.shape[1])
    if not rows.differences:  # correlations do not change, and sums lose no digits
        centre = rows.values.sum(0) / np.maximum(mask.sum(0), 1)
    values = np.where(rows.mask, rows.values - centre, 0)
    parts, complete = [], bool(rows.mask.all())
    for members in np.split(order, ends[:-1]):
        x = values[members]
        if complete:
            wide = np.ones(x.shape[1])
            first = np.outer(np.zeros(x.shape[1]) if rows.differences else x.sum(0), wide)
            count = np.full((x.shape[1],) * 2, float(len(x)))
            parts.append((count, first, x.T @ x, np.outer((x * x).sum(0), wide)))
            continue
        m = mask[members]
        first = np.zeros((m.shape[1],) * 2) if rows.differences else x.T @ m
        parts.append((m.T @ m, first, x.T @ x, (x * x).T @ m))
    return Moments(*(np.stack(part) for part in zip(*parts, strict=True)))


def correlations(moments: Moments) -> tuple[Float[Array, "*draws K K"], Float[Array, "*draws K K"]]:
    """Pairwise-complete correlations, and the number of rows that each rests on.

    Returns:
      fp32 ``[..., K, K]`` each. Both are 0 on the diagonal, where a rule does not vary, and where fewer than
      `FEWEST_TOGETHER` rows have both rules.
    """
    count = np.maximum(moments.count, 1)
    covariance = moments.second - moments.first * np.swapaxes(moments.first, -1, -2) / count
    variance = np.maximum(moments.square - moments.first**2 / count, 0)
    varies = variance > 1e-9 * moments.square  # less is rounding
    usable = varies & np.swapaxes(varies, -1, -2) & (moments.count >= FEWEST_TOGETHER)
    usable &= ~np.eye(count.shape[-1], dtype=bool)
    scale = np.sqrt(np.where(usable, variance * np.swapaxes(variance, -1, -2), 1))
    correlation = np.clip(np.where(usable, covariance / scale, 0), -1, 1)
    return jnp.asarray(correlation, jnp.float32), jnp.asarray(np.where(usable, moments.count, 0), jnp.float32)


def spreads(moments: Moments) -> Float[np.ndarray, "*draws K"]:
    """Standard deviation ``[..., K]`` of every rule's values; of differences, that of one response."""
    count, first, square = (np.diagonal(part, axis1=-2, axis2=-1) for part in moments[:2] + moments[3:])
    count = np.maximum(count, 1)
    return np.sqrt(np.maximum(square / count - (first / count) ** 2, 0))
