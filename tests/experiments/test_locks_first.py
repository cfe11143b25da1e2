"""Whoever writes an output keeps it before anything long is read: a second command is refused at once, by name."""

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from absl import flags
from absl.testing import flagsaver

from encore_jax.cli import export, run, score
from encore_jax.cli.command import define_config
from encore_jax.command_line import BAD_INPUT
from encore_jax.data import lock
from encore_jax.recipes.plan import Plan
from encore_jax.recipes.run import run_experiment
from encore_jax.recipes.run_config import validated
from encore_jax.reward.reward_model import RewardModel
from tests.experiments import tiny_reward_model, tiny_run

if "config" not in flags.FLAGS:
    define_config()
ROOT = Path(__file__).resolve().parents[2]
IN_USE = f"is in use by process {os.getpid()} on {socket.gethostname()} since 2"
JUDGE = ["--config.judge.model=judge", "--config.judge.server.urls=http://127.0.0.1:1", "--workdir=w"]
FIT = ["--config.data.path=pairs.jsonl", "--config.data.pool=safety_10", "--config.model.path=model", "--workdir=w"]
JOURNAL = ["--config=rate_server", "--config.data.path=pairs.jsonl", *JUDGE, "--config.judge.journal=j/a.sqlite"]
COMMANDS = {
    "fit": (run.main, ["--config=encore_hh", *FIT], lambda: lock.folder_lock("w")),
    "joint": (run.main, ["--config=joint_smollm2", *FIT], lambda: lock.folder_lock("w")),
    "rate": (
        run.main, ["--config=rate_server", "--config.data.path=pairs.jsonl", *JUDGE], lambda: lock.folder_lock("w"),
    ),
    "rate, journal": (run.main, JOURNAL, lambda: lock.kept_journal("j/a.sqlite")),
    "evaluate": (
        run.main, ["--config=rewardbench", "--config.model=model", "--config.data=pairs.jsonl", "--workdir=w"],
        lambda: lock.folder_lock("w"),
    ),
    "ablate": (
        run.main, ["--config=ablation", "--config.scores=pairs.jsonl", "--workdir=w"], lambda: lock.folder_lock("w"),
    ),
    "theory": (run.main, ["--config=theory", "--workdir=w"], lambda: lock.folder_lock("w")),
    "checkpoints": (
        run.main, ["--config=encore_smollm2", *FIT, "--config.data.source=files", "--config.train.checkpoints=c"],
        lambda: lock.folder_lock("c"),
    ),
    "score": (
        score.main, ["--model=model", "--input=pairs.jsonl", "--output=o.parquet"],
        lambda: lock.output_lock("o.parquet"),
    ),
    "score, best": (
        score.main, ["--model=model", "--input=pairs.jsonl", "--output=o.parquet", "--best=b.jsonl"],
        lambda: lock.output_lock("b.jsonl"),
    ),
    "export": (export.main, ["--workdir=w", "--out=out"], lambda: lock.output_lock("out")),
}  # fmt: skip


@pytest.fixture
def files(tmp_path, monkeypatch):
    """Files of which none can be read."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "pairs.jsonl").write_text("no JSON")
    (tmp_path / "model").mkdir()
    return tmp_path


@pytest.mark.parametrize("name", COMMANDS)
def test_the_second_is_refused_before_it_reads(name, files, capsys, monkeypatch):
    main, words, held = COMMANDS[name]
    monkeypatch.setattr(RewardModel, "from_pretrained", lambda *_, **__: pytest.fail("the model was read"))
    monkeypatch.setattr(Plan, "check_inputs", lambda *_: pytest.fail("inputs were read"))
    with held():
        begun = time.monotonic()
        with flagsaver.flagsaver(), pytest.raises(SystemExit) as stopped:
            main(words if main is export.main else ["encore", *words])
        seconds = time.monotonic() - begun
    errors = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error: ")]
    assert stopped.value.code == BAD_INPUT and len(errors) == 1 and IN_USE in errors[0], errors
    assert "Fix: wait until it ends" in errors[0] and seconds < 30


KEPT = {
    "folder": ("folder_lock", "kept"), "output": ("kept_output", "kept"), "journal": ("kept_journal", "kept.sqlite"),
}  # fmt: skip


@pytest.mark.parametrize("kind", KEPT)
def test_a_killed_holder_keeps_nobody_out(kind, tmp_path):
    name, path = KEPT[kind][0], tmp_path / KEPT[kind][1]
    code = f"import os, signal, sys\nfrom encore_jax.data.lock import {name}\nwith {name}(sys.argv[1]):\n"
    code += "    os.kill(os.getpid(), signal.SIGKILL)"
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    assert subprocess.run([sys.executable, "-c", code, str(path)], env=environment).returncode == -signal.SIGKILL
    with getattr(lock, name)(path):
        pass


def test_who_keeps_a_journal_may_open_it_and_nobody_else(tmp_path):
    path = tmp_path / "a.sqlite"
    with lock.kept_journal(path), lock.open_lock(path):
        assert lock.journal_lock(path).is_file()
    with lock.open_lock(path), pytest.raises(lock.InputError, match="is in use by process"), lock.open_lock(path):
        pass


# Real processes


def started(folder, *words):
    environment = os.environ | {"PYTHONPATH": str(ROOT), "JAX_NUM_CPU_DEVICES": "1"}
    command = [sys.executable, "-m", "encore_jax.cli.main", *map(str, words)]
    return subprocess.Popen(
        command, cwd=folder, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def stopped_once_it_keeps(process, kept):
    """Stops the process as soon as the lock file names it, so that it holds its output for as long as is wanted."""
    deadline = time.monotonic() + 120
    while True:
        assert process.poll() is None and time.monotonic() < deadline, process.communicate()
        with contextlib.suppress(OSError, ValueError):
            if json.loads(kept.read_text())["pid"] == process.pid:
                break
        time.sleep(0.01)
    process.send_signal(signal.SIGSTOP)


@pytest.mark.parametrize("name", ["score", pytest.param("export", marks=pytest.mark.slow)])
def test_of_two_processes_one_is_refused_and_the_other_loses_nothing(name, tmp_path):
    if name == "score":
        tiny_reward_model.write(tmp_path)
        rows = [{"prompt": f"Question {i}?", "responses": ["Yes.", "No."]} for i in range(4)]
        (tmp_path / "in.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
        words, kept = (
            ["score", "--model=model", "--input=in.jsonl", "--output=out.parquet"],
            tmp_path / ".out.parquet.lock",
        )
    else:
        run_experiment(validated(tiny_run.config(tiny_run.write_files(tmp_path / "files"))), tmp_path / "run")
        words, kept = ["export", "--workdir=run", "--out=out"], tmp_path / ".out.lock"
    killed = started(tmp_path, *words)
    stopped_once_it_keeps(killed, kept)
    killed.kill()
    killed.communicate()
    first = started(tmp_path, *words)
    stopped_once_it_keeps(first, kept)  # though the killed one has left its lock file
    try:
        second = started(tmp_path, *words)
        _, err = second.communicate(timeout=120)
    finally:
        first.send_signal(signal.SIGCONT)
    out, told = first.communicate(timeout=240)
    assert second.returncode == BAD_INPUT and f"is in use by process {first.pid} on {socket.gethostname()}" in err, err
    assert first.returncode == 0, told
    if name == "score":
        assert pq.read_table(tmp_path / "out.parquet").num_rows == 4
    else:
        assert (tmp_path / "out" / "config.json").is_file() and "up to date" not in out
    assert not kept.exists()
