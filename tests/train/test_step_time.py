"""Where a step's time goes, traces of steps, and trackers."""

import json
import sys
import types

import jax
import jax.numpy as jnp
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from encore_jax.errors import InputError
from encore_jax.train import trackers
from encore_jax.train.metrics import MetricsLog, first_start
from encore_jax.train.profile import Trace, traced_steps
from encore_jax.train.step_time import MEASURED, Chips, StepClock, steps_summary


class Time:
    """A clock that goes on when it is told to."""

    def __init__(self):
        self.now = 0.0

    def __call__(self):
        return self.now


SECONDS = st.floats(0, 1e4)


@given(st.lists(st.tuples(SECONDS, SECONDS, SECONDS, st.integers(0, 10**6)), min_size=1, max_size=6))
@example([(0.0, 0.0, 2768.0, 0), (1e4, 1e4, 1e4, 0), (1.5605054746080038e-10, 0.0, 0.0, 0)])
def test_the_parts_of_a_step_add_up_to_it_and_the_steps_to_the_whole(steps):
    time = Time()
    clock, total = StepClock(Chips(4, 1e12, 1e12), time), 0.0
    for number, (reads, works, saves, tokens) in enumerate(steps):
        with clock.part("input"):
            time.now += reads
        time.now += works
        with clock.part("checkpoint"):
            time.now += saves
        found = clock.end_of_step(tokens)
        assert set(found) <= set(MEASURED)
        parts = [found[f"seconds_{part}"] for part in ("input", "compute", "checkpoint")]
        # seconds are differences of a clock that has gone far: what is lost is of the clock's size, not of theirs
        assert sum(parts) == pytest.approx(found["seconds"], abs=1e-6)
        assert found["seconds_input"] == pytest.approx(reads, abs=1e-6)
        assert ("mfu" in found) == (number > 0 and found["seconds"] > 0), "the first step compiles"
        if "mfu" in found:
            assert found["tokens_per_second"] == pytest.approx(tokens / found["seconds"])
            assert found["mfu"] == pytest.approx(1e12 / (found["seconds"] * 4e12))
        total += found["seconds"]
    assert total == pytest.approx(time.now)


def test_a_chip_without_a_data_sheet_has_no_mfu():
    time = Time()
    clock = StepClock(Chips(2, 1e12), time)
    for _ in range(2):
        time.now += 1.0
        found = clock.end_of_step(10)
    assert "mfu" not in found and found["tokens_per_second_per_chip"] == 5.0


def test_goodput_counts_every_step_once_and_neither_compilation_nor_checkpoints():
    steady = {"seconds": 2.0, "seconds_checkpoint": 0.0, "tokens_per_second": 100.0, "tokens_per_second_per_chip": 25.0}
    first = {"seconds": 30.0, "seconds_checkpoint": 0.0, "tokens": 200}
    saving = steady | {"seconds": 5.0, "seconds_checkpoint": 3.0}
    lines = [first, *4 * [steady], saving, {"step": 6, "held_out_loss": 0.5}]
    found = steps_summary(lines, wall_seconds=60.0)
    assert found["goodput"] == pytest.approx((2 + 4 * 2 + 2) / 60)
    assert found["tokens_per_second_per_chip"] == 25.0 and "mfu" not in found
    assert steps_summary([first], 60.0) == {} and steps_summary([], 0.0) == {}


def test_the_first_start_is_kept_over_restarts(tmp_path):
    began = first_start(tmp_path / "run")
    assert first_start(tmp_path / "run") == began
    (tmp_path / "run" / "first_start").write_text("damaged")
    assert first_start(tmp_path / "run") >= began


def test_a_trace_of_the_steps_asked_for_is_written_once(tmp_path):
    trace = Trace(traced_steps("1:3"), tmp_path)
    for step in range(5):
        trace(step)
        jax.block_until_ready(jax.jit(lambda x: x @ x)(jnp.ones((8, 8))))
    trace.close()
    (written,) = tmp_path.glob("plugins/profile/*/*.xplane.pb")
    assert written.stat().st_size > 0


@pytest.mark.parametrize("text", ["10", "20:10", "a:b", "-1:3", "1:1", "1:2:3", "1:9999999999", "\u0661:\u0662"])
def test_steps_that_are_none_are_refused(text):
    with pytest.raises(InputError, match="FIRST:LAST"):
        traced_steps(text)


def stub(name, said):
    """A package that writes down what it is told."""
    module = types.ModuleType(name)
    module.__spec__ = types.SimpleNamespace(name=name)

    def note(what):
        return lambda *args, **named: said.append((what, args, named))

    class Run:
        log, finish, close = note("log"), note("finish"), note("close")

        def add_scalar(self, *args):
            said.append(("log", args, {}))

    def init(**named):
        said.append(("init", (), named))
        return Run()

    module.init, module.SummaryWriter = init, lambda *args, **named: Run()
    for what in ("set_tracking_uri", "set_experiment", "start_run", "log_metrics", "end_run"):
        setattr(module, what, note(what))
    module.search_runs = lambda **named: []
    return module


@pytest.mark.parametrize("name", trackers.TRACKERS)
def test_every_tracker_is_told_all_metrics_and_closed(name, tmp_path, monkeypatch):
    said = []
    monkeypatch.setitem(sys.modules, trackers.TRACKERS[name][0], stub(trackers.TRACKERS[name][0], said))
    for variable in ("WANDB_API_KEY", "WANDB_MODE", "MLFLOW_TRACKING_URI"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setenv("TRACKIO_DIR", str(tmp_path / "trackio"))
    monkeypatch.setenv("HOME", str(tmp_path))
    log = MetricsLog(tmp_path / "run", (name,))
    log(0, {"loss": 0.5, "seconds": 1.0})
    log.close()
    assert "0.5" in str(said) and "seconds" in str(said)
    assert said[-1][0] in ("finish", "close", "end_run")
    if name == "wandb":
        assert said[0][2]["mode"] == "offline" and said[0][2]["resume"] == "allow", "nobody is asked to log in"
    if name == "mlflow":
        assert said[0][1][0] == f"sqlite:///{tmp_path}/run/mlflow.db", "it stays in the run's folder"
    assert json.loads((tmp_path / "run" / "metrics.jsonl").read_text()) == {"step": 0, "loss": 0.5, "seconds": 1.0}


def test_trackio_is_imported_once_its_folder_is_named(tmp_path, monkeypatch):
    """It reads TRACKIO_DIR when it is imported, and writes to the cache of Hugging Face otherwise."""
    package = "import os\nFOLDER = os.environ['TRACKIO_DIR']\nclass Run:\n    finish = lambda self: None\n"
    (tmp_path / "trackio.py").write_text(package + "def init(**named): return Run()\n")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "trackio", raising=False)
    monkeypatch.setenv("TRACKIO_DIR", "")
    monkeypatch.delenv("TRACKIO_DIR")
    trackers.open_trackers(("trackio",), tmp_path / "run", "mine", 0)[0].close()
    assert sys.modules.pop("trackio").FOLDER == str(tmp_path / "run" / "trackio")


def test_trackers_that_are_missing_are_named_with_what_to_type(monkeypatch):
    with pytest.raises(InputError, match="tensorboard, wandb, mlflow, trackio, goodput"):
        trackers.check_trackers(("tensorbord",))
    monkeypatch.setattr(trackers.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(InputError, match="pip install trackio"):
        trackers.check_trackers(("trackio",))
