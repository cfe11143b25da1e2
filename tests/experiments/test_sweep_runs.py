"""The runs of a sweep: what is known of each, how they end, and where they are launched."""

import json
import re
import signal

import pytest

from encore_jax.cli.sweep_runs import Cell, Runner, State, check_launch
from encore_jax.data.lock import folder_lock
from encore_jax.errors import InputError


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
