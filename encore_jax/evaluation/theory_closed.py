"""Closed forms behind the theory report: what declared judges answer, and what follows for entropy, accuracy, weights.

A judge of noise level λ sees responses of true quality q in {0, 1} and answers on L levels (see
`encore_jax.evaluation.simulated_judges`). His answers' distribution given q determines everything else:

    P_l = b P(l | q=1) + (1 - b) P(l | q=0)               ratings pooled at base rate b of good responses
    H = -Σ_l P_l log P_l                                   his entropy
    a = Σ_{i>j} P(i | 1) P(j | 0) + ½ Σ_i P(i | 1) P(i | 0)    his accuracy, ties half

All arithmetic is NumPy in float64: this side shares no code with the simulations.
"""

from __future__ import annotations

import itertools
import math
from statistics import NormalDist
from typing import Literal

import numpy as np

from encore_jax.errors import InputError

Noise = Literal["guess", "gaussian", "shrink", "flip", "refuse"]
"""As `encore_jax.evaluation.simulated_judges`; "refuse" answers the lowest level with probability λ."""
_NORMAL = NormalDist()


def answer_distribution(quality: float, strength: float, noise: Noise, levels: int) -> np.ndarray:
    """P(level | q), ``[L]``.

    >>> answer_distribution(1.0, 0.5, "guess", 3).round(3).tolist()
    [0.167, 0.167, 0.667]
    """
    at = lambda value: np.eye(levels)[int(np.round(value * (levels - 1)))]  # noqa: E731
    if noise == "gaussian" and strength > 0:
        inner = (np.arange(levels - 1) + 0.5) / (levels - 1)
        reached = np.array([_NORMAL.cdf((edge - quality) / strength) for edge in inner])
        return np.diff(reached, prepend=0.0, append=1.0)
    errors = {
        "guess": np.full(levels, 1 / levels),
        "shrink": at(0.5),
        "flip": at(1 - quality),
        "refuse": at(0.0),
        "gaussian": at(quality),
    }
    if noise not in errors:
        raise InputError(f"{noise!r} is unknown", where="noise", fix=f"use one of {', '.join(errors)}")
    return (1 - strength) * at(quality) + strength * errors[noise]


def entropy(p: np.ndarray) -> float:
    """-Σ p log p in nats.

    >>> round(entropy(np.array([0.5, 0.5, 0.0])), 4)
    0.6931
    """
    p = np.asarray(p, np.float64)
    return float(-(p[p > 0] * np.log(p[p > 0])).sum())


def pairwise_accuracy(good: np.ndarray, bad: np.ndarray) -> float:
    """P(a good response is rated above a bad one), ties half, from two distributions over levels.

    >>> pairwise_accuracy(np.array([0.0, 1.0]), np.array([0.5, 0.5]))
    0.75
    """
    below = np.cumsum(bad) - bad
    return float(good @ (below + 0.5 * bad))


def judge(strength: float, base_rate: float, noise: Noise, levels: int) -> tuple[float, float]:
    """Entropy and accuracy of a judge."""
    good, bad = (answer_distribution(q, strength, noise, levels) for q in (1.0, 0.0))
    return entropy(base_rate * good + (1 - base_rate) * bad), pairwise_accuracy(good, bad)


def error_patterns(strengths: np.ndarray, shared: float) -> tuple[np.ndarray, np.ndarray]:
    """Which of K judges err together: patterns ``[2^K, K]`` and their probabilities ``[2^K]``.

    With probability `shared` a judge's "do I err?" is decided by one uniform number common to all judges (he errs if it
    lies below his λ), else by his own.
    """
    patterns = np.array(list(itertools.product((0, 1), repeat=len(strengths))), bool)
    edges = np.concatenate([[0.0], np.sort(strengths), [1.0]])
    middle, width = (edges[1:] + edges[:-1]) / 2, np.diff(edges)  # the common number, piece by piece
    errs = shared * (middle[:, None] < strengths[None]) + (1 - shared) * strengths[None]
    each = np.where(patterns[:, None], errs[None], 1 - errs[None])
    return patterns, each.prod(-1) @ width


def jury_accuracy(weights: np.ndarray, strengths: np.ndarray, shared: float, noise: Noise, levels: int) -> float:
    """How often a weighted jury rates a good response above a bad one, ties half: exact, by enumeration.

    All ``levels^K`` answers of a few judges are weighted with their probability, errors being dependent as in
    `error_patterns`, what is answered in error independent.
    """
    patterns, chance = error_patterns(strengths, shared)
    answers = np.array(list(itertools.product(range(levels), repeat=len(strengths))))
    reward = np.round(answers @ weights, 9)
    found = []
    for quality in (1.0, 0.0):
        if noise == "gaussian":  # everyone errs always, a little; there is nothing to share
            own = [answer_distribution(quality, strength, noise, levels) for strength in strengths]
            found.append(np.stack([p[answers[:, k]] for k, p in enumerate(own)]).prod(0))
            continue
        right, wrong = (answer_distribution(quality, strength, noise, levels) for strength in (0.0, 1.0))
        either = np.stack([right, wrong])[patterns.astype(int)[:, None], answers[None]]  # [patterns, answers, K]
        found.append(chance @ either.prod(-1))
    values, position = np.unique(reward, return_inverse=True)
    good, bad = (np.bincount(position, p, len(values)) for p in found)
    return pairwise_accuracy(good, bad)


def softmax_weights(entropies: np.ndarray, tau: float) -> np.ndarray:
    """ENCORE's weights."""
    weights = np.exp(-(entropies - entropies.min()) / tau)
    return weights / weights.sum()


def bradley_terry_optimum(mean: np.ndarray, covariance: np.ndarray) -> np.ndarray:
    """The weights ``2 C⁻¹ m`` that minimise the Bradley-Terry loss for margins Δ ~ N(m, C).

    The preferred response is equally likely to stand first, so Δ and -Δ are the two classes of a linear discriminant
    with equal covariances, whose log odds are 2 m'C⁻¹Δ: the Bradley-Terry model is then true, and its optimum unique.

    >>> bradley_terry_optimum(np.array([1.0, 0.0]), np.eye(2)).tolist()
    [2.0, 0.0]
    """
    return 2 * np.linalg.solve(covariance, mean)


def bradley_terry_standard_error(weights: np.ndarray, mean: np.ndarray, covariance: np.ndarray, n: int) -> np.ndarray:
    """Asymptotic standard errors ``[K]`` of fitted weights: inverse Fisher information, by Gauss-Hermite quadrature.

    With s = w·Δ ~ N(ν, u²): E[σ'(s) ΔΔ'] splits into the part along s, integrated numerically, and the rest, known.
    """
    s_mean, s_sd = float(weights @ mean), math.sqrt(weights @ covariance @ weights)
    nodes, mass = np.polynomial.hermite_e.hermegauss(80)
    mass = mass / mass.sum()
    s = s_mean + s_sd * nodes
    slope = 1 / (2 + np.exp(s) + np.exp(-s))
    along = covariance @ weights / s_sd  # Δ = m + along·z + rest, z standard normal
    at = mean[None] + nodes[:, None] * along[None]
    rest = covariance - np.outer(along, along)
    information = np.einsum("n,n,nk,nj->kj", mass, slope, at, at) + (mass @ slope) * rest
    return np.sqrt(np.diag(np.linalg.inv(information)) / n)
