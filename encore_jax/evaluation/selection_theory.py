"""The argument for maximum discrepancy, put to the test: where the largest |d| are the best rules, and where not.

Of K rules with discrepancies d_i, a set S of r labels a comparison by the sign of ``Σ_S d_i``. If people's preference
is the sign of ``Σ_S (d_i + σ ε_i)``, ε standard normal, the label is right with probability ``Φ(|Σ_S d_i| / (σ √r))``,
and its information grows with this sum. The argument for the r largest ``|d_i|`` counts ``Σ_S |d_i|`` instead: it holds
as long as the selected signs agree, and fails as they cancel.

The simulation draws magnitudes, gives every rule of a comparison the same sign, and flips each rule's sign with
probability q: q = 0 is where the argument holds.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np

from encore_jax.composition import (
    channel_information,
    preference_information,
    random_rules,
    selection_accuracy,
    top_rules,
)
from encore_jax.composition.ties import sign
from encore_jax.evaluation.bootstrap import percentile_interval

STRATEGIES = ("largest", "random", "best")
"""The r largest ``|d|``; random ones; the r of largest ``|Σ d|``, which is the true optimum."""
REPLICATES = 500


def simulate(r: int, num_rules: int, comparisons: int, noise: float, flips: tuple[float, ...], seed: int) -> list[dict]:
    """One point per share of flipped signs and strategy.

    Returns:
      Rows of plain values: flips, strategy, information (bias-corrected, with its 95 % bootstrap interval), the exact
      information of the model, and `predicted`, what the argument that ignores signs says.
    """
    rows = []
    for number, q in enumerate(flips):
        key = jax.random.fold_in(jax.random.key(seed), number)
        draw, choose, err, boot = jax.random.split(key, 4)
        difference = _discrepancies(draw, comparisons, num_rules, q)
        for i, strategy in enumerate(STRATEGIES):
            rules = _choose(strategy, difference, r, choose)
            chosen = jnp.take_along_axis(difference, rules, 1)
            errors = noise * jax.random.normal(jax.random.fold_in(err, i), chosen.shape)
            right = sign(chosen.sum(1)) == sign((chosen + errors).sum(1))
            hits = float(right.sum())
            # Comparisons are drawn independently, so resampling them is drawing the number of right ones.
            drawn = jax.random.binomial(boot, float(comparisons), hits / comparisons, (REPLICATES,))
            low, high = percentile_interval(preference_information(_counts(drawn, comparisons), corrections=2))
            exact, naive = (float(channel_information(p.mean())) for p in selection_accuracy(chosen, noise))
            rows.append(
                {
                    "flips": float(q),
                    "strategy": strategy,
                    "information": {
                        "value": float(preference_information(_counts(jnp.float32(hits), comparisons))),
                        "low": float(low),
                        "high": float(high),
                    },
                    "exact": exact,
                    "predicted": naive,
                }
            )
    return rows


def _counts(right: jax.Array, comparisons: int) -> jax.Array:
    return jnp.stack([right, comparisons - right, jnp.zeros_like(right)], -1)


def _discrepancies(key: jax.Array, comparisons: int, num_rules: int, flips: float) -> jax.Array:
    magnitude, sign, flip = jax.random.split(key, 3)
    shape = (comparisons, num_rules)
    signs = jnp.where(jax.random.bernoulli(sign, 0.5, (comparisons, 1)), 1.0, -1.0)
    turned = jnp.where(jax.random.bernoulli(flip, flips, shape), -1.0, 1.0)
    return jnp.abs(jax.random.normal(magnitude, shape)) * signs * turned


def _choose(strategy: str, difference: jax.Array, r: int, key: jax.Array) -> jax.Array:
    if strategy == "largest":
        return top_rules(jnp.abs(difference), r)
    if strategy == "random":
        return random_rules(key, jnp.ones(difference.shape, bool), r)
    positive, negative = top_rules(difference, r), top_rules(-difference, r)
    totals = [jnp.abs(jnp.take_along_axis(difference, rules, 1).sum(1)) for rules in (positive, negative)]
    return jnp.where((totals[0] >= totals[1])[:, None], positive, negative)


def verdicts(rows: list[dict]) -> dict:
    """Where the argument holds: its prediction lies in the interval of "largest", and nothing beats that choice.

    Returns:
      `holds` and `fails`, lists of flip shares; `loss`, by flip share the nats that "largest" leaves to "best".
    """
    holds, fails, loss = [], [], {}
    for q in dict.fromkeys(row["flips"] for row in rows):
        largest, best = (next(r for r in rows if (r["flips"], r["strategy"]) == (q, s)) for s in ("largest", "best"))
        seen = largest["information"]
        loss[f"{q:g}"] = best["exact"] - largest["exact"]
        predicted = seen["low"] <= largest["predicted"] <= seen["high"]
        (holds if predicted and np.isclose(best["exact"], largest["exact"], atol=1e-6) else fails).append(q)
    return {"holds": holds, "fails": fails, "loss": loss}
