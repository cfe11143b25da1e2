"""Two real processes train as one does, share their checkpoints, and stop together when one is told to."""

import json
import signal
import time
from pathlib import Path

import numpy as np
import pytest

from tests.processes import finish, launch

WORKER = Path(__file__).parent / "process_worker.py"


def run(folder, processes, *options):
    """Starts so many processes of four devices in all; each writes its final parameters."""
    return launch(processes, 4, lambda where: [str(WORKER), str(folder), where, *options])


def final(folder, index=0):
    with np.load(folder / f"final-{index}.npz") as stored:
        return {name: stored[name] for name in stored.files}


@pytest.fixture(scope="module")
def one_process(tmp_path_factory):
    folder = tmp_path_factory.mktemp("one")
    finish(run(folder, 1))
    return final(folder)


def test_two_processes_equal_one(one_process, tmp_path):
    finish(run(tmp_path, 2))
    for index in range(2):
        found = final(tmp_path, index)
        assert found.keys() == one_process.keys() and len(found) > 5
        for name, value in one_process.items():
            np.testing.assert_array_equal(found[name], value, err_msg=name)
    lines = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == list(range(len(lines)))  # written by one process only


@pytest.mark.slow
def test_a_notice_to_one_process_stops_both_and_one_process_can_go_on(one_process, tmp_path):
    started = run(tmp_path, 2, "--slow")
    wait_for_step(tmp_path, 3)
    started[1].send_signal(signal.SIGTERM)
    finish(started, code=75)
    saved = [int(p.name) for p in (tmp_path / "checkpoints").iterdir() if p.name.isdigit()]
    assert len(saved) >= 1 and max(saved) < 16
    finish(run(tmp_path, 1))  # the same run, on one process with as many devices
    for name, value in final(tmp_path).items():
        np.testing.assert_array_equal(value, one_process[name], err_msg=name)


def wait_for_step(folder, step, seconds=200):
    path, end = folder / "metrics.jsonl", time.monotonic() + seconds
    while time.monotonic() < end:
        if path.exists() and len(path.read_text().splitlines()) >= step:
            return
        time.sleep(0.2)
    pytest.fail(f"no step {step} within {seconds} s")
