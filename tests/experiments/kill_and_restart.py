"""Runs an experiment undisturbed, then once more while killing it in every stage.

    python -m tests.experiments.kill_and_restart heads|ramo FILES OUT SEED

A process of its own, because it forks. Prints one JSON line about the kills.
"""

from __future__ import annotations

import json
import os
import random
import shutil
import sys
from pathlib import Path

from encore_jax.recipes.run_config import RunConfig, validated
from tests.experiments import tiny_run
from tests.experiments.forked import killed, start
from tests.experiments.tiny_ramo import ramo

ATTEMPTS = 6
STAGES = {
    "heads": "ingest rate features train baselines score compose evaluate audit report".split(),
    "ramo": "ingest features rate adapter label train evaluate report".split(),
}


def run_killed(config: RunConfig, workdir: Path, stage: str, delay: float) -> bool:
    """Kills a run `delay` seconds after it has begun the stage; whether it was still running then."""
    child, begun = start(config, workdir), workdir / stage / "inputs.json"
    before = begun.stat().st_mtime_ns if begun.exists() else 0
    return killed(child, lambda: begun.exists() and begun.stat().st_mtime_ns != before, delay)


def kill_in_stage(config: RunConfig, workdir: Path, stage: str, delay: float) -> bool:
    """Kills a run within a stage; whether that came about.

    With everything compiled a stage may end before the signal comes; it is then forgotten and killed sooner.
    """
    for _ in range(ATTEMPTS):
        if run_killed(config, workdir, stage, delay):
            return True
        shutil.rmtree(workdir / stage)
        delay /= 4
    return False


def main(kind: str, files: Path, out: Path, seed: int) -> None:
    """Writes out/whole and out/killed."""
    config = validated((tiny_run.config if kind == "heads" else ramo)(files))
    _, status = os.waitpid(start(config, out / "whole"), 0)
    assert status == 0, "the undisturbed run failed"
    rng, done = random.Random(seed), {}
    for stage in STAGES[kind]:
        spent = json.loads((out / "whole" / stage / "manifest.json").read_text())["seconds"]
        done[stage] = kill_in_stage(config, out / "killed", stage, rng.uniform(0, 0.7 * spent))
    _, status = os.waitpid(start(config, out / "killed"), 0)
    print(json.dumps({"killed": done, "status": status}))


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3]), int(sys.argv[4]))
