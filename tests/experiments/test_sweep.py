"""Sweeps: grids become cells, cells become runs that can fail, stop and go on, and runs become a table."""

import json
import os
import re
import signal
import threading
import time
from pathlib import Path

import pytest

from encore_jax.cli import grid, sweep_table
from encore_jax.cli.sweep import plan
from encore_jax.data.lock import folder_lock
from encore_jax.errors import InputError
from encore_jax.recipes.configs import quickstart, theory
from tests.experiments.stub_sweep import QUICKSTART, Sweep


@pytest.fixture
def stubs(tmp_path) -> Sweep:
    return Sweep(tmp_path)


def test_every_cell_is_resolved_and_validated_as_a_run_would():
    cells = plan(
        QUICKSTART, quickstart.get_config(), {"name": "x-{cell}"}, {"compose.tau": ("0.5", "2"), "seed": ("0", "1")}
    )
    assert [cell.overrides for cell in cells] == [
        {"compose.tau": "0.5", "seed": "0"},
        {"compose.tau": "0.5", "seed": "1"},
        {"compose.tau": "2", "seed": "0"},
        {"compose.tau": "2", "seed": "1"},
    ]
    assert "--config.name=x-compose.tau=0.5,seed=1" in cells[1].arguments
    assert len({cell.digest for cell in cells}) == 4
    (same,) = plan(
        QUICKSTART, quickstart.get_config(), {"name": "x-{cell}"}, {"compose.tau": ("0.50",), "seed": ("1",)}
    )
    assert same.name != cells[1].name


@pytest.mark.parametrize(
    ("fixed", "axes", "said"),
    [
        ({}, {"seed": ("1.5",)}, "cell seed=1.5: --config.seed: '1.5' is not a whole number"),
        ({}, {"compose.tau": ("hot",)}, "cell compose.tau=hot"),
        ({}, {"evaluate.replicates": ("200", "5")}, "config.evaluate.replicates: 5 is out of range"),
        ({"seed": "1"}, {"seed": ("1",)}, "config.seed: is both fixed and in the grid"),
        ({"train.checkpoints": "gs://b"}, {"seed": ("1", "2")}, r"checkpoints: would be shared.*gs://b/\{cell\}"),
    ],
)
def test_values_are_refused_before_anything_runs(fixed, axes, said):
    with pytest.raises(InputError, match=said):
        plan(QUICKSTART, quickstart.get_config(), fixed, axes)


def test_each_cell_may_have_checkpoints_of_its_own():
    cells = plan(
        QUICKSTART,
        quickstart.get_config(),
        {"train.method": "gradient", "train.checkpoints": "gs://b/{cell}"},
        {"seed": ("1", "2")},
    )
    assert "--config.train.checkpoints=gs://b/seed=2" in cells[1].arguments


def test_a_config_that_trains_nothing_can_be_swept():
    cells = plan("theory.py", theory.get_config(), {}, grid.parse_grid("seed=0,1"))
    assert [dict(cell.overrides) for cell in cells] == [{"seed": "0"}, {"seed": "1"}]


def test_cells_run_one_after_another_and_make_a_table(stubs, capsys):
    assert stubs.run("seed=0..2", name="it's a name") == 0
    assert stubs.journal() == [f"{what} seed={i}" for i in range(3) for what in ("begin", "end")]
    arguments = (stubs.stub / "arguments").read_text().split("\0")
    assert arguments[:5] == ["-m", "encore_jax.cli.run", f"--config={QUICKSTART}", "--config.name=it's a name",
                             "--config.seed=0"]  # fmt: skip
    assert set(stubs.statuses().values()) == {"done"}
    shown = (stubs.folder / "table.md").read_text()
    assert "| 1 | done | 60.0 [25.0, 95.0] | 60.0 [25.0, 95.0] | -1.0 [-2.0, n/a] |" in shown
    assert shown in capsys.readouterr().out
    row = stubs.table()[2]
    assert row["seed"] == "2" and row["heads (human-rated): ENCORE.accuracy"] == "0.7"
    assert row["heads (human-rated): ENCORE.accuracy low"] == "0.25"
    whole = json.loads((stubs.folder / "table.json").read_text())
    entry = whole[0]["values"]["heads (human-rated): ENCORE.accuracy"]
    assert entry == {"path": "views.heads.methods.ENCORE.accuracy", "value": {"value": 0.5, "low": 0.25, "high": 0.95}}


def test_a_failed_run_is_recorded_the_sweep_goes_on_and_later_only_it_runs_again(stubs):
    stubs.behaves("seed=1", 3)
    assert stubs.run("seed=0..2") == 1
    assert stubs.statuses() == {"seed=0": "done", "seed=1": "failed", "seed=2": "done"}
    assert [row["status"] for row in stubs.table()] == ["done", "failed (exit 3)", "done"]
    assert "this is" in (stubs.folder / "seed=1" / "run.log").read_text()
    stubs.behaves("seed=1", 0)
    assert stubs.run("seed=0..2") == 0
    assert stubs.begun() == ["seed=0", "seed=1", "seed=2", "seed=1"]


def test_a_preempted_run_stops_the_sweep_which_goes_on_later(stubs):
    stubs.behaves("seed=1", 75)
    assert stubs.run("seed=0..2") == 75
    assert stubs.begun() == ["seed=0", "seed=1"] and stubs.statuses()["seed=1"] == "preempted"
    stubs.behaves("seed=1", 0)
    assert stubs.run("seed=0..2") == 0
    assert stubs.begun()[2:] == ["seed=1", "seed=2"]


def test_what_changed_runs_again_and_what_is_new_is_added(stubs):
    stubs.run("seed=0,1")
    assert stubs.run("seed=0..2") == 0 and stubs.begun()[2:] == ["seed=2"]
    assert stubs.run("seed=0", **{"compose.tau": "7.0"}) == 0 and stubs.begun()[3:] == ["seed=0"]
    assert stubs.run("seed=0,1") == 0 and stubs.begun()[4:] == ["seed=0"]
    assert stubs.run("seed=0,1", again=True) == 0 and stubs.begun()[5:] == ["seed=0", "seed=1"]


def test_told_to_stop_it_lets_the_run_save(stubs):
    stubs.behaves("seed=0", "wait")

    def stop():
        end = time.monotonic() + 20
        while not stubs.begun() and time.monotonic() < end:
            time.sleep(0.02)
        os.kill(os.getpid(), signal.SIGTERM)

    thread = threading.Thread(target=stop, daemon=True)
    thread.start()
    assert stubs.run("seed=0..2") == 75
    thread.join()
    assert stubs.begun() == ["seed=0"] and stubs.statuses() == {"seed=0": "preempted"}
    assert "saved" in (stubs.folder / "seed=0" / "run.log").read_text()


def test_two_sweeps_and_a_run_left_behind_do_not_mix(stubs, monkeypatch):
    monkeypatch.chdir(stubs.stub)
    words = "is in use by process .* or for the runs that it left behind"
    with folder_lock(stubs.folder), pytest.raises(InputError, match=words):
        stubs.run("seed=0")
    # the run leaves a process behind, which outlives the sweep and still holds its lock
    assert stubs.run("seed=0", launch="bash -c 'sleep 3 & echo $! >left; {command}'") == 0
    with pytest.raises(InputError, match="one that an ended process left behind"):
        stubs.run("seed=0")
    os.kill(int(Path("left").read_text()), signal.SIGKILL)


def test_a_folder_of_another_sweep_is_refused(stubs):
    stubs.run("seed=0")
    state = json.loads((stubs.folder / "sweep.json").read_text())
    (stubs.folder / "sweep.json").write_text(json.dumps(state | {"config": "other.py"}))
    with pytest.raises(InputError, match="holds a sweep of other.py"):
        stubs.run("seed=0")


def test_one_cell_at_a_time_on_each_slice(stubs):
    journal = stubs.stub / "slices"
    launch = f"bash -c 'echo begin {{slice}} >>{journal}; {{command}}; echo end {{slice}} >>{journal}'"
    started = time.monotonic()
    assert stubs.run("seed=0..5", launch=launch, slices=["a", "b", "c"]) == 0
    assert time.monotonic() - started < 20
    lines = [line.split() for line in journal.read_text().splitlines()]
    assert {place for _, place in lines} == {"a", "b", "c"}
    for one in "abc":
        own = [what for what, place in lines if place == one]
        assert own == ["begin", "end"] * (len(own) // 2)
    assert [what for what, _ in lines[:3]] == ["begin"] * 3, "slices work at the same time"
    slices = json.loads((stubs.folder / "sweep.json").read_text())["cells"]
    assert {known["slice"] for known in slices.values()} == {"a", "b", "c"}


def test_a_run_elsewhere_may_leave_no_results_here(stubs):
    assert stubs.run("seed=0", launch="true {command}") == 0
    assert stubs.table()[0]["status"] == "done, no results.json here"


def test_columns_are_chosen_by_path(stubs):
    columns = sweep_table.parse_columns("views.heads.methods.uniform.accuracy.low,'counts.noise 0.5', counts.none")
    assert stubs.run("seed=0", columns=columns) == 0
    row = stubs.table()[0]
    assert list(row)[3:] == ["heads (human-rated): uniform.accuracy.low", "counts.noise 0.5", "counts.none"]
    assert list(row.values())[3:] == ["0.25", "7", ""]
    for path, said in (
        ("views.heads.methods.ENCORE.acuracy", "after views.heads.methods.ENCORE comes one of name, n, accuracy"),
        ("views.heads.methods", "after views.heads.methods comes one of ENCORE, uniform"),
        ("result", "begin with one of views, counts"),
    ):
        with pytest.raises(InputError, match=re.escape(said)):
            stubs.run("seed=0", columns=[path])
    assert stubs.begun() == ["seed=0"]


def test_default_columns_of_a_reward_model_trained_on_preferences():
    interval = {"value": 0.75, "low": 0.5, "high": 1.0}
    results = {"held_out": {"methods": [{"name": "reward model", "accuracy": interval}]}}
    row = sweep_table.row_of(results, None)
    assert row == {"reward model.accuracy": {"path": "held_out.methods.reward model.accuracy", "value": interval}}


def test_default_columns_have_agreement_and_critical_rules_where_a_run_has_them():
    names = ("ENCORE", "uniform", "agreement", "agreement × entropy", "critical rules, r = 1", "best of all")
    methods = [{"name": name, "accuracy": i, "minus_uniform": i} for i, name in enumerate(names)]
    view = {"name": "heads", "label": "human-rated", "methods": methods}
    values = [entry["value"] for entry in sweep_table.row_of({"views": [view]}, None).values()]
    assert values == [0, 1, 2, 3, 4, 0]
    view["methods"] = methods[:2]
    assert len(sweep_table.row_of({"views": [view]}, None)) == 3
