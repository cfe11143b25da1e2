"""The batch scorer, killed by SIGKILL and started again, writes the very same bytes and hardly scores twice."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.experiments import tiny_reward_model
from tests.experiments.forked import environment

REPOSITORY = Path(__file__).resolve().parents[2]


def check(folder, rows, kills, least):
    """At least `least` of the kills came while it ran."""
    tiny_reward_model.write(folder)
    lines = [
        {
            "id": f"row {i}",
            "prompt": f"Question {i % 50}?",
            "responses": ["No.", f"Answer {i}. " * (1 + i % 9), "x" * (i % 290)],
        }
        for i in range(rows)
    ]
    (folder / "rows.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    command = [sys.executable, "-m", "tests.experiments.score_and_kill", folder, str(kills), str(os.getpid())]
    made = environment(1, folder / "compiled")
    done = subprocess.run(command, cwd=REPOSITORY, env=made, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout.splitlines()[-1])
    print(told)
    assert told["status"] == 0, done.stderr
    assert told["killed"] >= least, told
    assert told["chunks"]["whole"] == -(-rows // 8)
    assert told["chunks"]["killed"] <= told["chunks"]["whole"] + told["killed"], "one chunk a kill, the one in flight"
    for name in ("parquet", "jsonl"):
        assert (folder / f"killed.{name}").read_bytes() == (folder / f"whole.{name}").read_bytes(), name
    assert not [path for path in folder.iterdir() if "tmp" in path.name or "parts" in path.name]


def test_killed_once(tmp_path):
    check(tmp_path, rows=200, kills=1, least=1)


@pytest.mark.slow
def test_killed_many_times(tmp_path):
    check(tmp_path, rows=1500, kills=12, least=7)
