"""Claims about agreement: when loadings are right, when their weights are best, what junk rules cost, when it fails.

Differences of two responses on rule k are ``d_k = v_k f + u_k g + e_k``, all normal, of variance 1: f is what people
follow, g a nuisance, e_k the rule's own. A weighted sum decides like f with probability ``½ + arcsin(ρ) / π``, where ρ
is its correlation with f (Sheppard 1899). Arrays on the host, in NumPy.

Letters: N pairs, K rules.
"""

from __future__ import annotations

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
import scipy.stats

from encore_jax.composition.agreement import agreement_loadings, agreement_weights
from encore_jax.composition.camps import commonality
from encore_jax.composition.moments import grouped_moments, rating_rows
from encore_jax.composition.ties import credit, sign
from encore_jax.evaluation import theory_closed as closed
from encore_jax.evaluation.simulated_judges import simulated_ratings
from encore_jax.evaluation.theory_claims import Claim, Row, repeated

GOOD = np.array([0.9, 0.8, 0.7, 0.6, 0.5, 0.4])
"""Loadings of the useful rules."""
JUNK = 24
NUISANCE = 0.8
"""Loading of each junk rule on what they share, where they share something."""
DETECTED_ON, DETECTIONS = 1000, 5
"""Pairs on which a split must be seen, and how often that is tried."""
LEVELS = 5
ORDERS = {
    ("guess", 0.5): (0.1, 0.3, 0.5, 0.7),
    ("guess", 0.8): (0.1, 0.3, 0.5, 0.7),
    ("gaussian", 0.5): (0.5, 0.65, 0.8, 1.0),
}
"""Kind of noise and share of good responses -> noise levels of judges, whose entropy is clearly ordered."""


def expected_accuracy(weights: np.ndarray, v: np.ndarray, u: np.ndarray | None = None) -> float:
    """Accuracy of a weighted sum of the differences, in closed form.

    >>> round(expected_accuracy(np.ones(1), np.array([0.5])), 4)
    0.6667
    """
    u = np.zeros_like(v) if u is None else u
    own = np.sqrt((weights @ v) ** 2 + (weights @ u) ** 2 + (weights**2 * (1 - v**2 - u**2)).sum())
    return float(0.5 + np.arcsin(weights @ v / own) / np.pi)


def drawn(rng: np.random.Generator, pairs: int, v: np.ndarray, u: np.ndarray | None = None):
    """What people follow ``[N]``, and the differences ``[N, K]``."""
    u = np.zeros_like(v) if u is None else u
    f, g = rng.normal(size=(2, pairs, 1))
    return f[:, 0], f * v + g * u + rng.normal(size=(pairs, len(v))) * np.sqrt(1 - v**2 - u**2)


def fitted(d: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Loadings and spreads of differences."""
    found = agreement_loadings(np.stack([d, np.zeros_like(d)], 1))
    return found.loading, found.spread


def agreement_claims(key, pairs: int, repeats: int) -> list[Claim]:
    """All claims about agreement."""
    rng = np.random.default_rng(np.asarray(jax.random.key_data(key)))
    return [
        consistent(rng, pairs, repeats),
        bartlett(rng, pairs, repeats),
        junk(rng, pairs, repeats),
        nuisance(rng, pairs, repeats),
        coincide(key, pairs, repeats),
    ]


def _samples(rng, pairs: int, repeats: int, v, u, weigh: Callable) -> np.ndarray:
    """Accuracy on fresh pairs, of weights made from others."""
    accuracy = []
    for _ in range(repeats):
        weights = np.asarray(weigh(*fitted(drawn(rng, pairs, v, u)[1])), np.float64)
        f, d = drawn(rng, pairs, v, u)
        accuracy.append(credit((d @ weights) * sign(f)).mean())
    return np.array(accuracy)


def _bartlett(loading, spread):
    return agreement_weights(loading, spread)


def _plain(loading, spread):
    return agreement_weights(loading, spread, method="loading")


def _uniform(loading, spread):
    return np.ones(len(loading))


def consistent(rng, pairs: int, repeats: int) -> Claim:
    """Loadings without labels."""
    found = np.array([fitted(drawn(rng, pairs, GOOD)[1])[0] for _ in range(repeats)])
    rows = [repeated(f"loading of a rule of {v:g}", v, found[:, k]) for k, v in enumerate(GOOD)]
    return Claim(
        "agreement-consistent",
        "Loadings found without a label are right where rules err independently",
        "Given what people follow, the rules' errors are independent of each other (conditional independence).",
        "C_ij = v_i v_j for every two rules, so the one-factor fit of the correlations finds v itself.",
        tuple(rows),
    )


def bartlett(rng, pairs: int, repeats: int) -> Claim:
    """The best linear reward."""
    best = GOOD / (1 - GOOD**2)
    others = np.random.default_rng(0).dirichlet(np.ones(len(GOOD)), 5000)
    rows = [
        repeated(
            f"accuracy of {name}", expected_accuracy(weights, GOOD), _samples(rng, pairs, repeats, GOOD, None, how)
        )
        for name, weights, how in (
            ("Bartlett's weights, without a label", best, _bartlett),
            ("plain loadings", GOOD, _plain),
            ("equal weights", np.ones(len(GOOD)), _uniform),
        )
    ]
    highest = max(expected_accuracy(weights, GOOD) for weights in others)
    rows.append(
        Row("best of 5,000 random weightings, in closed form", expected_accuracy(best, GOOD), highest, 0.0, "<")
    )
    return Claim(
        "bartlett-optimal",
        "Of linear rewards, Bartlett's weights are the most accurate",
        "Normal differences, errors independent given what people follow.",
        "Accuracy ½ + arcsin(ρ)/π with ρ² = S / (1 + S), S = Σ v² / (1 - v²), which no other weighting reaches.",
        tuple(rows),
    )


def junk(rng, pairs: int, repeats: int) -> Claim:
    """Rules of pure noise."""
    v, best = np.concatenate([GOOD, np.zeros(JUNK)]), GOOD / (1 - GOOD**2)
    of_equal = expected_accuracy(np.ones(len(v)), v)
    rows = [
        repeated(
            f"accuracy of agreement, {JUNK} junk rules beside {len(GOOD)}", expected_accuracy(best, GOOD),
            _samples(rng, pairs, repeats, v, None, _bartlett),
        ),
        repeated("accuracy of equal weights, with junk", of_equal, _samples(rng, pairs, repeats, v, None, _uniform)),
        Row("the same, beside no junk", expected_accuracy(np.ones(len(GOOD)), GOOD), of_equal, 0.0, "<"),
    ]  # fmt: skip
    return Claim(
        "junk-costs-nothing",
        "Junk rules cost agreement nothing, and equal weights much",
        "Junk rules agree with nothing.",
        "Their loadings are 0, so agreement's accuracy is that without them; equal weights average them in.",
        tuple(rows),
    )


def nuisance(rng, pairs: int, repeats: int) -> Claim:
    """Rules that share something else."""
    v, u = np.concatenate([GOOD, np.zeros(JUNK)]), np.concatenate([np.zeros(len(GOOD)), np.full(JUNK, NUISANCE)])
    equal = expected_accuracy(np.ones(len(v)), v, u)
    followed = _samples(rng, pairs, repeats, v, u, _bartlett)
    seen = []
    for seed in range(DETECTIONS):
        d = drawn(rng, DETECTED_ON, v, u)[1]
        moments = grouped_moments(rating_rows(np.stack([d, np.zeros_like(d)], 1)), seed)
        seen.append(commonality(moments, draws=100, seed=seed).verdict == "the pool splits")
    rows = [
        repeated("accuracy of agreement, were it not refused", equal, followed, "<"),
        Row(
            f"share of {DETECTIONS} draws of {DETECTED_ON} pairs in which it is refused", 1.0, float(np.mean(seen)), 0.0
        ),
    ]
    return Claim(
        "shared-nuisance",
        "Where most rules share a nuisance, agreement follows it, and is refused",
        f"{JUNK} of {len(v)} rules load {NUISANCE:g} on something that people do not follow.",
        "The common factor is the nuisance, so agreement is worse than equal weights; the pool splits, which is seen.",
        tuple(rows),
    )


def coincide(key, pairs: int, repeats: int) -> Claim:
    """Entropy and agreement on the same ratings."""
    rows = []
    for (noise, base_rate), levels in ORDERS.items():
        strengths = jnp.asarray(levels, jnp.float32)
        entropy, accuracy = np.array([closed.judge(s, base_rate, noise, LEVELS) for s in levels]).T
        expected = scipy.stats.spearmanr(-entropy, accuracy).statistic
        ranks = []
        for one in jax.random.split(jax.random.fold_in(key, len(rows)), repeats):
            of_quality, of_answers = jax.random.split(one)
            quality = (jax.random.uniform(of_quality, (pairs,)) < base_rate).astype(jnp.float32)
            ratings = np.asarray(simulated_ratings(quality, strengths, of_answers, noise, LEVELS))
            counts = [np.unique(ratings[:, k], return_counts=True)[1] for k in range(len(levels))]
            measured = [scipy.stats.entropy(count) for count in counts]
            loading = agreement_loadings(ratings).loading
            ranks.append(scipy.stats.spearmanr(-np.array(measured), loading).statistic)
        what = f"rank correlation of low entropy and loading, {noise}, {100 * base_rate:g} % good"
        rows.append(repeated(what, expected, ranks))
    return Claim(
        "entropy-coincides",
        "Entropy and agreement order rules alike only where noise spreads answers",
        f"Judges of four noise levels on {LEVELS} levels, errors independent given the response's quality.",
        "Guessing fills all levels: entropy rises as loading falls. Strong normal noise on a clipped scale piles up at "
        "its ends: entropy falls as loading falls, and ENCORE prefers the worst judges. Ranks by closed form.",
        tuple(rows),
    )
