"""Trains undisturbed, then once more while killing it many times: ``python -m ... FILES OUT SEED KILLS``.

A process of its own, because it forks: each run is a child on eight fake devices that is killed by SIGKILL at a random
moment after its first new step. Prints one JSON line.
"""

from __future__ import annotations

import json
import os
import random
import sys
import time
from pathlib import Path

from encore_jax.parallel.mesh import MeshSettings
from encore_jax.recipes.config import TrainConfig
from encore_jax.recipes.run_config import validated
from tests.experiments import tiny_run
from tests.experiments.forked import killed, start


def config(files: Path):
    """A Bradley-Terry run of some hundreds of tiny steps, saved every 7."""
    made = tiny_run.config(files)
    made.train = TrainConfig(
        method="gradient", loss="bradley_terry", trainable="all", rows=8, length=256, epochs=60, save_every=7, watch=4,
        tokens_per_end=64,
    )  # fmt: skip
    made.mesh = MeshSettings(data=2, fsdp=4)
    return validated(made)


def last_step(workdir: Path) -> float:
    """When the newest step was written, 0 if there is none."""
    path = workdir / "train" / "metrics.jsonl"
    return path.stat().st_mtime if path.exists() and path.stat().st_size else 0.0


def run_killed(files: Path, workdir: Path, delay: float) -> bool:
    """Kills a run `delay` seconds after it has made its first new step; whether it was still running then."""
    began, child = time.time(), start(config(files), workdir)
    return killed(child, lambda: last_step(workdir) >= began, delay)


def main(files: Path, out: Path, seed: int, kills: int) -> None:
    """Writes out/whole and out/killed."""
    _, status = os.waitpid(start(config(files), out / "whole"), 0)
    assert status == 0, "the undisturbed run failed"
    counts = json.loads((out / "whole" / "train" / "counts.json").read_text())["training"]
    pace = counts["seconds_of_this_process"] / counts["steps"]
    rng, kills_done, steps = random.Random(seed), 0, []
    for _ in range(kills):
        kills_done += run_killed(files, out / "killed", rng.uniform(0, 0.5 * counts["steps"] * pace / kills))
        path = out / "killed" / "train" / "metrics.jsonl"
        steps.append(len(path.read_text().splitlines()) if path.exists() else 0)
    _, status = os.waitpid(start(config(files), out / "killed"), 0)
    print(json.dumps({"killed": kills_done, "lines_when_killed": steps, "steps": counts["steps"], "status": status}))


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4]))
