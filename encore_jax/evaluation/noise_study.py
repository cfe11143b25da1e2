"""What drives ENCORE's gain? The same comparisons through many simulated juries: semi-synthetic throughout.

For each noise model and each noise level of the worst judge, D juries of J judges rate all responses; every jury gives
a correlation r(H, accuracy) and accuracies of uniform, entropy and agreement weights. One jitted, vmapped program finds
them, whatever the noise.
"""

from __future__ import annotations

import functools
import warnings

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from encore_jax.composition import (
    entropy_of_counts,
    entropy_weights,
    level_edges,
    margin_accuracy,
    margins,
    pearson,
    rating_counts,
)
from encore_jax.composition.agreement import FEWEST_RULES, agreement_weights, one_factor
from encore_jax.composition.ties import rule_tolerance, weighted_margin
from encore_jax.evaluation.simulated_judges import answers, uniform_numbers, whole_steps

NOISES = ("guess", "gaussian", "shrink", "flip")
WORST = (0.25, 0.5, 0.75, 0.95)
TAUS = (2.0, 0.5, 0.2)
JURIES_AT_ONCE = 8


def juries(
    quality: Float[Array, " R"],
    for_entropy: Array,
    pairs: Array,
    strength: Float[Array, "W J"],
    chance: Float[Array, "D 2 R J"],
    taus: Float[Array, " T"],
    noise: str,
    levels: int,
) -> dict[str, np.ndarray]:
    """Outcomes of D juries at W settings of the judges' noise levels.

    Args:
      quality: human rating of each response, 1 is harmless.
      for_entropy: bool ``[R]``, responses whose ratings the entropies come from.
      pairs: int ``[N, 2]``, responses of each test comparison, the preferred one first.
      strength: noise level of each judge.
      chance: uniform random numbers of D juries; all W settings use the same ones.
      taus: temperatures.
      noise, levels: see `encore_jax.evaluation.simulated_judges`.

    Returns:
      ``correlation [W, D]``, ``uniform [W, D]``, ``encore [W, D, T]`` and, with three judges or more, ``agreement
      [W, D]`` (accuracies, ties half).
    """
    outcomes = [
        _outcomes(_ratings(quality, judges, chance, noise, levels), for_entropy, pairs, taus, levels)
        for judges in strength
    ]
    return {name: np.stack([np.asarray(outcome[name]) for outcome in outcomes]) for name in outcomes[0]}


@functools.partial(jax.jit, static_argnames=("noise", "levels"))
def _ratings(quality, strength_J, chance_Dx2xRxJ, noise: str, levels: int) -> Float[Array, "D R J"]:
    """Apart from `_outcomes`, so that their program, which takes long to compile, is the same for every noise."""
    return jax.vmap(lambda chance: answers(quality, strength_J, chance, noise, levels))(chance_Dx2xRxJ)


@functools.partial(jax.jit, static_argnames=("levels",))
def _outcomes(ratings_DxRxJ, for_entropy, pairs, taus, levels: int) -> dict[str, Array]:
    edges = jnp.asarray(level_edges(levels), jnp.float32)

    def one_jury(ratings):
        where = jnp.broadcast_to(for_entropy[:, None], ratings.shape)
        entropy = entropy_of_counts(rating_counts(ratings, where, edges))
        delta = whole_steps(margins(ratings[pairs]), levels)
        weights = entropy_weights(jnp.repeat(entropy[None], len(taus), 0), taus[:, None])
        uniform = jnp.full((1, delta.shape[1]), 1 / delta.shape[1])
        agreement = [_agreement(delta)[None]] if delta.shape[1] >= FEWEST_RULES else []
        both = weighted_margin(delta, rule_tolerance(delta), jnp.concatenate([uniform, weights, *agreement]).T)
        rule, composed = margin_accuracy(delta).ties_half, margin_accuracy(both.value, None, both.tolerance).ties_half
        found = {"correlation": pearson(entropy, rule), "uniform": composed[0], "encore": composed[1 : 1 + len(taus)]}
        return found | ({"agreement": composed[-1]} if agreement else {})

    draws = len(ratings_DxRxJ)
    some = max(size for size in range(1, JURIES_AT_ONCE + 1) if draws % size == 0)  # a rest would be compiled again
    return jax.lax.map(one_jury, ratings_DxRxJ, batch_size=some)


def _agreement(delta: Float[Array, "N J"]) -> Float[Array, " J"]:
    """Agreement weights of J judges by their differences, taken in both orientations, so about 0."""
    products = jnp.matmul(delta.T, delta, precision="highest")
    norm = jnp.sqrt(jnp.diagonal(products))
    varies = (norm > 0).astype(jnp.float32)
    correlation = products / jnp.maximum(jnp.outer(norm, norm), 1e-30)
    loading = one_factor(correlation, jnp.outer(varies, varies))
    return agreement_weights(loading, norm / jnp.sqrt(jnp.float32(len(delta))))


def noise_study(
    quality: np.ndarray,
    for_entropy: np.ndarray,
    pairs: np.ndarray,
    *,
    judges: int,
    best: float,
    levels: int,
    draws: int,
    seed: int,
) -> dict:
    """Runs `juries` for every noise model; mean and standard deviation over juries, ready for JSON."""
    strength = np.stack([np.linspace(min(best, worst), worst, judges, dtype=np.float32) for worst in WORST])
    chance = uniform_numbers(jax.random.key(seed), (draws, 2, len(quality), judges))
    taus = jnp.asarray(TAUS, jnp.float32)
    arguments = (
        jnp.asarray(quality),
        jnp.asarray(for_entropy),
        jnp.asarray(pairs),
        jnp.asarray(strength),
        jnp.asarray(chance),
        taus,
    )
    result = {"judges": judges, "best": best, "worst": list(WORST), "tau": list(TAUS), "draws": draws, "noise": {}}
    for noise in NOISES:
        found = juries(*arguments, noise=noise, levels=levels)
        outcome = {name: values.astype(np.float64) for name, values in found.items()}
        gain = outcome["encore"] - outcome["uniform"][..., None]
        result["noise"][noise] = {
            "correlation": _spread(outcome["correlation"]),
            "uniform": _spread(outcome["uniform"]),
            "gain": [_spread(gain[..., t]) for t in range(len(TAUS))],
        }
        if "agreement" in outcome:
            result["noise"][noise]["agreement"] = _spread(outcome["agreement"] - outcome["uniform"])
    return result


def _spread(samples: np.ndarray) -> dict[str, list[float]]:
    """Over the juries; one whose judges are all equally accurate has no correlation (NaN) and is left out."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # no jury at all is left: NaN
        return {"mean": np.nanmean(samples, 1).tolist(), "sd": np.nanstd(samples, 1).tolist()}
