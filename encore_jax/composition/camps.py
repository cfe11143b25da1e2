"""Do the rules share one thing? How many factors their correlations have, and which rules agree only among themselves.

Agreement is evidence of quality only if the rules agree on one thing. A judge's own style inside one agreeing pool does
no harm: its rules agree more with each other, and still with all others. A pool that *splits* does: some rules agree
among themselves and not with the rest. Either part may be about quality, the other about length, and ratings do not say
which.

A split is told by the correlation between what two camps of rules say, corrected for the noise of single rules
(Spearman 1904): ``ρ_ab = mean C_between / sqrt(mean C_within_a · mean C_within_b)``. It is 1 if both follow one factor.

Small matrices on the host: LAPACK from NumPy, never inside a compiled program.

Letters: K rules, G groups of prompts, R bootstrap draws, M factors.
"""

from __future__ import annotations

import itertools
from typing import Literal, NamedTuple

import numpy as np
from jaxtyping import Float

from encore_jax.composition.agreement import FEWEST_RULES, one_factor
from encore_jax.composition.moments import Moments, correlations

Verdict = Literal["one common factor", "the pool splits", "too little in common to tell"]

SAME_FACTOR = 0.4
"""Camps whose corrected correlation is at least this are one camp. Seen: 0.5 to 0.85 between styles of LLM judges that
agree on quality, 0.0 to 0.2 between rules about quality and rules about something else."""

CLEARLY_APART = 0.6
"""A split is only called so if the 95 % interval of the corrected correlation ends below this."""

LEAST_LOADING = 0.3
"""A rule that loads less than this on every factor belongs to no camp."""


class Commonality(NamedTuple):
    """What the rules have in common.

    Attributes:
      verdict: in words.
      factors: number of factors beyond chance (parallel analysis).
      camps: the rules of every camp, the largest first.
      between: for every two camps their indices, the corrected correlation, and its 95 % interval.
      effective_rules: Kish's number, how many independent rules would average as well: ``K / (1 + (K-1) ρ̄)``.
      loading: ``[K]``, of the one-factor fit.
      low, high: ``[K]``, 95 % interval of every loading, over prompts.
      leaning, leaning_low: ``Σ v|v| / Σ v²``: 1 if all rules follow the factor the same way round, 0 if half of them
        run against the other half; and the lower end of its 95 % interval.
    """

    verdict: Verdict
    factors: int
    camps: tuple[tuple[int, ...], ...]
    between: tuple[tuple[int, int, float, float, float], ...]
    effective_rules: float
    loading: Float[np.ndarray, " K"]
    low: Float[np.ndarray, " K"]
    high: Float[np.ndarray, " K"]
    leaning: float
    leaning_low: float


def commonality(groups: Moments, *, draws: int = 1000, seed: int = 0) -> Commonality:
    """Judges what K rules have in common from moments of groups of prompts (`grouped_moments`).

    Args:
      groups: ``[G, K, K]`` each.
      draws: bootstrap draws over the groups.
      seed: of draws and of the parallel analysis.
    """
    correlation, together = (np.asarray(part) for part in correlations(groups.total()))
    factors = number_of_factors(groups, seed=seed)
    known = together.any(1)
    camps = find_camps(correlation, factors) if factors and known.sum() >= FEWEST_RULES else ()
    loading = np.asarray(one_factor(correlation, together))
    start, way = loading, np.where(loading <= -LEAST_LOADING, -1.0, 1.0)
    samples, resampled = bootstrap_loadings(groups, start, draws, seed)
    low, high = np.percentile(samples, [2.5, 97.5], axis=0)
    loading, low, high = (np.where(~known, np.nan, part) for part in (loading, low, high))
    between = []
    for (a, one), (b, other) in itertools.combinations(enumerate(camps), 2):
        signs = _signs(correlation, one, other)
        spread = np.percentile([corrected(c, one, other, signs) for c in resampled], [2.5, 97.5])
        between.append((a, b, corrected(correlation, one, other, signs), *spread.tolist()))
    return Commonality(
        verdict=_verdict(camps, between),
        factors=factors,
        camps=camps,
        between=tuple(between),
        effective_rules=effective_rules_of((correlation * np.outer(way, way))[np.ix_(known, known)]),
        loading=loading,
        low=low,
        high=high,
        leaning=float(_leaning(start)),
        leaning_low=float(np.percentile(_leaning(samples), 2.5)),
    )


def _leaning(loadings: Float[np.ndarray, "*draws K"]) -> Float[np.ndarray, " *draws"]:
    return (loadings * np.abs(loadings)).sum(-1) / np.maximum((loadings**2).sum(-1), 1e-12)


def _verdict(camps, between) -> Verdict:
    if not camps or any(high >= CLEARLY_APART for *_, high in between):
        return "too little in common to tell"
    return "the pool splits" if between else "one common factor"


def number_of_factors(groups: Moments, *, draws: int = 50, level: float = 0.95, seed: int = 0) -> int:
    """Parallel analysis (Horn 1965): leading eigenvalues above those that chance gives.

    Chance is the same data with the sign of every rule turned at random in every group of prompts. That keeps each
    rule's values and the dependence of a prompt's rows, and makes the rules independent. Eigenvalues are compared by
    rank.
    """
    rules = groups.count.shape[-1]
    observed = _eigenvalues(groups.total())
    rng, chance = np.random.default_rng(seed), []
    centred = groups.centred()  # turning signs then changes nothing else
    total = centred.total()
    for _ in range(draws):
        sign = rng.choice((-1.0, 1.0), (len(groups.count), rules))
        second = np.einsum("gi,gij,gj->ij", sign, centred.second, sign)
        chance.append(_eigenvalues(total._replace(second=second)))
    above = observed > np.quantile(chance, level, axis=0)
    return int(rules if above.all() else np.argmin(above))


def _eigenvalues(moments: Moments) -> Float[np.ndarray, " K"]:
    correlation = np.asarray(correlations(moments)[0], np.float64)
    return np.linalg.eigvalsh(correlation + np.eye(len(correlation)))[::-1]


def bootstrap_loadings(
    groups: Moments, start: Float[np.ndarray, " K"], draws: int, seed: int = 0
) -> tuple[Float[np.ndarray, "R K"], Float[np.ndarray, "R K K"]]:
    """Loadings and correlations of R draws of groups with replacement."""
    number = len(groups.count)
    times = np.random.default_rng(seed).multinomial(number, np.full(number, 1 / number), draws)
    return resampled_loadings(groups, start, times)


def resampled_loadings(
    groups: Moments, start: Float[np.ndarray, " K"], times_RxG: Float[np.ndarray, "R G"], at_once: int = 50
) -> tuple[Float[np.ndarray, "R K"], Float[np.ndarray, "R K K"]]:
    """Loadings and correlations of R draws, in which group g occurs ``times[r, g]`` times."""
    loadings, matrices = [], []
    for first in range(0, len(times_RxG), at_once):
        times = times_RxG[first : first + at_once].astype(np.float64)
        correlation, together = correlations(groups.resampled(times))
        begin = np.broadcast_to(start, (len(times), len(start))).astype(np.float32)
        fitted = np.asarray(one_factor(correlation, together, begin, tolerance=1e-4))
        loadings.append(fitted * np.where((fitted * start).sum(-1, keepdims=True) < 0, -1, 1))
        matrices.append(np.asarray(correlation))
    return np.concatenate(loadings), np.concatenate(matrices)


def find_camps(correlation: Float[np.ndarray, "K K"], factors: int) -> tuple[tuple[int, ...], ...]:
    """Rules that agree with each other, by the factor that each loads on most; camps that agree are merged.

    Args:
      correlation: 0 on its diagonal.
      factors: M, at least 1.

    Returns:
      Rule indices of every camp of at least two rules, the largest first.
    """
    shared = np.abs(correlation).max(
        1
    )  # what a rule shares is about its largest correlation; its own noise is left out
    value, vector = np.linalg.eigh(np.asarray(correlation, np.float64) + np.diag(shared))
    leading = vector[:, ::-1][:, :factors] * np.sqrt(np.maximum(value[::-1][:factors], 0))
    rotated = np.abs(varimax(leading))
    best = np.where(rotated.max(1) < LEAST_LOADING, -1, rotated.argmax(1))
    camps = [tuple(np.flatnonzero(best == m).tolist()) for m in range(factors)]
    camps = [camp for camp in camps if len(camp) > 1]
    while len(camps) > 1:
        pairs = list(itertools.combinations(range(len(camps)), 2))
        alike = [corrected(correlation, camps[a], camps[b], _signs(correlation, camps[a], camps[b])) for a, b in pairs]
        if max(alike) < SAME_FACTOR:
            break
        a, b = pairs[int(np.argmax(alike))]
        merged = tuple(sorted(camps[a] + camps[b]))
        camps = [camp for i, camp in enumerate(camps) if i not in (a, b)] + [merged]
    return tuple(sorted(camps, key=lambda camp: (-len(camp), camp)))


def varimax(loadings: Float[np.ndarray, "K M"], steps: int = 200) -> Float[np.ndarray, "K M"]:
    """Rotates factors so that every rule loads on few of them (Kaiser 1958)."""
    rotation = np.eye(loadings.shape[1])
    for _ in range(steps):
        rotated = loadings @ rotation
        left, _, right = np.linalg.svd(loadings.T @ (rotated**3 - rotated * (rotated**2).mean(0)))
        before, rotation = rotation, left @ right
        if np.abs(rotation - before).max() < 1e-9:
            break
    return loadings @ rotation


def _signs(correlation, one, other) -> tuple[np.ndarray, np.ndarray]:
    """Of every rule of two camps the sign with which it follows its own camp."""
    return tuple(np.copysign(1.0, _leading(correlation[np.ix_(camp, camp)])) for camp in (one, other))


def _leading(correlation) -> np.ndarray:
    vector = np.linalg.eigh(correlation + np.eye(len(correlation)))[1][:, -1]
    return vector if vector.sum() >= 0 else -vector


def corrected(correlation: Float[np.ndarray, "K K"], one, other, signs) -> float:
    """Correlation between what two camps follow, without the noise of their rules; 0 if one has nothing in common.

    Args:
      correlation: 0 on its diagonal.
      one, other: rule indices.
      signs: of every rule of both, as a rule that rates the other way round agrees too.
    """
    within = []
    for camp, sign in zip((one, other), signs, strict=True):
        inside = correlation[np.ix_(camp, camp)] * np.outer(sign, sign)
        within.append(inside.sum() / (len(camp) * (len(camp) - 1)))
    between = (correlation[np.ix_(one, other)] * np.outer(*signs)).mean()
    product = max(within[0], 0.0) * max(within[1], 0.0)
    return float(min(abs(between) / product**0.5, 1.0)) if product > 0 else 0.0


def effective_rules_of(correlation: Float[np.ndarray, "K K"]) -> float:
    """Kish's effective number of rules, ``K / (1 + (K-1) ρ̄)`` with the mean correlation ρ̄ (at least 0).

    >>> effective_rules_of(np.array([[0.0, 0.5], [0.5, 0.0]])).__round__(3)
    1.333
    """
    rules = len(correlation)
    mean = max(float(np.asarray(correlation).sum()) / max(1, rules * (rules - 1)), 0.0)
    return rules / (1 + (rules - 1) * mean)


def camp_loadings(
    correlation: Float[np.ndarray, "K K"], together: Float[np.ndarray, "K K"], camp: tuple[int, ...]
) -> Float[np.ndarray, " K"]:
    """Loadings ``[K]`` on what one camp follows: fitted within it; other rules' by their correlations with it."""
    inside = np.zeros_like(together)
    inside[np.ix_(camp, camp)] = together[np.ix_(camp, camp)]
    v = np.asarray(one_factor(correlation, inside), np.float64)
    weight = together[:, list(camp)]
    fitted = (weight * correlation[:, list(camp)]) @ v[list(camp)]
    fitted /= np.maximum(weight @ v[list(camp)] ** 2, 1e-12)
    fitted[list(camp)] = v[list(camp)]
    return np.clip(fitted, -1, 1)
