"""Decisions per second of the ablation engine, beside a NumPy loop over settings and this machine's matrix product.

    python -m experiments.benchmarks.ablation_throughput [--rounds 9]

A decision is one comparison under one setting: the sign of Σ_k w_k Δ_k. All sides run on the same two cores, in turns,
so that other load on the machine falls on each of them:

    engine    `encore_jax.evaluation.ablation_kernel.decide_range`, weights and counts of right and tied included
    matmul    `jax.numpy.matmul` in fp32, at the best of several shapes: large squares, the product of all margins with
              all weights, and the engine's own tile
    loop      one setting at a time on the scores [N, 2, K], as a user would write it: softmax over the rules of the
              subset, rewards = scores @ weights, compare, average; a share of the settings, because it takes so long
    tuned     the same with what a patient user would find: margins made once, one matrix-vector product (BLAS) each

The loops are NumPy calls on two cores; "tuned" is bound by memory, not by arithmetic, so no loop over settings comes
near the product.

The last line is one JSON object: `decisions_per_second`, `share_of_matmul` (flop/s of the products in the engine over
that of the best matmul) and `times_loop` and `times_tuned_loop`, from medians. The
counts of all sides are compared before anything is timed.
"""

from __future__ import annotations

import json
import os
import statistics
import time
from collections.abc import Callable

from encore_jax.command_line import Parser, one_line_errors

THREADS = 2
COMPARISONS, RULES = 2048, 100
ENTROPIES, TAUS, SUBSETS = 4, (0.1, 0.5, 2.0, 5.0), 1024
LOOPED = 256


def main() -> None:
    """Measures all sides, prints a table and the JSON line."""
    parser = Parser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=9, help="timed rounds per side")
    rounds = parser.parse_args().rounds
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:THREADS])  # all sides follow it
    os.environ["JAX_PLATFORMS"] = "cpu"
    os.environ.pop("JAX_NUM_CPU_DEVICES", None)  # fake devices would share the cores

    import jax

    settings = ENTROPIES * len(TAUS) * SUBSETS
    engine, loop, tuned = _sides()
    _check_equal(engine(), loop())
    _check_equal(engine(), tuned())
    decisions = {"engine": COMPARISONS * settings} | dict.fromkeys(("loop", "tuned"), COMPARISONS * LOOPED)
    flops = {name: 2 * m * k * n for name, (m, k, n) in _shapes(settings).items()}
    sides: dict[str, Callable] = {"engine": lambda: jax.block_until_ready(engine()), "loop": loop, "tuned": tuned}
    sides |= _products(settings)
    seconds = {name: [] for name in sides}
    for run in sides.values():
        run(), run()
    for _ in range(rounds):
        for name, run in sides.items():
            start = time.perf_counter()
            run()
            seconds[name].append(time.perf_counter() - start)
    median = {name: statistics.median(times) for name, times in seconds.items()}
    rate = {name: flops[name] / median[name] for name in flops}
    best = max(rate, key=rate.get)
    speed = {name: decisions[name] / median[name] for name in decisions}
    for name in flops:
        print(f"{name:28s} {rate[name] / 1e9:8.1f} Gflop/s{'  best' if name == best else ''}")
    for name in decisions:
        print(f"{name:28s} {2 * RULES * speed[name] / 1e9:8.1f} Gflop/s  {speed[name] / 1e6:8.2f} million decisions/s")
    share = 2 * RULES * speed["engine"] / rate[best]
    print(json.dumps({
        "decisions_per_second": round(speed["engine"]),
        "share_of_matmul": round(share, 3),
        "times_loop": round(speed["engine"] / speed["loop"], 1),
        "times_tuned_loop": round(speed["engine"] / speed["tuned"], 1),
        "matmul_gflops": round(rate[best] / 1e9, 1), "rules": RULES, "comparisons": COMPARISONS,
        "settings": settings, "rounds": rounds, "threads": THREADS,
    }))  # fmt: skip


def _shapes(settings: int) -> dict[str, tuple[int, int, int]]:
    """Shapes of the products that the engine is measured against."""
    return {
        "matmul 1024^3": (1024, 1024, 1024),
        "matmul 2048^3": (2048, 2048, 2048),
        "matmul margins x weights": (COMPARISONS, RULES, settings),
        "matmul one tile": (2048, RULES, 256),
    }


def _products(settings: int) -> dict[str, Callable]:
    import jax
    import jax.numpy as jnp

    def product(m: int, k: int, n: int) -> Callable:
        left, right = (jax.random.normal(jax.random.key(i), shape) for i, shape in enumerate(((m, k), (k, n))))
        multiply = jax.jit(jnp.matmul)
        return lambda: multiply(left, right).block_until_ready()

    return {name: product(*shape) for name, shape in _shapes(settings).items()}


def _sides() -> tuple[Callable, Callable, Callable]:
    """The engine on all settings, and both loops on the first of them; each returns correct and ties per setting."""
    import jax.numpy as jnp
    import numpy as np

    from encore_jax.evaluation.ablation_grid import sampled_subsets
    from encore_jax.evaluation.ablation_kernel import Tables, decide_range, settings_mesh, tile_here

    rng = np.random.default_rng(0)
    margin = rng.normal(0.2, 1, (COMPARISONS, RULES)).astype(np.float32)
    entropy = rng.uniform(0, 2.4, (ENTROPIES, RULES)).astype(np.float32)
    subset = sampled_subsets(RULES, SUBSETS, 0)
    tables = Tables(jnp.asarray(entropy), jnp.asarray(TAUS, jnp.float32), jnp.asarray(subset))
    on_device, start = jnp.asarray(margin), jnp.zeros(3, jnp.int32)
    fixed = {"count": ENTROPIES * len(TAUS) * SUBSETS, "mesh": settings_mesh(), "tile": tile_here()}

    base = rng.normal(size=margin.shape).astype(np.float32)
    preferred, pair = rng.integers(0, 2, COMPARISONS), np.arange(COMPARISONS)
    scores = np.stack([base, base], 1)
    scores[pair, preferred] += margin

    def weights_of(s: int):
        e, t, m = np.unravel_index(s, tables.shape)
        weights = np.exp(-entropy[e] / np.float32(TAUS[t])) * subset[m]
        return weights / weights.sum()

    def loop():
        correct, ties = np.zeros(LOOPED, int), np.zeros(LOOPED, int)
        for s in range(LOOPED):
            reward = scores @ weights_of(s)
            gap = reward[pair, preferred] - reward[pair, 1 - preferred]
            correct[s], ties[s] = (gap > 0).sum(), (gap == 0).sum()
        return correct, ties

    def tuned():
        correct, ties = np.zeros(LOOPED, int), np.zeros(LOOPED, int)
        for s in range(LOOPED):
            gap = margin @ weights_of(s)
            correct[s], ties[s] = (gap > 0).sum(), (gap == 0).sum()
        return correct, ties

    return lambda: decide_range(on_device, tables, start, **fixed), loop, tuned


def _check_equal(engine, loop) -> None:
    """The sides must agree but for margins so near to 0 that rounding decides."""
    import numpy as np

    for got, expected in zip(engine, loop, strict=True):
        difference = np.abs(np.asarray(got)[:LOOPED] - expected)
        if difference.max() > 2 or difference.mean() > 0.05:
            raise SystemExit(f"the sides disagree by up to {difference.max()} of {COMPARISONS} comparisons")


if __name__ == "__main__":
    with one_line_errors():
        main()
