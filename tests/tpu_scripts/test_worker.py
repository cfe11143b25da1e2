"""The part that runs on a worker, with the real tmux and a stand-in for the program."""

import os
import re
import shutil
import subprocess
import tempfile
from pathlib import Path

import pytest

from tests.tpu_scripts.fake_cloud import REPOSITORY, until

AWKWARD = """it's "awkward" $HOME\n* and more"""
PROGRAM = """#!/usr/bin/env bash
printf '%s\\0' "$PWD" "$@" >"$HOME/arguments"
trap 'sleep 0.2; echo saved; exit 75' TERM
for ((i = 0; i < 500; i++)); do [[ ! -e $HOME/finish ]] || exit 4; sleep 0.02; done
"""


@pytest.fixture
def worker():
    """Calls worker.sh in a home folder of its own: worker(command, ...) -> its output."""
    if not shutil.which("tmux"):
        pytest.skip("tmux is not installed")
    folder = Path(tempfile.mkdtemp(prefix="w"))  # short: tmux puts a socket below it
    program = folder / "encore_jax_venv" / "bin" / "python"
    program.parent.mkdir(parents=True)
    program.write_text(PROGRAM)
    program.chmod(0o755)
    shutil.copytree(REPOSITORY / "tpu_scripts", folder / "encore_jax" / "tpu_scripts")
    environment = {"HOME": str(folder), "TMUX_TMPDIR": str(folder), "TPU_WORKER_ID": "3", "PATH": os.environ["PATH"]}

    def call(*arguments, code=0):
        command = ["bash", "encore_jax/tpu_scripts/worker.sh", *arguments]
        done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=30)
        assert done.returncode == code, done.stderr
        return done.stdout + done.stderr

    call.home = folder
    yield call
    subprocess.run(["tmux", "kill-server"], env=environment, capture_output=True)
    shutil.rmtree(folder)


def test_a_run_from_start_to_end(worker):
    assert worker("status", "a") == "encore-status 3 none\n"
    assert "worker 3: a started" in worker("start", "a", "-", "--config=x", AWKWARD)
    arguments = worker.home / "arguments"
    until(arguments.exists)
    until(lambda: arguments.read_text().endswith("\0"))
    expected = [str(worker.home / "encore_jax"), "-m", "experiments.run", "--config=x", AWKWARD]
    assert arguments.read_text().split("\0")[:-1] == expected
    assert worker("status", "a") == "encore-status 3 running\n"
    assert "running already" in worker("start", "a", "-", "--config=x", AWKWARD)
    assert "is going on" in worker("start", "a", "-", "--config=other", code=1)
    assert "is going on: a" in worker("start", "b", "-", code=1)
    (worker.home / "finish").touch()
    until(lambda: "running" not in worker("status", "a"))
    assert re.fullmatch(r"encore-status 3 exit 4 \d{10}\n", worker("status", "a"))
    assert "exit code 4" in (worker.home / "encore_runs" / "a" / "run.log").read_text()


def send_all(worker, signal):
    """Sends a signal to the shell in tmux and to the program."""
    environment = {"TMUX_TMPDIR": str(worker.home), "PATH": os.environ["PATH"]}
    panes = ["tmux", "list-panes", "-a", "-F", "#{pane_pid}"]
    shell = subprocess.run(panes, env=environment, capture_output=True, text=True, check=True).stdout.strip()
    program = (worker.home / "encore_runs" / "a" / "process").read_text()
    subprocess.run(["kill", f"-{signal}", shell, program], check=True)


def test_when_the_machine_goes_away_the_program_saves_first(worker):
    worker("start", "a", "-")
    until((worker.home / "arguments").exists)
    send_all(worker, "TERM")  # as at a shutdown, which sends both to a session
    send_all(worker, "HUP")
    until(lambda: "running" not in worker("status", "a"))
    assert " exit 75 " in worker("status", "a")
    assert "saved" in (worker.home / "encore_runs" / "a" / "run.log").read_text()


def test_stopping_lets_the_program_save(worker):
    worker("start", "a", "-")
    until((worker.home / "arguments").exists)
    worker("stop", "another run")
    assert worker("status", "a") == "encore-status 3 running\n"
    worker("stop", "a")
    assert " exit 75 " in worker("status", "a")


def test_a_run_whose_session_was_killed_goes_on_and_is_seen(worker):
    """Closing tmux hangs up, which the program ignores; a second run would find no free chips."""
    worker("is_running", code=1)
    worker("start", "a", "-")
    until((worker.home / "arguments").exists)
    environment = {"TMUX_TMPDIR": str(worker.home), "PATH": os.environ["PATH"]}
    subprocess.run(["tmux", "kill-session", "-t", "=encore"], env=environment, check=True)
    assert worker("status", "a") == "encore-status 3 running\n"
    worker("is_running")
    assert "is going on: a" in worker("start", "b", "-", code=1)
    worker("stop", "a")
    until(lambda: (worker.home / "encore_runs" / "a" / "exit_code").exists())
    assert " exit 75 " in worker("status", "a")


def test_a_run_whose_machine_was_started_anew_is_lost(worker):
    worker("start", "a", "-")
    until((worker.home / "arguments").exists)
    send_all(worker, "KILL")
    until(lambda: "running" not in worker("status", "a"))
    assert worker("status", "a") == "encore-status 3 lost\n"
