"""Two real processes judge as one does; killed, they go on and ask nothing again; other judges want one process."""

import contextlib
import importlib.util
import json
import signal
import sqlite3
import time

import numpy as np
import pytest

from encore_jax.judge.prompts import PROMPTS
from encore_jax.recipes.run import run_experiment
from encore_jax.recipes.run_config import validated
from tests.experiments import tiny_run
from tests.experiments.test_rating import LETTERS
from tests.processes import finish, launch

CONFIG = """
from pathlib import Path
from encore_jax.judge.prompts import PROMPTS
from encore_jax.parallel.mesh import MeshSettings
from encore_jax.recipes.config import DataConfig, ModelConfig
from encore_jax.recipes.rating_config import JudgeConfig, RatingConfig
from tests.experiments.test_rating import LETTERS

FILES = Path({files!r})


def get_config():
    PROMPTS[LETTERS.name] = LETTERS  # a byte-level tokenizer has no token for "Yes"
    return RatingConfig(
        name="together",
        data=DataConfig(source="files", pool=str(FILES / "pool.yaml"), path=str(FILES / "pairs.jsonl")),
        model=ModelConfig(path=str(FILES / "model"), buckets=(256,), tokens_per_batch=512),
        mesh=MeshSettings(data=2, fsdp=2),
        judge=JudgeConfig(kind="local", prompt=LETTERS.name, most_other=1.0),
    )
"""


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = tiny_run.write_files(tmp_path_factory.mktemp("files"))
    (folder / "config.py").write_text(CONFIG.format(files=str(folder)))
    return folder


def run(files, workdir, processes, *options):
    """Starts so many processes of four devices in all."""
    command = ["-m", "experiments.run", f"--config={files / 'config.py'}", f"--workdir={workdir}", *options]
    return launch(processes, 4, lambda where: [*command, f"--multihost={where}"])


def rated(workdir):
    rows = [json.loads(line) for line in (workdir / "rate" / "rated.jsonl").read_text().splitlines()]
    return {(json.dumps(row["prompt"]), row["response"]): row["ratings"] for row in rows}


def asked(workdir):
    """How often each question that has an answer was put."""
    with contextlib.closing(sqlite3.connect(workdir / "journal.sqlite")) as connection:
        return [count for (count,) in connection.execute("SELECT attempts FROM rating")]


@pytest.fixture(scope="module")
def alone(files, tmp_path_factory):
    """What this process says by itself."""
    workdir = tmp_path_factory.mktemp("alone")
    spec = importlib.util.spec_from_file_location("together", files / "config.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(PROMPTS, LETTERS.name, LETTERS)
        config = module.get_config()
        config.mesh.data, config.mesh.fsdp = 1, -1
        run_experiment(validated(config), workdir)
    return workdir


def test_two_processes_killed_and_run_again_say_what_one_says(files, alone, tmp_path):
    started = run(files, tmp_path, 2)
    until_answers(tmp_path)
    started[0].send_signal(signal.SIGKILL)
    for process in started:
        process.communicate(timeout=240)  # the other one does not wait for ever
        assert process.returncode
    before = len(asked(tmp_path))
    said = finish(run(files, tmp_path, 2))
    expected = rated(alone)
    questions = sum(len(ratings) for ratings in expected.values())
    assert 0 < before < questions and f"to ask: {questions - before:,} requests" in said[0]
    assert asked(tmp_path) == [1] * questions, "what was answered is not asked again"
    found = rated(tmp_path)
    assert found.keys() == expected.keys() and questions == 3 * len(found)
    for text, ratings in expected.items():
        np.testing.assert_allclose(list(found[text].values()), list(ratings.values()), atol=1e-6)
    assert "to ask" not in said[1] and not (tmp_path / ".process-1" / "rate").exists()


@pytest.mark.slow
def test_a_complete_run_loads_no_judge(files, tmp_path):
    finish(run(files, tmp_path, 2, "--config.data.limit=2"))
    assert not any("to ask" in told for told in finish(run(files, tmp_path, 2, "--config.data.limit=2")))


def test_a_host_without_the_model_is_named_on_all_of_them(files, tmp_path):
    def command(where):
        here = [] if where.endswith(",0") else [f"--config.model.path={tmp_path / 'missing'}"]
        options = [f"--config={files / 'config.py'}", f"--workdir={tmp_path / 'run'}", f"--multihost={where}", *here]
        return ["-m", "experiments.run", *options]

    first, second = finish(launch(2, 4, command), code=2)
    assert "process 1: the judge's model: not found. Fix: give every host the same files" in first
    assert f"{tmp_path / 'missing'}" in second and "error: " in second


BROKEN = """
import jax
from encore_jax.judge.devices.local import LocalJudge


def broken(self, *args, **options):
    if jax.process_index() == 1:
        raise MemoryError("no memory is left on this host")
    return whole(self, *args, **options)


whole, LocalJudge.{method} = LocalJudge.{method}, broken
"""


@pytest.mark.parametrize("method", [pytest.param("__init__", marks=pytest.mark.slow), "step"])
def test_a_host_that_breaks_down_ends_all_of_them_with_the_cause(method, files, tmp_path):
    (files / "broken.py").write_text(BROKEN.format(method=method) + (files / "config.py").read_text())

    def command(where):
        options = [f"--config={files / 'broken.py'}", f"--workdir={tmp_path / 'run'}", f"--multihost={where}"]
        return ["-m", "experiments.run", *options]

    first, second = finish(launch(2, 4, command), code=2 if method == "__init__" else 1)
    assert "no memory is left on this host" in second and "error: " in first
    if method == "__init__":
        assert "process 1: the judge's model: cannot be loaded there" in first and "Traceback" not in first
    else:
        assert "a step failed, here or on another process" in first


def test_a_judge_elsewhere_wants_one_process(files, tmp_path):
    options = ("--config.judge.kind=server", "--config.judge.model=m", "--config.judge.prompt=yes_no_irrelevant.1")
    for said in finish(run(files, tmp_path, 2, *options), code=2):
        assert "judge 'server' needs no second process" in said


def until_answers(workdir, seconds=200):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        with contextlib.suppress(sqlite3.OperationalError):
            if (workdir / "journal.sqlite").exists() and asked(workdir):
                return
        time.sleep(0.05)
    pytest.fail(f"no answer within {seconds} s")
