"""When does ENCORE beat equal weights? A jury of three over kind of noise, its strength, base rate, shared errors.

Both sides of every cell use the whole recipe: entropies of answers at the base rate (simulated: to other
responses, drawn at that rate), weights exp(-H/τ), accuracy of the weighted sum on pairs of a good and a bad response.
"""

from __future__ import annotations

import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np

from encore_jax.composition import entropy_of_counts, entropy_weights, level_edges, margin_accuracy, rating_counts
from encore_jax.composition.ties import rule_tolerance, weighted_margin
from encore_jax.evaluation import theory_closed as closed
from encore_jax.evaluation.simulated_judges import answers, whole_steps
from encore_jax.evaluation.theory_claims import ROUNDING, Claim, Row, tolerated

JUDGES, LEVELS, TAU = 3, 5, 2.0
BASE_RATES = (0.5, 0.6, 0.7, 0.8, 0.9)
STRENGTHS = {
    "guess": (0.1, (0.3, 0.5, 0.7, 0.9)),
    "flip": (0.05, (0.15, 0.25, 0.35, 0.45)),
    "gaussian": (0.4, (0.5, 0.6, 0.8, 1.0)),
}
"""Noise level of the best judge, and those of the worst; the third lies between."""
SHARED = {"guess": (0.0, 0.5, 0.9), "flip": (0.0, 0.5, 0.9), "gaussian": (0.0,)}
"""How much of "do I err?" is common to all judges; normal noise errs always."""


@functools.partial(jax.jit, static_argnames=("noise", "pairs", "repeats"))
def measured_gain(strength_C, shared_C, base_rate_C, key, noise: str, pairs: int, repeats: int):
    """Accuracies ``[C, repeats]`` of ENCORE and of equal weights in C cells; strengths are ``[C, K]``."""
    edges = jnp.asarray(level_edges(LEVELS), jnp.float32)

    def rated(quality, strength, shared, key):
        own, joint, which = jax.random.split(key, 3)
        chance = jax.random.uniform(own, (2, pairs, JUDGES))
        common = jnp.broadcast_to(jax.random.uniform(joint, (pairs, 1)), (pairs, JUDGES))
        whether = jnp.where(jax.random.uniform(which, (pairs, JUDGES)) < shared, common, chance[0])
        return answers(quality, strength, jnp.stack([whether, chance[1]]), noise, LEVELS)

    def one(cell):
        strength, shared, base_rate, key = cell
        of_good, of_bad, of_pool, of_ratings = jax.random.split(key, 4)
        good, bad = (rated(jnp.full(pairs, q), strength, shared, k) for q, k in ((1.0, of_good), (0.0, of_bad)))
        is_good = jax.random.uniform(of_pool, (pairs,)) < base_rate
        pool = rated(is_good.astype(jnp.float32), strength, shared, of_ratings)
        weights = entropy_weights(entropy_of_counts(rating_counts(pool, jnp.ones(pool.shape, bool), edges)), TAU)
        delta = whole_steps(good - bad, LEVELS)
        margin = weighted_margin(delta, rule_tolerance(delta), jnp.stack([weights, jnp.ones(JUDGES)], 1))
        return tuple(margin_accuracy(margin.value, None, margin.tolerance).ties_half)

    def cells(key):
        keys = jax.random.split(key, len(shared_C))
        return jax.lax.map(one, (strength_C, shared_C, base_rate_C, keys))

    encore, uniform = jax.lax.map(cells, jax.random.split(key, repeats))
    return encore.T, uniform.T


def phase_diagram(key, pairs: int, repeats: int) -> list[dict]:
    """Every cell with predicted and measured gain (ENCORE minus equal weights), ready for JSON."""
    cells = []
    keys = jax.random.split(key, len(STRENGTHS))
    for (noise, (best, worst)), own in zip(STRENGTHS.items(), keys, strict=True):
        grid = list(itertools.product(SHARED[noise], worst, BASE_RATES))
        strengths = np.stack([np.linspace(best, w, JUDGES) for _, w, _ in grid])
        shared, base_rate = np.array([g[0] for g in grid]), np.array([g[2] for g in grid])
        on_device = (jnp.asarray(x, jnp.float32) for x in (strengths, shared, base_rate))
        encore, uniform = map(np.asarray, measured_gain(*on_device, own, noise, pairs, repeats))
        gain = (encore - uniform).astype(np.float64)
        for i, (common, level, rate) in enumerate(grid):
            of_uniform, of_encore = predicted(noise, strengths[i], common, rate)
            cells.append(
                {
                    "noise": noise,
                    "shared": common,
                    "worst": level,
                    "base_rate": rate,
                    "uniform": of_uniform,
                    "predicted": of_encore - of_uniform,
                    "measured": float(gain[i].mean()),
                    "repeats": repeats,
                    "error": float(gain[i].std(ddof=1) / repeats**0.5),
                }
            )
    return cells


def predicted(noise: str, strengths: np.ndarray, shared: float, base_rate: float) -> tuple[float, float]:
    """Accuracies of equal weights and of ENCORE's, exactly."""
    entropies = np.array([closed.judge(s, base_rate, noise, LEVELS)[0] for s in strengths])
    weights = closed.softmax_weights(entropies, TAU)
    of = functools.partial(closed.jury_accuracy, strengths=strengths, shared=shared, noise=noise, levels=LEVELS)
    return of(np.ones(JUDGES)), of(weights / weights.max())


def phase_claims(cells: list[dict]) -> list[Claim]:
    """What the diagram must show."""
    astray = [abs(c["measured"] - c["predicted"]) > tolerated(c["repeats"] - 1) * c["error"] + ROUNDING for c in cells]
    assumption = (
        f"Three judges on {LEVELS} levels, τ = {TAU:g} nats; noise from the best to the worst judge in even steps; "
        "entropies at the base rate, pairs of one good and one bad response."
    )
    rows = [Row(f"cells of {len(cells)} whose gain is not as predicted", 0.0, float(sum(astray)), 0.0)]
    claims = [
        Claim(
            "phase-diagram", "Where ENCORE gains and where it loses follows from the judges' answer distributions",
            assumption, "The gain in every cell, by enumeration of all answers.", tuple(rows),
        )
    ]  # fmt: skip

    def at(noise, worst, base_rate, relation, shared=0.0):
        wanted = {"noise": noise, "worst": worst, "base_rate": base_rate, "shared": shared}
        cell = next(c for c in cells if wanted.items() <= c.items())
        what = f"gain, {noise}, worst λ = {worst:g}, {100 * base_rate:g} % good, shared {shared:g}"
        return Row(what, 0.0, cell["measured"], cell["error"], relation, cell["repeats"] - 1)

    wins = (
        at("guess", 0.9, 0.5, ">"),
        at("guess", 0.9, 0.9, ">"),
        at("guess", 0.9, 0.5, ">", 0.9),
        at("flip", 0.45, 0.9, ">"),
        at("flip", 0.45, 0.9, ">", 0.9),
        at("gaussian", 1.0, 0.9, ">"),
    )
    loses = (at("gaussian", 1.0, 0.5, "<"), at("gaussian", 0.8, 0.5, "<"))
    blind = (at("flip", 0.45, 0.5, "="), at("flip", 0.25, 0.5, "="))
    return [
        *claims,
        Claim(
            "encore-wins",
            "ENCORE beats equal weights where unreliable judges answer more evenly",
            assumption,
            "The gain is positive: guessing at any base rate, flips and normal noise where one kind of answer is rare; "
            "shared errors do not undo it.",
            wins,
        ),
        Claim(
            "encore-loses",
            "ENCORE loses to equal weights where unreliable judges answer less evenly",
            assumption,
            "The gain is negative under strong normal noise on a clipped scale, good and bad being equally frequent.",
            loses,
        ),
        Claim(
            "entropy-blind",
            "ENCORE equals equal weights where entropy is blind",
            assumption,
            "Flips move no entropy where good and bad are equally frequent, so the gain is 0 however bad a judge is: "
            "chance differences of entropy break ties at random.",
            blind,
        ),
    ]
