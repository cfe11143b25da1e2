"""A training run over two real processes: the results of one, stages skipped only together, the same data for all."""

import json
import shutil

import numpy as np
import pytest

from tests.experiments import tiny_run
from tests.processes import finish, launch

CONFIG = """
from pathlib import Path

from encore_jax.parallel.mesh import MeshSettings
from encore_jax.recipes.config import TrainConfig
from tests.experiments import tiny_run


def get_config():
    made = tiny_run.config(Path({files!r}))
    made.train = TrainConfig(
        method="gradient", loss={loss!r}, trainable="all", rows=4, length=256, epochs=1, save_every=4, watch=4,
        tokens_per_end=64,
    )
    made.mesh = MeshSettings(data=2, fsdp=2)
    return made
"""


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = tiny_run.write_files(tmp_path_factory.mktemp("files"))
    for loss in ("bradley_terry", "regression"):
        (folder / f"{loss}.py").write_text(CONFIG.format(files=str(folder), loss=loss))
    return folder


def run(files, workdir, processes, *options, of_second=(), loss="bradley_terry", home_of_second=None):
    """Starts so many processes of four devices in all."""

    def command(where):
        more = of_second if where.endswith(",1") else ()
        config = f"--config={files / loss}.py"
        return ["-m", "experiments.run", config, f"--workdir={workdir}", f"--multihost={where}", *options, *more]

    return launch(processes, 4, command, {1: {"HOME": str(home_of_second)}} if home_of_second else {})


def results(workdir):
    found = json.loads((workdir / "results.json").read_text())
    with np.load(workdir / "train" / "rewards.npz") as stored:
        rewards = {name: stored[name] for name in stored.files}
    return found["held_out"], rewards


@pytest.fixture(scope="module")
def together(files, tmp_path_factory):
    workdir = tmp_path_factory.mktemp("together")
    finish(run(files, workdir, 2))
    return workdir


@pytest.mark.slow
def test_two_processes_have_the_results_of_one(files, together, tmp_path):
    finish(run(files, tmp_path, 1))
    (held_out, rewards), (held_out_by_one, expected) = results(together), results(tmp_path)
    assert rewards.keys() == expected.keys()
    for name, value in expected.items():
        np.testing.assert_allclose(rewards[name], value, rtol=1e-5, atol=1e-6, err_msg=name)
    assert held_out == held_out_by_one
    with np.load(together / ".process-1" / "train" / "rewards.npz") as of_second:
        for name, value in rewards.items():
            np.testing.assert_array_equal(of_second[name], value, err_msg=name)


@pytest.mark.slow
def test_a_stage_that_one_process_lacks_is_run_by_all(files, together, tmp_path):
    """Process 1 was killed after process 0 had finished training; neither waits for the other for ever."""
    shutil.copytree(together, tmp_path, dirs_exist_ok=True)
    (tmp_path / ".process-1" / "train" / "manifest.json").unlink()
    first, second = finish(run(files, tmp_path, 2))
    assert "ingest: up to date" in first and "train: done" in first
    (held_out, rewards), (expected_held_out, expected) = results(tmp_path), results(together)
    assert held_out == expected_held_out
    for name, value in expected.items():
        np.testing.assert_array_equal(rewards[name], value, err_msg=name)


def refused(started, *words):
    for said in finish(started, code=2):
        assert all(word in said for word in ("process 1: ", *words)) and "Traceback" not in said, said


def test_processes_with_other_data_or_none_are_told_and_train_nothing(files, tmp_path, monkeypatch):
    """The same path names another file on the second host, or nothing."""
    monkeypatch.setenv("HOME", str(files))
    lines = (files / "pairs.jsonl").read_text().splitlines()
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "pairs.jsonl").write_text("\n".join(lines[:-1]) + "\n")
    (tmp_path / "empty").mkdir()
    said = {"other": "what stage ingest depends on: sources.comparisons: not as on process 0", "empty": ""}
    for name, words in said.items():
        started = run(files, tmp_path / "run", 2, "--config.data.path=~/pairs.jsonl", home_of_second=tmp_path / name)
        if words:
            refused(started, words)
        else:
            first, second = finish(started, code=2)
            assert "another process is refused its inputs or its work directory" in first
            assert "no such file or folder" in second and "Traceback" not in first + second
    assert not (tmp_path / "run" / "train").exists()


def test_processes_with_other_commands_are_told_which_setting_differs(files, tmp_path):
    options = [
        "--config.train.save_every=5",
        "--config.mesh.fsdp=4",
        "--config.mesh.data=1",
        "--config.train.remat=none",
    ]
    refused(
        run(files, tmp_path, 2, of_second=[*options, "--until=train"]),
        "the command: mesh.data, mesh.fsdp, train.remat, train.save_every, until: not as on process 0",
        "Fix: start the same command on every host",
    )


@pytest.mark.slow
def test_features_that_one_process_lacks_are_computed_by_all(files, tmp_path):
    """Heads on ratings: every text's features are kept by each process, and computed by all of them at once."""
    finish(run(files, tmp_path, 2, loss="regression"))
    before = json.loads((tmp_path / "results.json").read_text())["views"]
    shutil.rmtree(tmp_path / ".process-1")
    first, second = finish(run(files, tmp_path, 2, loss="regression"))
    assert "train: done" in first
    assert json.loads((tmp_path / "results.json").read_text())["views"] == before
