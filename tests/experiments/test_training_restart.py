"""Training on eight devices, killed ten times at random moments, ends with the very same parameters."""

import json
import os
import subprocess
import sys
from pathlib import Path

import jax
import numpy as np
import orbax.checkpoint as ocp
import pytest

from encore_jax.train.metrics import read_metrics
from encore_jax.train.step_time import MEASURED
from tests.experiments import tiny_run
from tests.experiments.forked import environment

REPOSITORY = Path(__file__).resolve().parents[2]
KILLS = 12


def newest_state(workdir):
    """Every array of the newest checkpoint, on the host."""
    folder = workdir / "train" / "checkpoints"
    newest = max(int(p.name) for p in folder.iterdir() if p.name.isdigit())
    with ocp.PyTreeCheckpointer() as reader:
        found = reader.restore(folder / str(newest) / "state", restore_args=None)
    return newest, {
        jax.tree_util.keystr(path): np.asarray(leaf) for path, leaf in jax.tree_util.tree_leaves_with_path(found)
    }


def without_times(line):
    return {name: value for name, value in line.items() if name not in MEASURED}


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:Sharding info not provided")  # one machine: that of the file is right
def test_killed_many_times_it_ends_with_bit_identical_parameters(tmp_path):
    files = tiny_run.write_files(tmp_path / "files")
    command = [sys.executable, "-m", "tests.experiments.kill_training", files, tmp_path, str(os.getpid()), str(KILLS)]
    done = subprocess.run(
        command, cwd=REPOSITORY, env=environment(8, tmp_path / "compiled"), capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout.splitlines()[-1])
    print(told)
    assert told["status"] == 0, done.stderr
    assert told["killed"] >= 10, told
    (step, whole), (step_of_killed, killed) = newest_state(tmp_path / "whole"), newest_state(tmp_path / "killed")
    assert step == step_of_killed == told["steps"] and whole.keys() == killed.keys() and len(whole) > 30
    for name, value in whole.items():
        np.testing.assert_array_equal(killed[name], value, err_msg=name)
    runs = [
        json.loads((tmp_path / run / "train" / "manifest.json").read_text())["outputs"] for run in ("whole", "killed")
    ]
    assert runs[0]["rewards.npz"] == runs[1]["rewards.npz"]
    whole, killed = (read_metrics(tmp_path / run / "train" / "metrics.jsonl") for run in ("whole", "killed"))
    assert [without_times(line) for line in killed] == [without_times(line) for line in whole]
