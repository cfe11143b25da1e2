"""Selection of the critical rules of a million comparisons on CPU, beside NumPy, which must choose the same but where
scores differ by no more than rounding.

    python -m experiments.benchmarks.selection_throughput [--comparisons 1000000 --rules 100 --r 5 --rounds 3]

Two cores for both. The reference is a stable sort, which gives ties to the earlier rule. Rounds alternate between the
sides. The last line is one JSON object: median seconds of each side, their `ratio`, and `equal`.
"""

from __future__ import annotations

import json
import os
import statistics
import time

from encore_jax.command_line import Parser, one_line_errors

THREADS = 2
BLOCK = 50_000
"""Comparisons that NumPy sorts at once, to bound its memory."""


def main() -> None:
    """Measures, compares, prints a line a round and the JSON line."""
    parser = Parser(description=__doc__.splitlines()[0])
    for name, default in (("comparisons", 1_000_000), ("rules", 100), ("r", 5), ("rounds", 3)):
        parser.add_argument(f"--{name}", type=int, default=default)
    count, rules, r, rounds = vars(parser.parse_args()).values()
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:THREADS])
    os.environ["JAX_PLATFORMS"] = "cpu"
    os.environ.pop("JAX_NUM_CPU_DEVICES", None)  # fake devices would share the cores
    import jax
    import numpy as np

    from encore_jax.composition import critical_rules

    rng = np.random.default_rng(0)
    ratings = rng.random((count, 2, rules), np.float32)
    relevance = rng.random((count, rules), np.float32)

    def ours():
        return np.asarray(critical_rules(on_device[0], on_device[1], r))

    def reference():
        parts = []
        for i in range(0, count, BLOCK):
            block = ratings[i : i + BLOCK]
            scores = relevance[i : i + BLOCK] + np.float32(0.5) * np.abs(block[:, 0] - block[:, 1])
            parts.append(np.argsort(-scores, axis=1, kind="stable")[:, :r])
        return np.concatenate(parts)

    def chosen_scores(rules):
        scores = relevance + np.float32(0.5) * np.abs(ratings[:, 0] - ratings[:, 1])
        return np.take_along_axis(scores, rules, 1)

    on_device = jax.block_until_ready(jax.device_put((ratings, relevance)))
    ours()  # compiles
    seconds: dict[str, list[float]] = {"encore_jax": [], "numpy": []}
    equal = True
    for number in range(rounds):
        answers = []
        for name, side in (("encore_jax", ours), ("numpy", reference)):
            started = time.perf_counter()
            answers.append(side())
            seconds[name].append(time.perf_counter() - started)
        equal &= bool(np.abs(np.subtract(*map(chosen_scores, answers))).max() < 1e-6)
        line = ", ".join(f"{name} {values[-1]:.2f} s" for name, values in seconds.items())
        print(f"round {number}: {line}; equal: {equal}", flush=True)
    medians = {name: round(statistics.median(values), 3) for name, values in seconds.items()}
    ratio = round(medians["numpy"] / medians["encore_jax"], 2)
    setting = {"comparisons": count, "rules": rules, "r": r}
    print(json.dumps(setting | {"seconds": medians, "ratio": ratio, "equal": equal}))


if __name__ == "__main__":
    with one_line_errors():
        main()
