"""Finished stages are lent to the cells of a sweep that trained alike."""

import pytest

from encore_jax.cli.sweep_reuse import lend_stages, most_similar
from encore_jax.data.lock import folder_lock
from encore_jax.recipes.manifest import run_stage
from tests.experiments.stub_sweep import Sweep


@pytest.fixture
def stubs(tmp_path) -> Sweep:
    return Sweep(tmp_path)


def stage_of(work, name, text, **inputs):
    """Runs a stage that writes one file and one folder; whether it ran."""

    def body(folder):
        (folder / "out.txt").write_text(text)
        (folder / "deep").mkdir(exist_ok=True)
        (folder / "deep" / "more.txt").write_text(text)

    return run_stage(work / name, inputs, body)[1]


def test_lent_stages_are_taken_where_they_fit_and_the_lender_keeps_its_own(tmp_path):
    first, second = tmp_path / "first", tmp_path / "second"
    assert stage_of(first, "train", "heads", seed=0) and stage_of(first, "compose", "weights", tau=1)
    (first / "unfinished").mkdir()
    assert lend_stages(first, second) == ["compose", "train"]
    assert not stage_of(second, "train", "heads", seed=0), "the same inputs: nothing is trained again"
    assert (second / "train" / "deep" / "more.txt").read_text() == "heads"
    assert stage_of(second, "compose", "other weights", tau=2)
    assert (first / "compose" / "out.txt").read_text() == "weights"
    assert not stage_of(first, "compose", "weights", tau=1) and not stage_of(first, "train", "heads", seed=0)
    assert lend_stages(first, second) == [], "what is there stays"


def test_nothing_is_lent_by_no_run_or_by_one_that_is_being_written_to(tmp_path):
    assert lend_stages(tmp_path / "nowhere", tmp_path / "a") == []
    first = tmp_path / "first"
    stage_of(first, "train", "heads", seed=0)
    with folder_lock(first):
        assert lend_stages(first, tmp_path / "b") == []
    (first / "train" / "manifest.json").write_text("{")
    assert lend_stages(first, tmp_path / "c") == [] and not (tmp_path / "c").exists()


def test_the_lender_is_the_cell_that_trained_alike():
    done = {"a": {"seed": "0", "compose.tau": "2"}, "b": {"seed": "1", "compose.tau": "1"}}
    assert most_similar({"seed": "1", "compose.tau": "2"}, done) == "b"
    assert most_similar({"seed": "2", "compose.tau": "2"}, done) == "a" and most_similar({}, {}) is None


def test_a_cell_finds_the_finished_stages_of_the_cells_before_it(stubs, caplog):
    (stubs.folder / "compose.tau=1").mkdir(parents=True)
    stage_of(stubs.folder / "compose.tau=1", "train", "heads", seed=0)
    with caplog.at_level("INFO", "absl"):
        assert stubs.run("compose.tau=1,2", reuse=[]) == 0
    assert (stubs.folder / "compose.tau=2" / "train" / "out.txt").read_text() == "heads"
    assert "compose.tau=2: stages of " in caplog.text and "are taken where they fit: train" in caplog.text
