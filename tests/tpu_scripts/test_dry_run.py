"""A dry run prints the very commands, each on a line that a shell can run, and runs none."""

import re
import shlex
import shutil
from pathlib import Path

import pytest

from encore_jax.cli.sweep_runs import Cell, launched
from tests.tpu_scripts.fake_cloud import CONFIG, SLICE, Cloud

AWKWARD = """--config.name=it's a "name" with $HOME, `ls` and \\ in it"""
WHERE = ["--project=my-project", "--zone=us-west4-a"]
LOOK = [
    "gcloud",
    "compute",
    "tpus",
    "queued-resources",
    "list",
    *WHERE,
    '--filter=name~"/encore$"',
    "--format=value(state.state)",
]
CREATE = ["gcloud", "compute", "tpus", "queued-resources", "create", "encore", "--node-id=encore", *WHERE,
          "--accelerator-type=v5litepod-8", "--spot", "--runtime-version=v2-alpha-tpuv5-lite"]  # fmt: skip
DELETE = ["gcloud", "compute", "tpus", "queued-resources", "delete", "encore", *WHERE, "--force", "--quiet"]
WORKER = "bash encore_jax/tpu_scripts/worker.sh"


def ssh(command, worker="all"):
    return [
        "gcloud",
        "compute",
        "tpus",
        "tpu-vm",
        "ssh",
        "encore",
        *WHERE,
        f"--worker={worker}",
        "--quiet",
        f"--command={command}",
    ]


def scp(source, target, worker="all"):
    return ["gcloud", "compute", "tpus", "tpu-vm", "scp", source, target, *WHERE, f"--worker={worker}", "--quiet"]


def dry(cloud: Cloud, script, *arguments, **settings):
    """The commands that a dry run prints, split as a shell would."""
    done = cloud.run(script, "--dry-run", *arguments, **SLICE | settings)
    assert done.returncode == 0, done.stderr
    assert not cloud.calls() and not (cloud.checkout / "runs").exists(), "a dry run did something"
    assert all("] dry run, would say: " in line for line in done.stderr.splitlines()), done.stderr
    return [shlex.split(line) for line in done.stdout.splitlines()]


def test_create(cloud):
    assert dry(cloud, "create.sh", "--spot") == [LOOK, CREATE]
    assert dry(cloud, "create.sh", "--spot", "--wait") == [LOOK, CREATE, LOOK]


def test_delete(cloud):
    assert dry(cloud, "delete.sh") == [LOOK, DELETE, LOOK]


def test_setup(cloud, tmp_path):
    mkdir, pack, copy, unpack, install, devices = dry(cloud, "setup.sh")
    archive = "runs/encore/tpu/checkout.tar.gz"
    assert mkdir == ["mkdir", "-p", "runs/encore/tpu"]
    assert pack[:2] == ["bash", "-c"] and "git ls-files" in pack[2] and pack[-1] == archive
    assert copy == scp(archive, "encore:encore_jax.tar.gz")
    assert unpack[:-1] == ssh("")[:-1] and "tar -xzf encore_jax.tar.gz" in unpack[-1]
    assert [install, devices] == [ssh(f"{WORKER} install"), ssh(f"{WORKER} devices 8")]
    (tmp_path / "my token").write_text("secret")
    commands = dry(cloud, "setup.sh", "--hf-token-file=my token")
    assert scp(str(tmp_path / "my token"), "encore:.cache/huggingface/token") in commands
    assert "secret" not in str(commands)


def test_run(cloud):
    start, status, count, mkdir, copy = dry(cloud, "run.sh", f"--config={CONFIG}", AWKWARD, BUCKET="b/f")
    assert start[:-1] == ssh("")[:-1]
    assert shlex.split(start[-1].removeprefix("--command=")) == [
        *shlex.split(WORKER), "start", "encore", "b/f/encore/logs", f"--config={CONFIG}", AWKWARD, "--multihost=auto",
        "--workdir=../encore_runs/encore/work", "--checkpoints=gs://b/f/encore/checkpoints",
    ]  # fmt: skip
    assert status == ssh(f"{WORKER} status encore")
    assert count[4:6] == ["describe", "encore"] and mkdir == ["mkdir", "-p", "runs/encore/tpu/logs"]
    assert copy == scp("encore:encore_runs/encore/run.log", "runs/encore/tpu/logs/worker-0.log", 0)


def test_what_the_user_says_about_the_run_stays(cloud):
    own = [f"--config={CONFIG}", "--workdir=/mnt/disk/w", "--config.train.checkpoints=gs://mine", "--until=ingest"]
    (start,) = dry(cloud, "run.sh", "--detach", "--run=lr=1e-5,seed=0", "--", *own, BUCKET="b")
    assert shlex.split(start[-1])[3:] == ["lr=1e-5,seed=0", "b/lr=1e-5,seed=0/logs", *own, "--multihost=auto"]


def test_logs_and_status(cloud, tmp_path):
    *_, pack, fetch, unpack = dry(cloud, "logs.sh", "--results=my results", "--to", "my logs")
    assert pack == ssh(f"{WORKER} pack encore", 0)
    assert fetch == scp("encore:encore_runs/encore/results.tar.gz", "runs/encore/tpu/results.tar.gz", 0)
    assert unpack == ["tar", "-xzf", "runs/encore/tpu/results.tar.gz", "-C", str(tmp_path / "my results")]
    assert dry(cloud, "logs.sh", "--follow") == [ssh("tail -n 50 -F encore_runs/encore/run.log", 0)]
    look, node, workers = dry(cloud, "status.sh", "--ssh-flags=--internal-ip --batch-size=4")
    assert look == LOOK and node[3:5] == ["tpu-vm", "list"]
    assert workers == [*ssh("")[:-1], "--internal-ip", "--batch-size=4", f"--command={WORKER} status encore"]


def test_the_whole_loop_is_made_of_the_other_scripts(cloud):
    settings = {"BUCKET": "b", "SPOT": "1"}
    commands = dry(cloud, "train_with_resume.sh", f"--config={CONFIG}", AWKWARD, **settings)
    parts = [
        dry(cloud, "create.sh", "--wait", **settings),
        dry(cloud, "setup.sh", **settings),
        dry(cloud, "run.sh", f"--config={CONFIG}", AWKWARD, **settings)[:2],
        dry(cloud, "delete.sh"),
    ]
    position = 0
    for part in parts:
        found = [i for i in range(position, len(commands)) if commands[i : i + len(part)] == part]
        assert found, part
        position = found[0] + len(part)
    assert position == len(commands)


def test_a_sweep_can_use_the_loop_as_the_readme_says(cloud):
    (template,) = re.findall(r"--launch='(.+)'", (cloud.checkout / "tpu_scripts" / "README.md").read_text())
    shutil.copy(cloud.checkout / "tpu_scripts" / "settings.example", cloud.checkout.parent / "my-slice.env")
    cell = Cell("seed=1,train.lr=1e-6", {}, (f"--config={CONFIG}", AWKWARD), "")
    script, *arguments = launched(template, cell, Path("my sweep"), "python", "sweep-a")
    assert script == "tpu_scripts/train_with_resume.sh"
    done = cloud.run("train_with_resume.sh", "--dry-run", *arguments)
    assert done.returncode == 0, done.stderr
    commands = [shlex.split(line) for line in done.stdout.splitlines()]
    (start,) = [shlex.split(command[-1]) for command in commands if " start " in command[-1]]
    assert start[3] == cell.name and {f"--config={CONFIG}", AWKWARD} <= set(start)
    assert f"--checkpoints=gs://my-bucket/encore/{cell.name}/checkpoints" in start
    assert commands[-1][-1] == str(cloud.checkout.parent / "my sweep" / cell.name)
    assert all("sweep-a" in command for command in commands if "ssh" in command)
    assert not [command for command in commands if "delete" in command]


@pytest.mark.parametrize("script", ["create.sh", "setup.sh", "delete.sh", "status.sh", "logs.sh"])
def test_a_dry_run_needs_no_gcloud(cloud, script):
    (cloud.folder / "bin" / "gcloud").unlink()
    assert dry(cloud, script)
