"""Sweeps: grids become cells, cells become runs that can fail, stop and go on, and runs become a table."""

import csv
import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from encore_jax.cli import grid, sweep_table
from encore_jax.cli.sweep import plan, sweep
from encore_jax.cli.sweep_reuse import lend_stages, most_similar
from encore_jax.cli.sweep_runs import Cell, Runner, State, check_launch, command_of, launched
from encore_jax.data.lock import folder_lock
from encore_jax.errors import InputError
from encore_jax.recipes.configs import quickstart, theory
from encore_jax.recipes.manifest import run_stage
from tests.experiments import tiny_run

REPOSITORY = Path(__file__).resolve().parents[2]
QUICKSTART = str(REPOSITORY / "encore_jax" / "recipes" / "configs" / "quickstart.py")

# A stand-in for the interpreter: notes its arguments, begin and end, and behaves as the file named like the cell says.
STUB = """#!/usr/bin/env bash
for argument in "$@"; do
  case $argument in
    --workdir=*) work=${argument#*=} ;;
    --config.seed=*) seed=${argument#*=} ;;
  esac
done
here=$(dirname "$0")
printf 'begin %s\\n' "$(basename "$work")" >>"$here/journal"
printf '%s\\0' "$@" >>"$here/arguments"
trap 'kill $!; echo saved; exit 75' TERM
code=0
[[ ! -e "$here/$(basename "$work")" ]] || code=$(<"$here/$(basename "$work")")
if [[ $code == wait ]]; then sleep 30 & wait; fi
sleep 0.1 & wait
echo "this is $work"
interval='{"value": 0.'$((5 + ${seed:-0}))', "low": 0.25, "high": 0.95}'
echo '{"views": [{"name": "heads", "label": "human-rated", "methods": [
  {"name": "ENCORE", "n": 10, "accuracy": '$interval', "minus_uniform": {"value": -0.01, "low": -0.02, "high": null}},
  {"name": "uniform", "accuracy": '$interval'}]}], "counts": {"noise 0.5": 7, "none": null}}' >"$work/results.json"
printf 'end %s\\n' "$(basename "$work")" >>"$here/journal"
exit "$code"
"""


class Sweep:
    """A sweep of the quickstart's configuration whose runs are stand-ins."""

    def __init__(self, folder: Path):
        self.folder, self.stub = folder / "my sweep", folder / "stub"
        self.stub.mkdir()
        self.python = str(self.stub / "python")
        Path(self.python).write_text(STUB)
        Path(self.python).chmod(0o755)

    def behaves(self, cell: str, code: object) -> None:
        (self.stub / cell).write_text(str(code))

    def run(self, text: str, *, columns=None, launch=None, slices=(), again=False, reuse=None, **fixed: str) -> int:
        cells = plan(QUICKSTART, quickstart.get_config(), fixed, grid.parse_grid(text))

        def command(cell, place):
            if launch is None:
                return command_of(cell, self.folder, self.python)
            return launched(launch, cell, self.folder, self.python, place)

        return sweep(self.folder, QUICKSTART, cells, columns, command, slices or [""], again, reuse=reuse)

    def journal(self) -> list[str]:
        file = self.stub / "journal"
        return file.read_text().splitlines() if file.exists() else []

    def begun(self) -> list[str]:
        return [line.removeprefix("begin ") for line in self.journal() if line.startswith("begin ")]

    def statuses(self) -> dict[str, str]:
        cells = json.loads((self.folder / "sweep.json").read_text())["cells"]
        return {name: known["status"] for name, known in cells.items()}

    def table(self) -> list[dict[str, str]]:
        with open(self.folder / "table.csv", newline="") as file:
            return list(csv.DictReader(file))


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


# Stages that one run lends another


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


# The processes of a sweep, without a sweep


def run_cells(folder, scripts, places=("",), on_end=lambda: None):
    """Runs one shell script per cell; returns the exit code, and what is known of the cells."""
    state = State(folder, "config.py")
    cells = [Cell(f"c{i}", {"n": str(i)}, (script,), f"d{i}") for i, script in enumerate(scripts)]
    with folder_lock(folder) as lock:
        runner = Runner(folder, lock, state, lambda cell, place: ["bash", "-c", cell.arguments[0], place], places)
        try:
            code = runner.run(cells, on_end)
        finally:
            for _, process, _ in runner._running.values():  # those that an error left behind
                process.wait(60)
    stored = json.loads((folder / "sweep.json").read_text())
    assert stored["config"] == "config.py" and stored["cells"] == state.cells
    return code, state.cells


def test_what_is_known_of_a_cell_while_it_runs_and_afterwards(tmp_path):
    ends = []
    keep = f"sleep 0.4; cp {tmp_path}/sweep.json {tmp_path}/seen-$0"
    code, known = run_cells(tmp_path, [keep, f"{keep}; exit 3"], ("a",), lambda: ends.append(1))
    assert code == 0 and len(ends) == 2
    seen = json.loads((tmp_path / "seen-a").read_text())["cells"]
    assert seen["c1"] == {"overrides": {"n": "1"}, "digest": "d1", "status": "running", "slice": "a"}
    assert seen["c0"]["status"] == "done"
    for name, status, exit_code in (("c0", "done", 0), ("c1", "failed", 3)):
        seconds = known[name].pop("seconds")
        assert 0.4 <= seconds < 60 and seconds == round(seconds, 2)
        number = name[1]
        assert known[name] == {"overrides": {"n": number}, "digest": f"d{number}", "status": status, "slice": "a",
                               "exit_code": exit_code}  # fmt: skip


def test_what_was_known_before_stays_known(tmp_path):
    cell = Cell("c0", {"n": "0"}, (), "d0")
    State(tmp_path, "config.py").update(cell, status="failed", exit_code=3)
    state = State(tmp_path, "config.py")
    assert state.status(cell) == "failed (exit 3)" and not state.is_done(cell)
    state.update(cell, status="done")
    again = State(tmp_path, "config.py")
    assert again.is_done(cell) and again.status(cell) == "done" and again.cells["c0"]["exit_code"] == 3
    other = Cell("c0", {"n": "0"}, (), "another digest")
    assert not again.is_done(other) and again.status(Cell("c1", {}, (), "d1")) == "waiting"


def test_the_last_words_of_a_failed_run_and_the_time_that_is_left_are_told(tmp_path, caplog):
    with caplog.at_level("INFO", "absl"):
        run_cells(tmp_path, ["sleep 0.2", "printf '1\\n2\\n3\\n4\\n' >&2; exit 4", "exit 75", "true"])
    told = [record.getMessage() for record in caplog.records]
    assert [line.split(":")[0] for line in told if "begun" in line] == ["c0", "c1", "c2"], "a preempted run ends it"
    assert "c1: failed with exit code 4: \n  2\n  3\n  4" in told
    ended = [line for line in told if re.search(r"; \d of 4", line)]
    for line, begins, number in zip(ended, ("c0: done", "c1: failed", "c2: preempted"), (1, 2, 3), strict=True):
        assert line.startswith(f"{begins} after ") and f"; {number} of 4, about " in line and line.endswith(" left")


def test_an_error_of_the_sweep_ends_its_runs_and_gives_signals_back(tmp_path):
    def broken():
        raise ZeroDivisionError

    before = [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)]
    slow = f"trap 'echo saved > {tmp_path}/told; exit 75' TERM; touch {tmp_path}/up; sleep 60 & wait"
    quick = f"while [ ! -e {tmp_path}/up ]; do sleep 0.02; done"
    with pytest.raises(ZeroDivisionError):
        run_cells(tmp_path, [slow, quick], ("a", "b"), broken)
    assert [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)] == before
    assert (tmp_path / "told").exists()


def test_a_command_that_is_no_program_is_refused(tmp_path):
    state = State(tmp_path, "config.py")
    with folder_lock(tmp_path) as lock, pytest.raises(InputError, match="--launch: .*no such program"):
        Runner(tmp_path, lock, state, lambda cell, place: ["no such program"], [""]).run([Cell("c", {}, (), "")], list)


@pytest.mark.parametrize(
    ("template", "slices", "said"),
    [
        ("ssh {slice}", ["a"], "use {command} or {arguments}"),
        ("run x{arguments}", [], "use {command} or {arguments}"),
        ("ssh {command}", ["a"], "--slices and {slice} go together"),
        ("ssh {slice} {command}", [], "--slices and {slice} go together"),
        ("ssh '{command}", [], "close the quotes"),
    ],
)
def test_a_template_that_would_not_run_the_cells_is_refused(template, slices, said):
    with pytest.raises(InputError, match=re.escape(said)):
        check_launch(template, slices)


@pytest.fixture(scope="module")
def commands(tmp_path_factory):
    """Several command lines at once, since most of their time is imports: name -> finished process; their folder."""
    folder = tmp_path_factory.mktemp("sweep")
    arguments = {
        "dry run": ["--grid=seed=0..1;name='a b',c", "--config.compose.tau=0.5", "--slices=x,y", "--dry-run",
                    "--launch=ssh {slice} {command}"],
        "bad value": ["--grid=seed=x", "--workdir=bad"],
        "failing run": ["--grid=data.path=no such", "--config.data.source=files",
                         "--config.data.ratings_path=none", "--workdir=failing"],
    }  # fmt: skip
    environment = os.environ | {"PYTHONPATH": str(REPOSITORY), "JAX_NUM_CPU_DEVICES": "1"}
    pipes = dict(stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    running = {}
    for name, extra in arguments.items():
        command = [sys.executable, "-m", "encore_jax.cli.sweep", f"--config={QUICKSTART}", *extra]
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
