"""Two real processes train as one does, share their checkpoints, and stop together when one is told to."""

import json
import shutil
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


@pytest.fixture(scope="module")
def two_processes(tmp_path_factory):
    folder = tmp_path_factory.mktemp("two")
    finish(run(folder, 2))
    return folder


def assert_is(folder, expected):
    """Both processes ended with these parameters, and every step was written once."""
    for index in range(2):
        found = final(folder, index)
        assert found.keys() == expected.keys() and len(found) > 5
        for name, value in expected.items():
            np.testing.assert_array_equal(found[name], value, err_msg=name)
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == list(range(len(lines)))  # written by one process only


def test_two_processes_equal_one(one_process, two_processes):
    assert_is(two_processes, one_process)


def test_two_slices_train_as_one_and_a_slice_alone_goes_on_from_their_checkpoint(tmp_path):
    finish(run(tmp_path / "slices", 2, "--data", "--slices"))
    finish(run(tmp_path / "one", 1, "--data"))
    expected = final(tmp_path / "one")
    assert_is(tmp_path / "slices", expected)
    shutil.copytree(tmp_path / "slices" / "checkpoints", tmp_path / "resumed" / "checkpoints")
    checkpoints = tmp_path / "resumed" / "checkpoints"
    shutil.rmtree(max((p for p in checkpoints.iterdir() if p.name.isdigit()), key=lambda p: int(p.name)))
    finish(run(tmp_path / "resumed", 1, "--data"))  # from the one before the last, on one slice's worth of processes
    for name, value in final(tmp_path / "resumed").items():
        np.testing.assert_array_equal(value, expected[name], err_msg=name)


def test_slices_that_share_the_parameters_are_refused(tmp_path):
    for said in finish(run(tmp_path, 2, "--slices"), code=1):
        assert "does not fit 2 slices: only data may cross between them" in said
        assert "make data a multiple of 2, e.g. --config.mesh.data=2" in said


def test_what_one_process_cannot_read_none_of_them_uses(one_process, two_processes, tmp_path):
    """Process 0 can read the newest checkpoint; were it to go on from there, the two would wait for each other."""
    shutil.copytree(two_processes, tmp_path, dirs_exist_ok=True)
    checkpoints = tmp_path / "checkpoints"
    older, newest = sorted(int(p.name) for p in checkpoints.iterdir() if p.name.isdigit())
    for path in tmp_path.glob("final-*.npz"):
        path.unlink()

    def command(where):
        return [str(WORKER), str(tmp_path), where, *([f"--unreadable={newest}"] if where.endswith(",1") else [])]

    first, second = finish(launch(2, 4, command))
    assert f"checkpoints/{newest} cannot be read; trying the one before: see another process" in first
    assert f"checkpoints/{newest} cannot be read; trying the one before: the disk does not answer" in second
    assert_is(tmp_path, one_process)
    assert sorted(p.name for p in (checkpoints / "damaged").iterdir()) == [str(newest), "README"]
    assert sorted(int(p.name) for p in checkpoints.iterdir() if p.name.isdigit()) == [older, newest]  # made anew


def test_a_folder_that_is_not_shared_is_refused_before_anything_is_trained(tmp_path):
    def command(where):
        return [str(WORKER), str(tmp_path / where[-1]), where]

    for said in finish(launch(2, 4, command), code=1):
        assert "process 1 does not see what process 0 writes there" in said
    assert not list(tmp_path.rglob("metrics.jsonl"))


def test_a_folder_that_one_process_cannot_make_is_said_by_both(tmp_path):
    (tmp_path / "1").mkdir()
    (tmp_path / "1" / "checkpoints").write_text("in the way")

    def command(where):
        return [str(WORKER), str(tmp_path / where[-1]), where]

    for said in finish(launch(2, 4, command), code=1):
        assert "process 1 does not see what process 0 writes there" in said


def test_a_checkpoint_that_is_another_runs_for_one_process_stops_both(two_processes, tmp_path):
    shutil.copytree(two_processes, tmp_path, dirs_exist_ok=True)

    def command(where):
        return [str(WORKER), str(tmp_path), where, *(["--run=other"] if where.endswith(",1") else [])]

    first, second = finish(launch(2, 4, command), code=1)
    assert "it belongs to another run: see process 1" in first
    assert "run: 'tiny' there, 'other' here" in second


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
