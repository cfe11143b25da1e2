"""Runs an experiment undisturbed, then once more while killing it in every stage: ``python -m ... FILES OUT SEED``.

A process of its own, because it forks. Prints one JSON line about the kills.
"""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import sys
import time
from pathlib import Path

from experiments.chains.heads import HeadsChain
from experiments.config import validated
from tests.experiments import tiny_run
from tests.experiments.forked import start

ATTEMPTS = 6


def run_killed(files: Path, workdir: Path, stage: str, delay: float) -> bool:
    """Kills a run `delay` seconds after it has begun the stage; whether it was still running then."""
    child, begun = start(validated(tiny_run.config(files)), workdir), workdir / stage / "inputs.json"
    before = begun.stat().st_mtime_ns if begun.exists() else 0
    while not begun.exists() or begun.stat().st_mtime_ns == before:
        if os.waitpid(child, os.WNOHANG)[0]:
            return False
        time.sleep(0.001)
    time.sleep(delay)
    os.kill(child, signal.SIGKILL)
    return os.WIFSIGNALED(os.waitpid(child, 0)[1])


def kill_in_stage(files: Path, workdir: Path, stage: str, delay: float) -> bool:
    """Kills a run within a stage; whether that came about.

    With everything compiled a stage may end before the signal comes; it is then forgotten and killed sooner.
    """
    for _ in range(ATTEMPTS):
        if run_killed(files, workdir, stage, delay):
            return True
        shutil.rmtree(workdir / stage)
        delay /= 4
    return False


def main(files: Path, out: Path, seed: int) -> None:
    """Writes out/whole and out/killed."""
    _, status = os.waitpid(start(validated(tiny_run.config(files)), out / "whole"), 0)
    assert status == 0, "the undisturbed run failed"
    rng, killed = random.Random(seed), {}
    for stage in HeadsChain.STAGES:
        spent = json.loads((out / "whole" / stage / "manifest.json").read_text())["seconds"]
        killed[stage] = kill_in_stage(files, out / "killed", stage, rng.uniform(0, 0.7 * spent))
    _, status = os.waitpid(start(validated(tiny_run.config(files)), out / "killed"), 0)
    print(json.dumps({"killed": killed, "status": status}))


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]))
