"""A disk that is full, a folder that cannot be written to, an interruption: one line, nothing lost, and it goes on."""

import contextlib
import os
import resource
import signal

import numpy as np
import pyarrow.parquet as pq
import pytest

from encore_jax.cli import reliability, score
from encore_jax.command_line import FAILED, INTERRUPTED, one_line_errors
from encore_jax.data.atomic import atomic_path
from encore_jax.recipes.run import run_experiment
from encore_jax.recipes.run_config import validated
from encore_jax.reward.reward_model import RewardModel
from encore_jax.reward.scorer import Scorer
from experiments.studies import real_judges_stages as real_judges
from experiments.studies.real_judges_config import JudgedDataConfig, RealJudgesConfig
from tests.data.judged_files import write_llmbar
from tests.experiments import tiny_reward_model
from tests.experiments.test_workdir import CopyRun

ROWS = "".join(f'{{"id": "{i}", "prompt": "Q {i}?", "responses": ["A {i}.", "No."]}}\n' for i in range(40))


@contextlib.contextmanager
def room_for(size):
    """Files may have so many bytes: what a write does to a full disk, at any byte that one likes."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def ends(capsys, work):
    """Runs the work as a command does; returns its exit status (0 if it ends) and its one line."""
    try:
        with one_line_errors():
            work()
    except SystemExit as stopped:
        said = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error: ")]
        assert len(said) == 1, said
        return stopped.code, said[0]
    return 0, ""


WORKS = ("run", "score", "reliability", "real_judges")


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    folder = tmp_path_factory.mktemp("model")
    tiny_reward_model.write(folder)
    return RewardModel.from_pretrained(folder / "model")


@pytest.fixture
def works(tmp_path, model, monkeypatch):
    """Small commands by name: what they do, into which folder, and their result."""
    monkeypatch.setattr(score, "CHUNK", 8)
    lengths = lambda self, sequences, owners, label="": np.tile([[len(s)] for s in sequences], (1, self.columns))  # noqa: E731
    monkeypatch.setattr(Scorer, "run_sequences", lambda *given: lengths(*given).astype(np.float32))
    (tmp_path / "rows.jsonl").write_text(ROWS)
    (tmp_path / "source.txt").write_bytes(b"mine" * 1000)
    output, best = tmp_path / "s" / "out.parquet", tmp_path / "s" / "best.jsonl"
    out = tmp_path / "r" / "out.html"
    out.parent.mkdir()
    ratings = out.parent / "ratings.npz"
    ratings.write_bytes(b"")
    asked = reliability.parse([str(ratings), f"--out={out}", "--overwrite"])
    monkeypatch.setattr(reliability, "measured", lambda *given: reliability.Measured(None))
    monkeypatch.setattr(reliability, "first", lambda *given: "Use equal weights.")
    monkeypatch.setattr(reliability, "reliability_text", lambda found, line: line)
    monkeypatch.setattr(reliability.reliability_page, "page", lambda *given: "page" * 1000)
    for name, made in {"study": {"name": "x" * 3000}, "render_judges": "page" * 100, "judges_text": "said"}.items():
        monkeypatch.setattr(real_judges, name, lambda *given, made=made, **options: made)
    write_llmbar(tmp_path / "judges")
    judges = validated(RealJudgesConfig(data=JudgedDataConfig(str(tmp_path / "judges"))))
    return {
        "reliability": (lambda: reliability.main(asked), out.parent, lambda: out.read_text() == "page" * 1000),
        "real_judges": (lambda: run_experiment(judges, tmp_path / "j"), tmp_path / "j",
                        lambda: (tmp_path / "j" / "report.html").read_text() == "page" * 100),
        "run": (lambda: CopyRun(tmp_path / "source.txt", tmp_path / "w").run(), tmp_path / "w",
                lambda: (tmp_path / "w" / "report" / "report.txt").read_bytes() == b"mine" * 1000),
        "score": (lambda: score.score_file(model, tmp_path / "rows.jsonl", output, best=best), tmp_path / "s",
                  lambda: pq.read_table(output).num_rows == 40 == len(best.read_text().splitlines())),
    }  # fmt: skip


@pytest.mark.parametrize("size", [0, 30, 300, 700, 2000, 3990, 6000])
@pytest.mark.parametrize("name", WORKS)
def test_a_full_disk_is_one_line_and_the_same_command_goes_on(works, capsys, name, size):
    work, folder, is_whole = works[name]
    with room_for(size):
        status, line = ends(capsys, work)
    assert status in (0, FAILED) and (status == 0 or "no room is left on the disk" in line), line
    assert status == FAILED or size >= 2000
    left = [path for path in folder.rglob("*") if path.name.endswith(".tmp")] if folder.exists() else []
    assert not left
    assert ends(capsys, work) == (0, "") and is_whole()


@pytest.mark.parametrize("name", WORKS)
def test_an_interruption_anywhere_is_one_line_and_the_same_command_goes_on(works, capsys, monkeypatch, name):
    work, _, is_whole = works[name]
    replace, calls = os.replace, []

    def interrupted(*arguments):
        calls.append(arguments)
        if len(calls) == stop:
            os.kill(os.getpid(), signal.SIGINT)
        return replace(*arguments)

    monkeypatch.setattr(os, "replace", interrupted)
    for stop in range(1, 30):
        calls.clear()
        status, line = ends(capsys, work)
        if status == 0:
            break
        assert status == INTERRUPTED and "interrupted" in line, (stop, line)
    assert stop > (1 if name == "reliability" else 3) and is_whole()


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
@pytest.mark.parametrize("name", WORKS)
def test_a_folder_that_cannot_be_written_to_is_one_line(works, capsys, name):
    work, folder, _ = works[name]
    folder.mkdir(exist_ok=True)
    folder.chmod(0o500)
    status, line = ends(capsys, work)
    assert status and "cannot be written to" in line
    folder.chmod(0o700)
    assert ends(capsys, work) == (0, "")


def test_a_file_that_cannot_be_finished_leaves_the_old_one(tmp_path):
    (tmp_path / "x").write_text("old")
    with pytest.raises(OSError), room_for(10), atomic_path(tmp_path / "x") as temporary:
        temporary.write_text("new" * 100)
    assert (tmp_path / "x").read_text() == "old" and [path.name for path in tmp_path.iterdir()] == ["x"]
