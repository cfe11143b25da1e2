"""The command encore sweep: a dry run, bad input, and real runs."""

import json
import os
import shlex
import shutil
import subprocess
import sys

import pytest

from encore_jax.cli import grid
from tests.experiments import tiny_run
from tests.experiments.stub_sweep import QUICKSTART, REPOSITORY


@pytest.fixture(scope="module")
def commands(tmp_path_factory):
    """Several command lines at once, since most of their time is imports: name -> finished process; their folder."""
    folder = tmp_path_factory.mktemp("sweep")
    (folder / "file").write_text("mine")
    arguments = {
        "dry run": ["--grid=seed=0..1;name='a b',c", "--config.compose.tau=0.5", "--slices=x,y", "--dry-run",
                    "--launch=ssh {slice} {command}"],
        "bad value": ["--grid=seed=x", "--workdir=bad"],
        "failing run": ["--grid=data.path=no such", "--config.data.source=files",
                         "--config.data.ratings_path=none", "--workdir=failing"],
        "file": ["--grid=seed=0..1", "--workdir=file"],
        "file, dry": ["--grid=seed=0..1", "--workdir=file", "--dry-run"],
    }  # fmt: skip
    environment = os.environ | {"PYTHONPATH": str(REPOSITORY), "JAX_NUM_CPU_DEVICES": "1"}
    pipes = dict(stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    running = {}
    for name, extra in arguments.items():
        module = ["encore_jax.cli.main", "sweep"] if "dry" in name else ["encore_jax.cli.sweep"]  # both forms
        command = [sys.executable, "-m", *module, f"--config={QUICKSTART}", *extra]
        running[name] = subprocess.Popen(command, cwd=folder, env=environment, **pipes)
    return {name: (process, *process.communicate()) for name, process in running.items()}, folder


def test_a_dry_run_prints_commands_and_leaves_nothing(commands):
    done, folder = commands
    process, stdout, stderr = done["dry run"]
    assert process.returncode == 0, stderr
    lines = [shlex.split(line) for line in stdout.splitlines()]
    assert [line[:2] for line in lines] == [["ssh", "x"], ["ssh", "y"], ["ssh", "x"], ["ssh", "y"]]
    name = grid.cell_name({"seed": "0", "name": "a b"})
    assert shlex.split(lines[0][2]) == [
        "python", "-m", "encore_jax.cli.run", f"--config={QUICKSTART}", "--config.compose.tau=0.5", "--config.seed=0",
        "--config.name=a b", f"--workdir=runs/quickstart-sweep/{name}",
    ]  # fmt: skip
    assert not (folder / "runs").exists()


def test_bad_input_is_one_line_and_exit_code_2(commands):
    done, folder = commands
    process, stdout, stderr = done["bad value"]
    assert process.returncode == 2 and not stdout and not (folder / "bad").exists()
    (line,) = [line for line in stderr.splitlines() if line.startswith("error: ")]
    assert "cell seed=x" in line and "Traceback" not in stderr


def test_a_dry_run_refuses_the_folder_that_the_sweep_refuses(commands):
    done, folder = commands
    (dry, *words), (real, *others) = done["file, dry"], done["file"]
    assert dry.returncode == real.returncode == 2 and words == others
    assert words[1].endswith("error: file: a file is in the way of this folder. Fix: choose another folder\n")
    assert (folder / "file").read_text() == "mine"


def test_a_real_run_that_fails_is_listed_with_its_last_words(commands):
    done, folder = commands
    process, stdout, stderr = done["failing run"]
    assert process.returncode == 1
    assert stdout.count("failed (exit 2)") == 1 and stderr.count("no such file or folder") == 1
    assert len(json.loads((folder / "failing" / "sweep.json").read_text())["cells"]) == 1


@pytest.mark.slow
def test_a_real_sweep_from_end_to_end(tmp_path):
    config = tiny_run.write_config(tiny_run.write_files(tmp_path / "files"))
    command = [sys.executable, "-m", "encore_jax.cli.sweep", f"--config={config}", "--grid=compose.tau=0.5,2"]
    environment = os.environ | {"PYTHONPATH": str(REPOSITORY), "JAX_NUM_CPU_DEVICES": "1"}
    first = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert first.returncode == 0, first.stderr
    folder = tmp_path / "runs" / "tiny-sweep"
    for tau, row in zip((0.5, 2.0), json.loads((folder / "table.json").read_text()), strict=True):
        results = json.loads((folder / row["cell"] / "results.json").read_text())
        assert results["config"]["compose"]["tau"] == tau
        view = next(view for view in results["views"] if view["name"] == "heads")
        encore = next(method for method in view["methods"] if method["name"] == "ENCORE")
        assert row["values"][f"heads ({view['label']}): ENCORE.accuracy"]["value"] == encore["accuracy"]
    logs = [(folder / row["cell"] / "run.log").read_text() for row in json.loads((folder / "table.json").read_text())]
    assert "train: done" in logs[0] and "train: done" not in logs[1] and "compose: done" in logs[1]
    before = (folder / "table.md").read_text()
    shutil.rmtree(tmp_path / "files" / "model")  # a finished cell needs nothing any more
    second = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert second.returncode == 0 and "2 cells, 2 done" in second.stderr, second.stderr
    assert (folder / "table.md").read_text() == before and before in second.stdout
