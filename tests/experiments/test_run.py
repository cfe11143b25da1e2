"""The command line: overrides, refusals in one line, and nothing begun that cannot be finished."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from encore_jax.cli.config_file import load_config
from encore_jax.recipes.run import plan_of
from tests.experiments import tiny_run

REPOSITORY = Path(__file__).resolve().parents[2]
BENCHMARK = REPOSITORY / "encore_jax" / "recipes" / "configs" / "rewardbench.py"


@pytest.fixture(scope="module")
def commands(tmp_path_factory):
    """Several commands at once, since most of their time is imports: name -> (finished process, work directory)."""
    folder = tmp_path_factory.mktemp("cli")
    files = tiny_run.write_files(folder / "files")
    broken = folder / "broken.jsonl"
    lines = (files / "pairs.jsonl").read_text().splitlines()
    broken.write_text("\n".join([*lines[:2], '{"prompt": "Hi", "chosen": "a", "rejected": }', *lines[3:]]) + "\n")
    arguments = {
        "overridden": [
            "--config.compose.tau=0.5",
            "--config.model.buckets=(64,128)",
            "--config.train.alphas=(2.0,)",
            "--config.compose.scale=(0.0,1.0)",
            "--config.data.offline=true",
            "--config.data.test_fraction=0.25",
            "--config.name=by hand",
            "--checkpoints=gs://bucket/run",
            "--until=ingest",
        ],
        "broken line": [f"--config.data.path={broken}"],
        "bad value": ["--config.compose.tau=-1"],
        "no such file": [f"--config.data.path={folder}/missing.jsonl"],
        "no such field": ["--config.compose.taw=1"],
        "stray word": ["quickly"],
        "no pod": ["--multihost=auto"],
        "as, without a benchmark": ["--as=hf"],
        "as nobody": [f"--config={BENCHMARK}", "--config.model=m", "--config.data=d", "--as=nobody"],
    }
    config, environment = tiny_run.write_config(files), os.environ | {"PYTHONPATH": str(REPOSITORY)}
    running = {}
    for name, extra in arguments.items():
        workdir = folder / name.replace(" ", "_")
        own = [] if any(word.startswith("--config=") for word in extra) else [f"--config={config}"]
        command = [sys.executable, "-m", "experiments.run", *own, f"--workdir={workdir}", *extra]
        pipes = dict(stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        running[name] = (subprocess.Popen(command, cwd=folder, env=environment, **pipes), workdir)
    return {name: (process, *process.communicate(), workdir) for name, (process, workdir) in running.items()}


def test_overrides_reach_the_configuration_tuples_included(commands):
    process, _, stderr, workdir = commands["overridden"]
    assert process.returncode == 0, stderr
    config = json.loads((workdir / "config.json").read_text())
    assert config["compose"]["tau"] == 0.5 and config["model"]["buckets"] == [64, 128]
    assert config["train"]["alphas"] == [2.0] and config["compose"]["scale"] == [0.0, 1.0]
    assert config["data"]["offline"] is True and config["data"]["test_fraction"] == 0.25
    assert config["name"] == "by hand" and config["train"]["checkpoints"] == "gs://bucket/run"


def test_it_stops_after_the_stage_that_was_asked_for_and_says_so(commands):
    _, _, stderr, workdir = commands["overridden"]
    assert sorted(p.name for p in workdir.iterdir()) == [".encore_jax.json", ".lock", "config.json", "ingest"]
    assert "ingest: done" in stderr and "120 rows: 120 kept, 0 skipped" in stderr


def refusal(commands, name):
    """The one line of a refused command, which must not be a traceback."""
    process, stdout, stderr, workdir = commands[name]
    assert process.returncode == 2
    assert "Traceback" not in stderr and "Traceback" not in stdout
    (line,) = [line for line in stderr.splitlines() if line.startswith("error: ")]
    return line, workdir


def test_a_broken_line_is_named(commands):
    line, workdir = refusal(commands, "broken line")
    assert "broken.jsonl:3: broken JSON" in line and "Fix: " in line
    assert not (workdir / "ingest" / "manifest.json").exists()


def test_a_senseless_value_is_named_before_anything_is_begun(commands):
    line, workdir = refusal(commands, "bad value")
    assert line.startswith("error: config.compose.tau: ") and "positive" in line
    assert not workdir.exists()


def test_a_missing_file_is_named(commands):
    line, _ = refusal(commands, "no such file")
    assert "missing.jsonl: no such file or folder" in line


def test_a_misspelt_field_is_named(commands):
    line, workdir = refusal(commands, "no such field")
    assert "--config.compose.taw" in line and "did you mean compose.tau" in line
    assert not workdir.exists()


def test_a_stray_word_is_named(commands):
    line, workdir = refusal(commands, "stray word")
    assert "unexpected arguments: quickly" in line and not workdir.exists()


def test_the_stages_are_those_of_the_design():
    assert plan_of(load_config("quickstart"), Path("w")).stages == (
        "ingest",
        "rate",
        "features",
        "train",
        "baselines",
        "score",
        "compose",
        "evaluate",
        "audit",
        "report",
    )


def test_compiling_for_a_slice_looks_for_no_chips_however_the_flag_is_written():
    code = "import os, sys; sys.argv = ['run', {}]; import encore_jax.cli.run; "
    code += "print(os.environ['JAX_PLATFORMS'], *sys.modules)"
    environment = {name: value for name, value in os.environ.items() if name != "JAX_PLATFORMS"}
    for written in ("'--aot=v5e:2x2'", "'-aot', 'fit:v5e'"):
        done = subprocess.run(
            [sys.executable, "-c", code.format(written)],
            cwd=REPOSITORY,
            env=environment,
            capture_output=True,
            text=True,
        )
        platform, *imported = done.stdout.split()
        assert platform == "cpu", done.stderr
        assert not {"grain", "matplotlib", "scipy.stats", "transformers"} & set(imported), "a wrong command would wait"


def test_several_processes_are_not_found_where_there_are_none(commands):
    process, _, stderr, workdir = commands["no pod"]
    assert process.returncode == 2 and "error: multihost: this machine knows of no other processes" in stderr
    assert "Traceback" not in stderr and not workdir.exists()


def test_as_is_the_peer_of_a_benchmark_and_of_nothing_else(commands):
    assert "--as: is for benchmarks" in refusal(commands, "as, without a benchmark")[0]
    line = refusal(commands, "as nobody")[0]
    assert "config.peer" in line and "nobody" in line and "rewardbench" in line
