"""Progress: every item exactly once, a line now and then, and silence off process 0."""

import io
import threading
import time

import jax
import pytest

from encore_jax import progress
from encore_jax.progress import clock, track

ITEMS = [10, 20, 30, 40]


@pytest.fixture
def lines(monkeypatch):
    """Log lines, with a clock that moves 6 seconds at every look."""
    seen, now = [], iter(range(0, 1000, 6))
    monkeypatch.setattr(progress.logging, "level_info", lambda: True)
    monkeypatch.setattr(progress.logging, "info", lambda text, *values: seen.append(text % values))
    monkeypatch.setattr(progress.time, "monotonic", lambda: float(next(now)))
    monkeypatch.setattr(progress.sys, "stderr", io.StringIO())
    return seen


def test_lines_say_share_and_time_left(lines):
    assert list(track(iter(ITEMS), 100, "features", size=lambda item: item)) == ITEMS
    assert lines == ["features: 30 %, 0:28 left", "features: 100 %, 0:00 left"]


def test_time_left_goes_by_the_latest_pace(lines):
    assert len(list(track(range(6), 100, "features", size=[40, 40, 1, 1, 1, 1].__getitem__))) == 6
    assert lines[1] == "features: 82 %, 1:48 left"  # 2 % in the last 12 seconds, not 82 % in 24


def test_quick_work_says_nothing(monkeypatch, lines):
    monkeypatch.setattr(progress.time, "monotonic", lambda: 0.0)
    assert list(track(ITEMS, 4, "features")) == ITEMS
    assert lines == []


def test_nothing_to_do(lines):
    assert list(track([], 0, "features")) == []


def test_other_processes_are_silent(lines, monkeypatch):
    monkeypatch.setattr(jax, "process_index", lambda: 1)
    assert list(track(ITEMS, 100, "features")) == ITEMS
    assert lines == []


def test_a_terminal_gets_a_bar(monkeypatch):
    class Terminal(io.StringIO):
        def isatty(self):
            return True

    terminal = Terminal()
    monkeypatch.setattr(progress.sys, "stderr", terminal)
    assert list(track(ITEMS, 100, "features", size=lambda item: item)) == ITEMS
    assert "features" in terminal.getvalue() and "100 %" in terminal.getvalue()


def test_items_are_taken_one_at_a_time(lines):
    taken = []
    wrapped = track((taken.append(item) or item for item in ITEMS), 100, "features")
    next(wrapped)
    assert taken == [10]


def test_clock():
    assert [clock(s) for s in (0, 59.9, 60, 3599, 3600, 90061)] == [
        "0:00",
        "0:59",
        "1:00",
        "59:59",
        "1:00:00",
        "25:01:01",
    ]


def test_lines_say_how_far_the_whole_run_is(lines):
    with progress.part_of("stage 3 of 10"):
        assert list(track(iter(ITEMS), 100, "features", size=lambda item: item)) == ITEMS
    assert lines[0] == "features (stage 3 of 10): 30 %, 0:28 left"
    list(track(iter(ITEMS), 100, "features", size=lambda item: item))
    assert lines[-1] == "features: 100 %, 0:00 left"


def test_where_nobody_started_a_log_progress_is_seen_all_the_same(capsys, monkeypatch):
    """As in a notebook, whose log shows warnings only."""
    monkeypatch.setattr(progress.logging, "level_info", lambda: False)
    monkeypatch.setattr(progress, "LINE_EVERY_SECONDS", 0.0)
    assert list(progress.track(range(3), 3, "features")) == [0, 1, 2]
    first, *lines = capsys.readouterr().err.splitlines()
    assert first.startswith("features: begun") and lines[-1] == "features: 100 %, 0:00 left"


@pytest.fixture
def said(monkeypatch):
    """Log lines, of which one is due after a twentieth of a second of silence."""
    seen = []
    monkeypatch.setattr(progress.logging, "level_info", lambda: True)
    monkeypatch.setattr(progress.logging, "info", lambda text, *values: seen.append(text % values))
    monkeypatch.setattr(progress, "LINE_EVERY_SECONDS", 0.05)
    return seen


def _wait_for(condition):
    end = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.01)


def test_long_silent_work_says_that_it_continues(said):
    with progress.at_work("stage 8 of 10, evaluate"):
        _wait_for(lambda: len(said) >= 2)
    lines = len(said)
    assert set(said) == {"stage 8 of 10, evaluate: at work for 0:00"}
    assert "at work" not in [thread.name for thread in threading.enumerate()]
    time.sleep(0.1)
    assert len(said) == lines


def test_a_command_speaks_first_after_less_than_the_time_between_lines(said, monkeypatch):
    monkeypatch.setattr(progress, "LINE_EVERY_SECONDS", 100.0)

    @progress.at_work("score", first=0.05)
    def work():
        _wait_for(lambda: said)
        time.sleep(0.2)

    work()
    work()  # what has ended begins anew
    assert said == ["score: at work for 0:00"] * 2


def test_work_whose_progress_is_seen_says_no_more_than_that(said, monkeypatch):
    monkeypatch.setattr(progress, "LINE_EVERY_SECONDS", 1.0)
    with progress.at_work("train"):
        for _ in range(30):
            progress._say("train: 30 %")
            time.sleep(0.05)
    assert set(said) == {"train: 30 %"}


def test_work_that_goes_on_step_by_step_is_left_to_its_own_lines(said, monkeypatch):
    monkeypatch.setattr(progress, "LINE_EVERY_SECONDS", 0.3)
    monkeypatch.setattr(progress.sys.stderr, "isatty", lambda: False, raising=False)
    with progress.at_work("features"):
        for _ in progress.track(range(20), 20.0, "texts"):
            time.sleep(0.1)
        pace = progress.Pace(20, "training")
        for step in range(20):
            time.sleep(0.1)
            pace(step, "loss 1")
    assert len(said) >= 4 and not [line for line in said if "at work" in line], said


def test_work_that_fails_or_is_of_another_process_leaves_no_thread(said, monkeypatch):
    with pytest.raises(ZeroDivisionError), progress.at_work("train"):
        raise ZeroDivisionError
    monkeypatch.setattr(jax.distributed, "is_initialized", lambda: True)
    monkeypatch.setattr(jax, "process_index", lambda: 1)
    with progress.at_work("train"):
        assert "at work" not in [thread.name for thread in threading.enumerate()]
        time.sleep(0.2)
    assert said == []
