"""Claims about entropy as a guide to accuracy, whatever the noise: where it misleads, and how far weights can go."""

from __future__ import annotations

import math
import warnings

import jax
import jax.numpy as jnp
import numpy as np

from encore_jax.composition import RatingsWarning, entropy_weights, margin_accuracy, rating_entropy
from encore_jax.evaluation import theory_closed as closed
from encore_jax.evaluation.simulated_judges import answers
from encore_jax.evaluation.theory_claims import Claim, repeated


def shifted_uniform(key, pairs: int, repeats: int) -> Claim:
    """U and U + 0.02: near-maximal entropy, perfect accuracy."""
    shift, bins = 0.02, 10
    edges = np.linspace(0, 1, bins + 1)

    def share(low: float) -> np.ndarray:
        """Of each bin, of a rating that is uniform from `low` on."""
        inside = np.clip(edges, low, low + 1 - shift)
        return np.diff(inside) / (1 - shift)

    predicted = closed.entropy((share(0.0) + share(shift)) / 2)
    entropies, accuracies = [], []
    for repeat in jax.random.split(key, repeats):
        other = jax.random.uniform(repeat, (pairs,), maxval=1 - shift)
        ratings = jnp.stack([other + shift, other], 1)[..., None]
        entropies.append(float(rating_entropy(ratings, bins=bins)[0]))
        accuracies.append(float(margin_accuracy(ratings[:, 0] - ratings[:, 1]).ties_half[0]))
    return Claim(
        "shifted-uniform",
        "High entropy does not imply low accuracy",
        "A rule rates the other response U, uniform on [0, 0.98], and the preferred one U + 0.02; 10 bins.",
        f"Its entropy is {predicted:.4f} nats of at most {math.log(bins):.4f}, and its accuracy is 1.",
        (
            repeated("entropy, nats", predicted, entropies),
            repeated("accuracy", 1.0, accuracies),
            repeated("share of the maximal entropy", 0.99, np.array(entropies) / math.log(bins), ">"),
        ),
    )


def constant_rule(key, pairs: int, repeats: int) -> Claim:
    """A rule that never varies."""
    levels, tau = 11, 2.0
    good = closed.answer_distribution(1.0, 0.3, "guess", levels)
    bad = closed.answer_distribution(0.0, 0.3, "guess", levels)
    h = closed.entropy((good + bad) / 2)
    expected = closed.softmax_weights(np.array([0.0, h]), tau)[0]
    weights, accuracies = [], []
    for repeat in jax.random.split(key, repeats):
        quality = jnp.tile(jnp.array([1.0, 0.0]), pairs)
        chance = jax.random.uniform(repeat, (2, 2 * pairs, 1))
        useful = answers(quality, jnp.array([0.3]), chance, "guess", levels)
        ratings = jnp.concatenate([jnp.full_like(useful, 0.5), useful], 1)
        h_of = jnp.asarray(_quiet_entropy(ratings, levels))
        weights.append(float(entropy_weights(h_of, tau)[0]))
        accuracies.append(float(margin_accuracy(ratings[0::2, 0] - ratings[1::2, 0]).ties_half))
    return Claim(
        "constant-rule",
        "A rule that never varies gets the largest weight and knows nothing",
        "One rule always answers 0.5; the other guesses in 30 % of its answers; 11 levels, τ = 2 nats.",
        f"The constant rule has entropy 0, so its weight is 1 / (1 + exp(-H/τ)) = {expected:.3f}, above one half; its "
        "accuracy is 0.5, all ties.",
        (
            repeated("weight of the constant rule", expected, weights),
            repeated("weight of the constant rule, above one half", 0.5, weights, ">"),
            repeated("accuracy of the constant rule", 0.5, accuracies),
        ),
    )


def _quiet_entropy(ratings, levels: int) -> np.ndarray:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RatingsWarning)  # the claim is about what the warning warns of
        return np.asarray(rating_entropy(ratings, levels=levels))


def discretisation(key, pairs: int, repeats: int) -> Claim:
    """The largest possible ratio of weights by the number of levels."""
    tau, rows = 2.0, []
    for levels in (2, 5, 10, 11, 101):
        ratios = []
        for repeat in jax.random.split(key, repeats):
            even = jax.random.randint(repeat, (2 * pairs, 1), 0, levels).astype(jnp.float32) / (levels - 1)
            ratings = jnp.concatenate([jnp.zeros_like(even), even], 1)
            weights = np.asarray(entropy_weights(jnp.asarray(_quiet_entropy(ratings, levels)), tau))
            ratios.append(weights[0] / weights[1])
        bias = (levels - 1) / (4 * pairs)  # of the plug-in estimator: (L - 1) / 2n on n ratings
        expected = math.exp((math.log(levels) - bias) / tau)
        rows.append(repeated(f"largest ratio of weights, {levels} levels", expected, ratios))
    return Claim(
        "discretisation",
        "The number of levels bounds what entropy weights can do",
        "Entropy lies between 0 (a constant rule) and log L (even ratings on L levels); τ = 2 nats.",
        "The largest possible ratio of two weights is exp(log L / τ) = √L, less the plug-in estimator's small bias.",
        tuple(rows),
    )


def entropy_claims(key, pairs: int, repeats: int) -> list[Claim]:
    """All of them."""
    keys = jax.random.split(key, 3)
    claims = (shifted_uniform, constant_rule, discretisation)
    return [claim(own, pairs, repeats) for claim, own in zip(claims, keys, strict=True)]
