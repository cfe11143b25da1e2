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
from experiments.config import TrainConfig
from tests.experiments import tiny_run


def get_config():
    made = tiny_run.config(Path({files!r}))
    made.train = TrainConfig(
        method="gradient", loss="bradley_terry", trainable="all", rows=4, length=256, epochs=1, save_every=4, watch=4,
        tokens_per_end=64,
    )
    made.mesh = MeshSettings(data=2, fsdp=2)
    return made
"""


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = tiny_run.write_files(tmp_path_factory.mktemp("files"))
    (folder / "config.py").write_text(CONFIG.format(files=str(folder)))
    return folder


def run(files, workdir, processes, of_second=()):
    """Starts so many processes of four devices in all."""

    def command(where):
        more = of_second if where.endswith(",1") else ()
        options = [f"--config={files / 'config.py'}", f"--workdir={workdir}", f"--multihost={where}", *more]
        return ["-m", "experiments.run", *options]

    return launch(processes, 4, command)


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


def test_processes_with_other_data_are_told_and_train_nothing(files, tmp_path):
    other = tmp_path / "pairs.jsonl"
    other.write_text("\n".join((files / "pairs.jsonl").read_text().splitlines()[:-1]) + "\n")
    for said in finish(run(files, tmp_path / "run", 2, [f"--config.data.path={other}"]), code=1):
        assert "which stage ingest depends on: another one than on process 0" in said
        assert "process 1" in said and "Traceback" not in said
    assert not (tmp_path / "run" / "train").exists()
