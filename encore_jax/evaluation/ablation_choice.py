"""The choice that an ablation is asked about: which temperature and grid, with all rules, and whether it matters.

Every setting of the full rule set stands beside equal weights on the same comparisons, resampled by prompt. The best of
many settings is ahead by chance alone. So a setting can be told from the best one only if it lies further behind than
the largest difference of any two settings that resampling explains: the studentised range, as in Tukey's test,
with the bootstrap's distribution in place of the normal one. What the whole procedure is worth, choosing included,
is measured on the prompts that a resample left out.

Letters: N comparisons, K rules, S settings, G prompts, R resamples, H draws of the training prompts.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import jax.numpy as jnp
import numpy as np
from jaxtyping import Bool, Float, Int

from encore_jax.composition.ties import credit
from encore_jax.evaluation.ablation_grid import Axis, Grid
from encore_jax.evaluation.ablation_kernel import Tables, setting_weights
from encore_jax.evaluation.ablation_results import TAU, value_text
from encore_jax.evaluation.bootstrap import percentile_interval

RESAMPLES = 1000
FEWEST_PROMPTS = 10
"""Prompts below which resampling them says nothing."""
MOST_PAIRED = 400
"""Settings of which all pairs are compared; of more, as many evenly spaced by accuracy."""
AT_ONCE = 256
"""Settings decided by one product, which bounds memory."""


def full_set_choice(
    axes: Sequence[Axis],
    entropy: Float[np.ndarray, "H E K"],
    margin: Float[np.ndarray, "D N K"],
    tolerance: Float[np.ndarray, "D N K"],
    cluster: Int[np.ndarray, " N"],
    prior: Float[np.ndarray, "P K"],
    seed: int = 0,
) -> dict[str, object]:
    """All settings of the full rule set beside each other and beside equal weights.

    Args:
      axes: of entropies, then tau, then agreement, slowest first; their product are the S settings.
      entropy: under every combination of the entropies' axes, of each draw.
      margin, tolerance: of the comparisons, and how far rounding may have moved them; D is H, or 1 for all draws.
      cluster: prompt of each comparison.
      prior: factors of the weights, one for each value of the last axis.
      seed: of the resampling.

    Returns:
      `settings` S, `comparisons`, `prompts`; `best` and `worst`, each with `values` (of the axes that vary) and
      `accuracy`; `is_uniform`, whether the best is equal weights; `uniform`, their accuracy; `minus_uniform` of
      the best, `spread` between best and worst; `alike`, what the best cannot be told from (see `_alike`); `gain`, what
      choosing on one part of the prompts is worth on the others, over equal weights, None with fewer than 10 prompts;
      `marginals` by axis; `heat_map` of grid by tau, None where one of them does not vary. Accuracies are averages over
      the draws; each is {"value", "low", "high"}, the bounds None with fewer than 10 prompts.
    """
    grid = Grid(tuple(axes))
    credit = _credit(grid, entropy, margin, tolerance, prior)
    prompts, position = np.unique(cluster, return_inverse=True)
    sums = np.stack([np.bincount(position, row, len(prompts)) for row in credit], 1)  # [G, S + 1]
    size = np.bincount(position, minlength=len(prompts)).astype(np.float64)
    accuracy = sums.sum(0) / size.sum()
    own, uniform = accuracy[:-1], accuracy[-1]
    best = _best(own, uniform)
    worst = int(own.argmin())
    found = {"settings": grid.size, "comparisons": len(cluster), "prompts": len(prompts)}
    times = _times(len(prompts), seed) if len(prompts) >= FEWEST_PROMPTS else np.zeros((0, len(prompts)))
    drawn = (times @ sums) / np.maximum(times @ size, 1)[:, None]  # [R, S + 1]

    def interval(*values: tuple[int, int]) -> dict:
        """Of the sum of columns, each with its sign."""
        total = sum(factor * np.r_[accuracy[column], drawn[:, column]] for column, factor in values)
        return _interval(total)

    told = _told(accuracy, drawn, best)
    return found | {
        "best": {"values": _values(grid, best), "accuracy": interval((best, 1))},
        "worst": {"values": _values(grid, worst), "accuracy": interval((worst, 1))},
        "is_uniform": bool(own[best] <= uniform),
        "uniform": interval((grid.size, 1)),
        "minus_uniform": interval((best, 1), (grid.size, -1)),
        "spread": interval((best, 1), (worst, -1)),
        "alike": _alike(grid, own, told, best),
        "gain": _gain(sums, size, times),
        "marginals": {
            axis.name: _marginal(grid, a, accuracy, drawn) for a, axis in enumerate(grid.axes) if len(axis) > 1
        },
        "heat_map": _heat_map(grid, own),
    }


def _credit(grid: Grid, entropy, margin, tolerance, prior) -> np.ndarray:
    """Credit of every setting, and of equal weights last, on every comparison ``[S + 1, N]``: 1, a tie 0.5, else 0."""
    tau = jnp.asarray(grid.axes[grid.names.index(TAU)].values, jnp.float32)
    shape = (entropy.shape[1], len(tau), 1, len(prior))
    digits = np.stack(np.unravel_index(np.arange(grid.size), shape), -1)
    every = jnp.ones((1, prior.shape[1]), bool)
    total = np.zeros((grid.size + 1, margin.shape[1]))
    for draw in range(len(entropy)):
        tables = Tables(jnp.asarray(entropy[draw]), tau, every, jnp.asarray(prior, jnp.float32))
        weights = np.asarray(setting_weights(tables, jnp.asarray(digits)))
        weights = np.concatenate([weights, np.full((1, prior.shape[1]), 1 / prior.shape[1], np.float32)])
        row = draw % len(margin)
        for first in range(0, len(weights), AT_ONCE):
            part = weights[first : first + AT_ONCE]
            total[first : first + AT_ONCE] += credit(part @ margin[row].T, np.abs(part) @ tolerance[row].T)
    return total / len(entropy)


def _best(own: Float[np.ndarray, " S"], uniform: float) -> int:
    """The first of the highest settings, but equal weights where nothing is above them."""
    best = int(own.argmax())
    return int(np.flatnonzero(own == uniform)[-1]) if own[best] == uniform else best


def _times(prompts: int, seed: int) -> np.ndarray:
    """How often each resample draws each prompt ``[R, G]``."""
    rng = np.random.default_rng(seed)
    return rng.multinomial(prompts, np.full(prompts, 1 / prompts), RESAMPLES).astype(np.float64)


def _interval(samples: np.ndarray) -> dict:
    """Value (the data themselves, first) and interval of the resamples, None without any."""
    low, high = map(float, percentile_interval(samples[1:])) if samples.size > 2 else (None, None)
    return {"value": float(samples[0]), "low": low, "high": high}


def _told(accuracy: np.ndarray, drawn: np.ndarray, best: int) -> Bool[np.ndarray, " S+1"]:
    """Which settings lie further behind the best than resampling explains for any two of them."""
    if not len(drawn):
        return np.zeros(len(accuracy), bool)
    moved = drawn - accuracy
    order = np.argsort(accuracy, kind="stable")
    thinned = order[np.unique(np.linspace(0, len(order) - 1, min(MOST_PAIRED, len(order))).astype(int))]
    few = moved[:, np.unique(np.r_[thinned, best, len(accuracy) - 1])]
    few = np.unique(few, axis=1)  # settings that decide alike
    covariance = few.T @ few / len(few)
    error = np.sqrt(np.maximum(_variance_of_differences(covariance), 0))
    with np.errstate(divide="ignore"):
        inverse = np.where(error > 1e-9, 1 / error, 0)
    largest = np.array([(np.abs(row[:, None] - row[None]) * inverse).max() for row in few])
    critical = np.quantile(largest, 0.95)
    behind = accuracy[best] - accuracy
    return behind > critical * (moved[:, [best]] - moved).std(0) + 1e-12


def _variance_of_differences(covariance: np.ndarray) -> np.ndarray:
    own = np.diag(covariance)
    return own[:, None] + own[None] - 2 * covariance


def _alike(grid: Grid, own: np.ndarray, told: np.ndarray, best: int) -> dict:
    """What the best cannot be told from.

    Returns:
      `settings`, how many others; `uniform`, whether equal weights are among them; `all`, whether every setting is;
      `taus`, `grids`: of the best one's own settings but for this choice, the values that cannot be told from it.
    """
    untold = ~told
    taken = {name: [] for name in (TAU, "grid")}
    digits = grid.digits(np.arange(grid.size))
    for name in taken:
        a = grid.names.index(name)
        others = np.delete(digits, a, 1) == np.delete(digits[best], a)
        for row in np.flatnonzero(others.all(1)):
            if untold[row]:
                taken[name].append(value_text(grid.axes[a].values[digits[row, a]]))
    return {
        "settings": int(untold[:-1].sum()) - 1,
        "uniform": bool(untold[-1]),
        "all": bool(untold.all()),
        "taus": taken[TAU],
        "grids": taken["grid"],
    }


def _gain(sums: np.ndarray, size: np.ndarray, times: np.ndarray) -> float | None:
    """Accuracy over equal weights, on the prompts that a resample left out, of the setting that was best in it."""
    times = times[(times == 0).any(1)]
    if not len(times):
        return None
    out = (times == 0).astype(np.float64)
    chosen, right = (times @ sums[:, :-1]).argmax(1), out @ sums
    return float(((right[np.arange(len(out)), chosen] - right[:, -1]) / (out @ size)).mean())


def _marginal(grid: Grid, a: int, accuracy: np.ndarray, drawn: np.ndarray) -> list[dict]:
    """Of each value of an axis: mean accuracy over all other choices, its spread, and how far from equal weights."""
    digits, rows = grid.digits(np.arange(grid.size))[:, a], []
    both = np.concatenate([accuracy[None], drawn])
    for d, value in enumerate(grid.axes[a].values):
        at = np.flatnonzero(digits == d)
        mean = both[:, at].mean(1)
        rows.append(
            {
                "value": value_text(value),
                "sd": float(accuracy[at].std()),
                "accuracy": _interval(mean),
                "minus_uniform": _interval(mean - both[:, -1]),
            }
        )
    return rows


def _heat_map(grid: Grid, own: np.ndarray) -> dict | None:
    """Mean accuracy at each grid and temperature."""
    axes = ("grid", TAU)
    at = [grid.names.index(name) for name in axes]
    if min(grid.shape[a] for a in at) < 2:
        return None
    others = tuple(a for a in range(len(grid.shape)) if a not in at)
    mean = own.reshape(grid.shape).mean(others)
    values = [list(map(value_text, grid.axes[a].values)) for a in at]
    return {"axes": list(axes), "values": values, "accuracy": mean.tolist()}


def _values(grid: Grid, index: int) -> dict[str, str]:
    """What a setting chooses: tau and grid always, other axes where they vary."""
    return {
        axis.name: value_text(axis.values[d])
        for axis, d in zip(grid.axes, grid.digits(index).tolist(), strict=True)
        if len(axis) > 1 or axis.name in (TAU, "grid")
    }


def is_equal_weights(values: dict[str, str]) -> bool:
    """Whether a setting with these values weighs all rules equally.

    >>> is_equal_weights({"tau": "\N{INFINITY}", "grid": "5 levels"}), is_equal_weights({"tau": "2"})
    (True, False)
    """
    return values[TAU] == value_text(math.inf) and values.get("agreement", "no") == "no"
