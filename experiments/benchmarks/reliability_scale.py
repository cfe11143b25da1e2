"""Which of 100 rules to trust, by 100,000 comparisons and 1,000 bootstrap draws: seconds and peak memory.

    python -m experiments.benchmarks.reliability_scale [--comparisons=100000 --rules=100 --draws=1000]

Ratings are made up (a quality, and noise of each rule, on whole numbers; a tenth of the comparisons is labelled); only
times and memory mean anything. `cpu_seconds` is the processor time of all threads; where it is far below `seconds`
times the number of cores, the machine was busy with something else. The last line is one JSON object.
"""

from __future__ import annotations

import json
import os
import resource
import sys
import time

import numpy as np

from encore_jax.command_line import Parser, check_number, one_line_errors
from encore_jax.evaluation.reliability import reliability
from encore_jax.settings import MAX_INT

FLAGS = {"comparisons": (100_000, 100), "rules": (100, 3), "draws": (1000, 20)}
"""Default and least value of every flag."""


def main() -> None:
    """Makes ratings up, measures, prints."""
    parser = Parser(description=__doc__.splitlines()[0])
    for name, (default, _) in FLAGS.items():
        parser.add_argument(f"--{name}", type=int, default=default, help=f"{default:,} by default")
    given = parser.parse_args()
    for name, (_, least) in FLAGS.items():
        check_number(f"--{name}", getattr(given, name), least, MAX_INT)
    rng = np.random.default_rng(0)
    quality = rng.normal(size=(given.comparisons, 2, 1)).astype(np.float32)
    ratings = np.round(
        quality * rng.uniform(0.3, 1, given.rules).astype(np.float32)
        + rng.standard_normal((given.comparisons, 2, given.rules), np.float32)
    )
    preferred = np.where(rng.random(given.comparisons) < 0.1, quality[..., 0].argmax(1), -1)
    before, started, busy = peak_mib(), time.monotonic(), time.process_time()
    found = reliability(ratings, preferred, draws=given.draws)
    told = {
        "comparisons": given.comparisons,
        "rules": given.rules,
        "draws": given.draws,
        "verdict": found.common.verdict,
        "seconds": round(time.monotonic() - started, 1),
        "cpu_seconds": round(time.process_time() - busy, 1),
        "cores": os.cpu_count(),
        "peak_mib": peak_mib(),
        "peak_mib_before": before,
        "ratings_mib": round(ratings.nbytes / 2**20),
    }
    print(f"{told['seconds']} s, {told['peak_mib']} MiB ({told['ratings_mib']} MiB of ratings)")
    print(json.dumps(told))


def peak_mib() -> int:
    """Largest resident memory of this process so far."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return round(peak / (2**20 if sys.platform == "darwin" else 2**10))


if __name__ == "__main__":
    with one_line_errors():
        main()
