"""What ml-goodput-measurement is told of a training; with the package itself where it is installed."""

import logging
import os
import re
import subprocess
import sys
import threading
import types
from pathlib import Path

import pytest

from encore_jax.errors import InputError
from encore_jax.train import goodput, trackers
from encore_jax.train.goodput import GoodputEvents
from encore_jax.train.preemption import Preempted
from encore_jax.train.step_time import CHECKPOINT, INPUT, Chips, StepClock


class Time:
    """A clock that goes on when it is told to."""

    def __init__(self, now=1e9):
        self.now = now

    def __call__(self):
        return self.now


class Memory:
    """Keeps what it is given, as the package's own logger of Google Cloud does."""

    def __init__(self):
        self.entries, self.flushed = [], 0

    def write_cloud_logging_entry(self, entry):
        self.entries.append(entry)

    def flush(self):
        self.flushed += 1


class Recorder:
    """Writes down the methods that are called, with their times."""

    def __init__(self):
        self.calls, self.flushed = [], False

    def __getattr__(self, name):
        def call(**values):
            self.calls.append((name, {key: getattr(v, "timestamp", lambda v=v: v)() for key, v in values.items()}))

        return call

    def flush(self):
        self.flushed = True


def train(time, connect, steps, *, save_after=(), devices=None, problem=None):
    """One start of a run: 5 s of preparation, steps of 10 s with 1 s of input before, 3 s for a checkpoint."""
    events = GoodputEvents("job", devices, connect, time)
    clock = StepClock(Chips(1, 1.0), time, events)
    time.now += 5
    for step in steps:
        with clock.part(INPUT):
            time.now += 1
        clock.start_of_step(step)
        time.now += 10
        if step in save_after:
            with clock.part(CHECKPOINT):
                time.now += 3
    events.close(problem)


def test_the_recorder_is_told_of_devices_preparation_input_steps_checkpoints_and_the_end():
    recorder, time = Recorder(), Time(1000.0)
    train(time, lambda job: recorder, range(2), save_after=[1], devices=(990.0, 997.0))
    assert recorder.calls == [
        ("record_job_start_time", {"start_time": 990.0}),
        ("record_tpu_init_start_time", {"start_time": 990.0}),
        ("record_tpu_init_end_time", {"end_time": 997.0}),
        ("record_training_preparation_start_time", {"start_time": 1000.0}),
        ("record_training_preparation_end_time", {"end_time": 1005.0}),
        ("record_data_loading_start_time", {"start_time": 1005.0}),
        ("record_data_loading_end_time", {"end_time": 1006.0}),
        ("record_step_start_time", {"step": 0, "start_time": 1006.0}),
        ("record_data_loading_start_time", {"start_time": 1016.0}),
        ("record_data_loading_end_time", {"end_time": 1017.0}),
        ("record_step_start_time", {"step": 1, "start_time": 1017.0}),
        ("record_custom_badput_event_start_time", {"start_time": 1027.0, "custom_badput_event_type": "checkpoint"}),
        ("record_custom_badput_event_end_time", {"end_time": 1030.0, "custom_badput_event_type": "checkpoint"}),
        ("record_job_end_time", {"end_time": 1030.0}),
    ]
    assert recorder.flushed


def test_a_finished_run_that_is_started_again_tells_nothing():
    recorder = Recorder()
    train(Time(), lambda job: recorder, [])
    assert recorder.calls == []


def test_an_interruption_is_the_start_of_the_step_that_is_left_and_no_end():
    recorder, broken = Recorder(), Recorder()
    train(Time(1000.0), lambda job: recorder, range(3), problem=Preempted(3))
    assert recorder.calls[-1] == ("record_step_start_time", {"step": 3, "start_time": 1038.0})
    train(Time(1000.0), lambda job: broken, range(3), problem=InputError("the loss is nan", where="step 3", fix="look"))
    assert broken.calls[-1][1]["step"] == 2 and "record_job_end_time" not in dict(broken.calls)


def failing(job):
    raise OSError("Project was not passed\nand could not be determined")


def warnings_of(caplog):
    return [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]


def test_without_credentials_one_line_says_what_to_do_and_training_is_done(caplog):
    train(Time(), failing, range(4), save_after=[1, 3])
    (line,) = warnings_of(caplog)
    assert "\n" not in line and "Project was not passed and could" in line
    assert "gcloud auth application-default login" in line and "train.trackers" in line


def test_a_recorder_that_fails_later_is_left_alone(caplog):
    class Broken(Recorder):
        def __getattr__(self, name):
            raise RuntimeError("no such thing") if name == "record_job_end_time" else AttributeError(name)

    train(Time(), lambda job: Broken(), range(4))
    assert len(warnings_of(caplog)) == 1


def test_the_end_waits_only_so_long_for_a_connection_that_hangs(caplog):
    release = threading.Event()
    events = GoodputEvents("job", None, lambda job: release.wait(30) and Recorder(), patience=0.05)
    events.step(0)
    events.close()
    release.set()
    assert "not all was sent within 0.05 s" in warnings_of(caplog)[0]


def test_a_batch_that_may_not_be_written_is_one_line_instead_of_a_traceback_each(caplog):
    transport = logging.getLogger(goodput._TRANSPORT)

    class Denied(Recorder):
        def flush(self):
            for _ in range(3):
                try:
                    raise PermissionError("logging.logEntries.create denied")
                except PermissionError:
                    transport.error("Failed to submit %d logs.", 3, exc_info=True)

    train(Time(), lambda job: Denied(), range(2))
    (line,) = warnings_of(caplog)
    assert "PermissionError: logging.logEntries.create denied" in line and not transport.filters


def test_only_the_first_training_of_a_process_tells_of_devices(tmp_path, monkeypatch):
    recorders = []
    monkeypatch.setattr(goodput, "GoodputEvents", lambda *given: recorders.append(given[:2]) or _closed())
    monkeypatch.setattr(goodput, "_DEVICES_TOLD", set())
    monkeypatch.setenv("GOODPUT_JOB_NAME", 'encore "8b"/1')
    with goodput.recorded(("wandb",), tmp_path, (1.0, 2.0)) as nothing:
        assert nothing is None
    for _ in range(2):
        with goodput.recorded(("wandb", "goodput"), tmp_path, (1.0, 2.0)):
            pass
    name = goodput.job_name(tmp_path)
    assert name.startswith("encore--8b--1-") and recorders == [(name, (1.0, 2.0)), (name, None)]


PATHS = (
    "/läufe/ä", "/läufe/ö", "/l-ufe/-", "/runs/漢", "/runs/字", "/runs/a b", "/runs/a-b", "/runs/a/b", "/runs-a-b",
    "/" + "x" * 200 + "/1", "/" + "y" * 200 + "/1", "/" + "-" * 150, "/" + "/".join("ab" * 60), "/\udcff", "/ ",
)  # fmt: skip


def test_no_two_folders_share_a_job(monkeypatch):
    monkeypatch.delenv("GOODPUT_JOB_NAME", raising=False)
    names = [goodput.job_name(Path(path)) for path in PATHS]
    assert len(set(names)) == len(PATHS)
    assert all(re.fullmatch(r"[A-Za-z0-9._-]{1,120}", name) for name in names)
    assert names == [goodput.job_name(Path(path)) for path in PATHS]


def test_one_folder_has_one_job_however_it_is_named(monkeypatch, tmp_path):
    """Restarts of a run belong together."""
    monkeypatch.delenv("GOODPUT_JOB_NAME", raising=False)
    monkeypatch.chdir(tmp_path)
    ways = (Path("run"), Path("./run"), Path("other/../run"), tmp_path / "run")
    assert len({goodput.job_name(way) for way in ways}) == 1
    monkeypatch.setenv("GOODPUT_JOB_NAME", "encore-8b")
    assert goodput.job_name(tmp_path) == "encore-8b"


def _closed():
    return types.SimpleNamespace(close=lambda problem=None: None)


def test_goodput_that_is_not_installed_is_refused_with_what_to_type(monkeypatch):
    monkeypatch.setattr(trackers.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(InputError, match="pip install ml-goodput-measurement"):
        trackers.check_trackers(("goodput",))


# The package itself: pip install ml-goodput-measurement


def with_package(memory):
    return lambda job: pytest.importorskip(trackers.GOODPUT_PACKAGE).goodput.GoodputRecorder(
        job, goodput.log_name(job), logging_enabled=True, cloud_logger=memory
    )


def test_the_packages_calculator_finds_the_times_over_a_restart(tmp_path):
    """Steps 0 to 3, told to stop; 60 s without a machine; steps 4 to 6. Ten seconds each, one more for their input."""
    package, memory, time = pytest.importorskip(trackers.GOODPUT_PACKAGE).goodput, Memory(), Time(1.7e9)
    began = time.now - 7
    train(time, with_package(memory), range(4), save_after=[1, 3], devices=(began, time.now), problem=Preempted(4))
    time.now += 60
    train(time, with_package(memory), range(4, 7), save_after=[6], devices=(time.now - 2, time.now))
    assert memory.flushed == 2
    memory.read_cloud_logging_entries = lambda *args, **named: (memory.entries, (None, None))
    calculator = package.GoodputCalculator("job", goodput.log_name("job"), memory, cache_dir=str(tmp_path))
    share, lost, last_step = calculator.get_job_goodput(include_badput_breakdown=True)
    whole = time.now - began

    def seconds(kind):
        return lost[getattr(package.BadputType, kind)] * whole / 100

    assert last_step == 6 and calculator._number_of_interruptions == 1
    assert seconds("TPU_INITIALIZATION") == pytest.approx(9) and seconds("TRAINING_PREP") == pytest.approx(10)
    assert seconds("INFRASTRUCTURE_RECOVERY_FROM_DISRUPTION") == pytest.approx(58)  # until devices are asked for again
    assert seconds("WASTED_PROGRESS_FROM_DISRUPTION") == 0
    assert lost[package.BadputType.CUSTOM_BADPUT_EVENTS]["CHECKPOINT"] * whole / 100 == pytest.approx(6)
    steps = 7 * 10
    assert steps <= share * whole / 100 <= steps + 8, "the package counts input between steps, and the end, as useful"


def test_without_credentials_the_package_itself_ends_in_one_line(tmp_path):
    pytest.importorskip(trackers.GOODPUT_PACKAGE)
    program = (
        "from absl import logging; logging.use_absl_handler()\n"
        "from encore_jax.train.goodput import GoodputEvents, connect\n"
        "events = GoodputEvents('job', None, connect); events.step(0); events.close()\nprint('trained')\n"
    )
    environment = {**os.environ, "HOME": str(tmp_path), "NO_GCE_CHECK": "true", "JAX_PLATFORMS": "cpu"}
    environment.pop("GOOGLE_APPLICATION_CREDENTIALS", None)
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, env=environment, timeout=120)
    assert run.stdout == "trained\n" and "Traceback" not in run.stderr
    lines = [line for line in run.stderr.splitlines() if "goodput is not recorded" in line]
    assert len(lines) == 1 and "DefaultCredentialsError" in lines[0]
