"""A run that is killed in every one of its stages ends with the very same results."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.experiments import tiny_run
from tests.experiments.forked import environment
from tests.experiments.kill_and_restart import STAGES

REPOSITORY = Path(__file__).resolve().parents[2]


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["heads", "ramo"])
def test_killed_at_random_moments_and_restarted_it_ends_with_the_same_results(kind, tmp_path):
    files = tiny_run.write_files(tmp_path / "files")
    command = [sys.executable, "-m", "tests.experiments.kill_and_restart", kind, files, tmp_path, str(os.getpid())]
    done = subprocess.run(
        command, cwd=REPOSITORY, env=environment(1, tmp_path / "compiled"), capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout.splitlines()[-1])
    assert told["status"] == 0, done.stderr
    assert told["killed"] == dict.fromkeys(STAGES[kind], True), told
    for stage in STAGES[kind]:
        whole, killed = (
            json.loads((tmp_path / run / stage / "manifest.json").read_text())["outputs"] for run in ("whole", "killed")
        )
        assert killed == whole, stage
    assert (tmp_path / "killed" / "results.json").read_bytes() == (tmp_path / "whole" / "results.json").read_bytes()
