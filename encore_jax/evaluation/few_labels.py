"""What a few labels tell: the accuracy of every rule, which camp is meant, and which comparisons to label next.

A label is a person's choice between two responses. Twenty of them say little about one rule on its own. They say more
when they also tell how far agreement can be trusted here: under the one-factor model a rule of loading v decides like
the common factor with probability ``½ + arcsin(v) / π`` (Sheppard 1899), and like a person, whose own judgement
correlates with the factor by ρ, with ``½ + arcsin(ρ v) / π``. All rules' labels together estimate ρ; a rule's own
labels then move its accuracy away from that value. So the posterior of each accuracy is a beta distribution, centred
there before its own labels come, whose strength is what makes all labels likeliest (empirical Bayes). Prediction-
powered inference was not taken: it needs a label-free verdict on each comparison, and with twenty labels its
intervals are wider.

Letters: N labelled comparisons, K rules.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import scipy.special
from jaxtyping import Bool, Float, Int

from encore_jax.composition.ties import sign
from encore_jax.errors import InputError

STRENGTHS = (2.0, 4.0, 8.0, 16.0, 32.0, 64.0)
"""How many labels the label-free estimate may count for. Bounded: with many labels it must give way."""

CHOSEN = 0.95
"""A camp is chosen when the labels give it at least this probability of being the better one."""


class AccuracyEstimate(NamedTuple):
    """Accuracies of K rules (ties half) from a few labels.

    Attributes:
      value, low, high: ``[K]``, posterior mean and 95 % interval.
      prior: ``[K]``, what the loadings alone foretell.
      factor_correlation: ρ, how well the common factor and people agree; negative if it is the opposite of quality.
      strength: how many labels the loadings count for.
    """

    value: Float[np.ndarray, " K"]
    low: Float[np.ndarray, " K"]
    high: Float[np.ndarray, " K"]
    prior: Float[np.ndarray, " K"]
    factor_correlation: float
    strength: float


def foretold_accuracy(loading: Float[np.ndarray, " K"], factor_correlation: float = 1.0) -> Float[np.ndarray, " K"]:
    """Accuracy that a loading foretells; ½ for a rule of unknown loading.

    >>> foretold_accuracy(np.array([0.0, 0.5, 1.0])).round(3).tolist()
    [0.5, 0.667, 1.0]
    """
    v = np.nan_to_num(np.asarray(loading, np.float64)) * factor_correlation
    return 0.5 + np.arcsin(np.clip(v, -1, 1)) / np.pi


def estimate_accuracy(
    loading: Float[np.ndarray, " K"], right: Float[np.ndarray, " K"], labelled: Float[np.ndarray, " K"]
) -> AccuracyEstimate:
    """Combines loadings with a few labels.

    Args:
      loading: ``[K]``; NaN where nothing is known.
      right: ``[K]``, in how many labelled comparisons each rule prefers what the person did; a tie is half of one.
      labelled: ``[K]``, how many labelled comparisons each rule rates.

    Raises:
      InputError: more are right than labelled.
    """
    right, labelled = np.asarray(right, np.float64), np.asarray(labelled, np.float64)
    if (right > labelled + 1e-9).any() or (right < 0).any():
        k = int(np.flatnonzero((right > labelled + 1e-9) | (right < 0))[0])
        raise InputError(f"{right[k]:g} of {labelled[k]:g} labels are right", where=f"rule {k}", fix="count again")

    def likelihood(rho, strength):
        prior = np.clip(foretold_accuracy(loading, rho), 0.02, 0.98)
        a, b = strength * prior, strength * (1 - prior)
        return (scipy.special.betaln(a + right, b + labelled - right) - scipy.special.betaln(a, b)).sum()

    grid = [(rho, strength) for rho in np.linspace(-1, 1, 41) for strength in STRENGTHS]
    log = np.array([likelihood(*cell) for cell in grid])
    share = np.exp(log - log.max())
    rho = float(np.average([cell[0] for cell in grid], weights=share))
    strength = float(np.exp(np.average(np.log([cell[1] for cell in grid]), weights=share)))
    prior = np.clip(foretold_accuracy(loading, rho), 0.02, 0.98)
    a, b = strength * prior + right, strength * (1 - prior) + labelled - right
    low, high = scipy.special.betaincinv(a, b, [[0.025], [0.975]])
    return AccuracyEstimate(a / (a + b), low, high, prior, rho, strength)


def preferred_side(
    credit_a: Float[np.ndarray, " N"], credit_b: Float[np.ndarray, " N"], prompt: Int[np.ndarray, " N"] | None = None
) -> float:
    """Probability that reward a is better than b, from labelled comparisons on which they differ (a sign test).

    Comparisons of one prompt are alike, so they count for fewer: wins and losses are divided by the design effect, the
    sum of the squared gains of prompts over that of comparisons, if that is above 1.

    Args:
      credit_a, credit_b: ``[N]``, 1 where a reward prefers what the person preferred, 0 where it does not, ½ for a tie.
      prompt: ``[N]``; each comparison is of its own prompt if left out.

    >>> round(preferred_side(np.array([1.0, 1.0, 1.0, 0.5]), np.array([0.0, 0.0, 0.0, 0.5])), 3)
    0.938
    >>> round(preferred_side(np.ones(3), np.zeros(3), prompt=np.zeros(3)), 3)
    0.75
    """
    gain = np.asarray(credit_a, np.float64) - np.asarray(credit_b, np.float64)
    design = 1.0
    if prompt is not None and gain.any():
        by_prompt = np.bincount(np.unique(prompt, return_inverse=True)[1].reshape(-1), gain)
        design = max(1.0, float((by_prompt**2).sum() / (gain**2).sum()))
    wins, losses = np.maximum(gain, 0).sum() / design, np.maximum(-gain, 0).sum() / design
    return float(scipy.special.betainc(1 + losses, 1 + wins, 0.5))


def which_labels(
    margin_a: Float[np.ndarray, " N"],
    margin_b: Float[np.ndarray, " N"],
    n: int,
    *,
    prompt: Int[np.ndarray, " N"] | None = None,
    known: Bool[np.ndarray, " N"] | None = None,
) -> Int[np.ndarray, " n"]:
    """The n comparisons whose label would tell most about which of two rewards is right.

    Only comparisons on which they decide differently can tell. Those come first on which both are surest, one of
    every prompt before a second of any. Pass the rewards of two camps, of two weightings, or of a rule and all others.

    Args:
      margin_a, margin_b: ``[N]`` margins of both rewards, first response minus second; 0 is a tie.
      n: how many are wanted; fewer come back if fewer can tell.
      prompt: ``[N]``.
      known: ``[N]``, comparisons that have a label already; they are left out.

    Raises:
      InputError: `n` is not positive, or shapes do not fit.

    >>> which_labels(np.array([1.0, 3.0, 2.0, -1.0]), np.array([-1.0, -2.0, 2.0, 0.5]), 2).tolist()
    [1, 0]
    """
    a, b = np.asarray(margin_a, np.float64), np.asarray(margin_b, np.float64)
    if n < 1:
        raise InputError(f"got {n}", where="n", fix="ask for at least one comparison")
    if a.ndim != 1 or a.shape != b.shape:
        raise InputError(f"margins have shapes {a.shape} and {b.shape}", where="which_labels", fix="pass [N] twice")
    prompt = np.arange(len(a)) if prompt is None else np.asarray(prompt)
    ranks = [_average_ranks(np.abs(margin)) / len(a) for margin in (a, b)]
    sure = np.where(sign(a) * sign(b) < 0, np.minimum(*ranks), 0)
    sure = sure if known is None else np.where(known, 0, sure)
    order = np.argsort(-sure, kind="stable")
    order = order[sure[order] > 0]
    seen: dict = {}
    turn = np.array([seen.setdefault(p, []).append(0) or len(seen[p]) for p in prompt[order].tolist()])
    return order[np.argsort(turn, kind="stable")][:n]


def _average_ranks(values: Float[np.ndarray, " N"]) -> Float[np.ndarray, " N"]:
    """Ranks from 1, equal values sharing their mean rank: `scipy.stats.rankdata`, which takes a second to import.

    >>> _average_ranks(np.array([3.0, 1.0, 3.0])).tolist()
    [2.5, 1.0, 2.5]
    """
    _, place, count = np.unique(values, return_inverse=True, return_counts=True)
    return (np.cumsum(count) - (count - 1) / 2)[place]
