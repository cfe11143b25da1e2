"""A work directory is one run's at a time, and a run ends with results of what it read, or not at all."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from encore_jax.data import digest
from encore_jax.data.lock import folder_lock
from encore_jax.data.manifest import MANIFEST, check_one_run
from encore_jax.errors import InputError
from encore_jax.recipes.config import TrainConfig
from encore_jax.recipes.outside import OneFile
from encore_jax.recipes.pipeline import Pipeline
from encore_jax.recipes.plan import Plan
from encore_jax.recipes.run_config import validated
from encore_jax.recipes.theory_config import TheoryConfig
from encore_jax.recipes.workdir import CONFIG, MARK, kept_for

HOOKS: dict[str, dict] = {"before": {}, "after": {}}
"""What is done before and after a stage reads its input, by the stage."""


def read_source(source: OneFile, train: TrainConfig | None, folder: Path) -> None:
    _copied("read", source.path, folder / "read.txt")


def report_copy(read: Path, folder: Path) -> None:
    _copied("report", read / "read.txt", folder / "report.txt")


def _copied(stage, source, to):
    HOOKS["before"].get(stage, lambda: None)()
    content = source.read_bytes()
    HOOKS["after"].get(stage, lambda: None)()
    to.write_bytes(content)


class CopyRun:
    """Reads a file, and copies what it read: two stages that take no time."""

    KIND, PUBLISHED = "copy", ("results.json", "report.html")

    def __init__(self, source: Path, workdir: Path, view: Path | None = None, train: TrainConfig | None = None):
        self.config = validated(TheoryConfig(views=() if view is None else (str(view),)))
        self.source, self.workdir, self.train, self.before, self.after = source, workdir, train, {}, {}
        self.at = {stage: workdir / stage for stage in ("read", "report")}

    @property
    def __name__(self):
        return f"tests.{self.KIND}"

    def stages(self, stage):
        read = stage("read", read_source, OneFile(str(self.source)), aside={"train": self.train})
        stage("report", report_copy, read)

    def run(self, **options):
        HOOKS.update(before=self.before, after=self.after)
        plan = Plan(self.workdir)
        self.stages(plan)
        with kept_for(self.config, self, plan, **options):
            self.stages(Pipeline(self.workdir, overwrite=options.get("overwrite", False)))

    def result(self):
        return (self.at["report"] / "report.txt").read_bytes()


@pytest.fixture(params=["small", "large"])
def source(tmp_path, request, monkeypatch):
    """Large files are not read again as long as they are not touched."""
    if request.param == "large":
        monkeypatch.setattr(digest, "SMALL", -1)
    path = tmp_path / "source.txt"
    path.write_bytes(b"mine")
    return path


@pytest.fixture
def chain(source, tmp_path):
    return CopyRun(source, tmp_path / "w")


def test_an_undisturbed_run_reads_what_it_says(chain, tmp_path):
    chain.run()
    assert chain.result() == b"mine"
    check_one_run(tmp_path / "w" / "report")
    assert sorted(path.name for path in (tmp_path / "w").iterdir()) == [MARK, ".lock", CONFIG, "read", "report"]


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("how", ["written", "replaced", "removed"])
def test_data_that_change_while_a_stage_reads_them_end_the_run(chain, source, tmp_path, when, how):
    def change():
        if how == "written":
            source.write_bytes(b"your")
        elif how == "replaced":
            (tmp_path / "other").write_bytes(b"your")
            os.replace(tmp_path / "other", source)
        else:
            source.rename(tmp_path / "gone")

    getattr(chain, when)["read"] = change
    with pytest.raises((InputError, FileNotFoundError)):
        chain.run()
    assert not (tmp_path / "w" / "read" / MANIFEST).exists()
    if how != "removed":
        again = CopyRun(source, tmp_path / "w")
        again.run()
        assert again.result() == b"your"


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("how", ["written", "replaced", "removed", "swapped folder"])
def test_an_earlier_stages_output_that_changes_meanwhile_ends_the_run(chain, source, tmp_path, when, how):
    read = chain.at["read"] / "read.txt"

    def change():
        if how == "written":
            read.write_bytes(b"your")
        elif how == "replaced":
            (tmp_path / "other").write_bytes(b"your")
            os.replace(tmp_path / "other", read)
        elif how == "removed":
            read.unlink()
        else:
            chain.at["read"].rename(tmp_path / "old")
            shutil.copytree(tmp_path / "old", chain.at["read"])
            read.write_bytes(b"your")

    getattr(chain, when)["report"] = change
    with pytest.raises((InputError, FileNotFoundError)):
        chain.run()
    assert not (tmp_path / "w" / "report" / MANIFEST).exists()
    again = CopyRun(source, tmp_path / "w")
    again.run()
    assert again.result() == b"mine"


def test_a_run_between_its_stages_keeps_others_out(chain, source, tmp_path):
    def other():
        source.write_bytes(b"your")
        with pytest.raises(InputError, match="w: is in use by process"):
            CopyRun(source, tmp_path / "w").run()
        source.write_bytes(b"mine")

    chain.before["report"] = other
    chain.run()
    assert chain.result() == b"mine"


def test_a_killed_process_leaves_no_lock(chain, tmp_path):
    code = "import sys, os, signal\nfrom encore_jax.data.lock import folder_lock\n"
    code += "with folder_lock(sys.argv[1]):\n    os.kill(os.getpid(), signal.SIGKILL)"
    assert subprocess.run([sys.executable, "-c", code, str(tmp_path / "w")]).returncode == -9
    chain.run()


def foreign(path):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("mine")


@pytest.mark.parametrize("name", ["results.json", "report.html", CONFIG, "read/notes.txt", "report/a/b.txt", "read"])
def test_what_no_run_has_made_is_not_replaced(chain, tmp_path, name):
    foreign(tmp_path / "w" / name)
    with pytest.raises(InputError, match="holds what no run has made: .* --overwrite"):
        chain.run()
    assert (tmp_path / "w" / name).read_text() == "mine"
    assert not (tmp_path / "w" / MARK).exists()
    if name == "read":
        with pytest.raises(InputError, match="a file is in the way"):
            chain.run(overwrite=True)
    else:
        chain.run(overwrite=True)
        assert chain.result() == b"mine"


def test_other_files_of_a_folder_are_nobodys_business(chain, tmp_path):
    for name in ("notes.txt", "data/pairs.jsonl", "run.log"):
        foreign(tmp_path / "w" / name)
    chain.run()
    assert (tmp_path / "w" / "data" / "pairs.jsonl").read_text() == "mine"


def test_a_run_of_another_kind_is_not_replaced(chain, source, tmp_path):
    chain.run()

    other = CopyRun(source, tmp_path / "w")
    other.KIND = "other"
    with pytest.raises(InputError, match=r"holds a run of another kind \(copy, not other\)"):
        other.run()
    other.run(overwrite=True)


def test_runs_of_before_there_were_marks_go_on(chain, tmp_path):
    chain.run()
    (tmp_path / "w" / MARK).unlink()
    chain.run()


@pytest.mark.parametrize("mark", ["", "[]", "{", '{"kind": 3}', "[" * 10_000, '{"kind": "copy", "more": {}}'])
def test_a_damaged_mark_is_no_traceback(chain, tmp_path, mark):
    (tmp_path / "w").mkdir()
    (tmp_path / "w" / MARK).write_text(mark)
    foreign(tmp_path / "w" / "results.json")
    with pytest.raises(InputError, match="holds what no run has made"):
        chain.run()


PLACES = ["w/read/view.npz", "w/report/deep/view.npz", "w/results.json", "w/config.json"]


@pytest.mark.parametrize(
    ("place", "link"),
    [(place, link) for place in PLACES for link in ("", "symbolic")] + [(place, "hard") for place in PLACES[2:]],
)
def test_a_run_does_not_write_over_its_own_input(source, tmp_path, place, link):
    path = view = tmp_path / place
    foreign(path)
    if link:
        view = tmp_path / "view.npz"
        view.symlink_to(path) if link == "symbolic" else os.link(path, view)
    chain = CopyRun(source, tmp_path / "w", view)
    with pytest.raises(InputError, match="the input"):
        chain.run(overwrite=True)
    assert path.read_text() == "mine"


def test_a_run_does_not_write_into_its_own_input(source, tmp_path):
    (tmp_path / "data").mkdir()
    with pytest.raises(InputError, match="lies in the input folder"):
        CopyRun(source, tmp_path / "data" / "w", tmp_path / "data").run()


@pytest.mark.parametrize("name", ["with space", "ünï规则", "a\nb", "-rf", "x" * 200])
def test_work_directories_of_any_name(source, tmp_path, name):
    chain = CopyRun(source, tmp_path / name)
    chain.run()
    assert chain.result() == b"mine"


def test_work_directories_that_cannot_be_are_one_line(source, tmp_path):
    (tmp_path / "file").write_text("mine")
    for folder in (
        tmp_path / "file",
        tmp_path / "file" / "x",
        tmp_path / ("n" * 300),
        Path("/proc/nowhere"),
        Path("a\0b"),
    ):
        with pytest.raises(InputError) as refused:
            CopyRun(source, folder).run()
        assert "\n" not in str(refused.value)
    assert (tmp_path / "file").read_text() == "mine"


def test_checkpoints_elsewhere_are_kept_for_one_run(source, tmp_path):
    train = TrainConfig(checkpoints=str(tmp_path / "checkpoints"))
    with folder_lock(tmp_path / "checkpoints"), pytest.raises(InputError, match="checkpoints: is in use"):
        CopyRun(source, tmp_path / "w", train=train).run()
    CopyRun(source, tmp_path / "w", train=train).run()


def test_what_a_run_writes_down_is_whole(chain, tmp_path):
    chain.run()
    assert json.loads((tmp_path / "w" / CONFIG).read_text())["name"] == "theory"
    assert json.loads((tmp_path / "w" / MARK).read_text()) == {"kind": "copy"}
