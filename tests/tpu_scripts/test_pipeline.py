"""The whole runs' steps against a fake Google Cloud, with a stand-in for Python here: what is done when, and once."""

import os
import re
import shlex
import signal
import time

import pytest

from encore_jax.cli.config_file import load_config
from encore_jax.cli.main import COMMANDS, expanded
from encore_jax.cli.overrides import apply_overrides
from experiments.pod import parser_of
from tests.tpu_scripts.fake_cloud import REPOSITORY, SLICE, until

PYTHON = """#!/usr/bin/env bash
set -euo pipefail
printf '%s ' "${@:2}" >>"$FAKE_CLOUD/here"
echo >>"$FAKE_CLOUD/here"
for word in "$@"; do
  [[ $word != --out=* ]] || { mkdir -p "$(dirname "${word#*=}")"; echo made >"${word#*=}"; }
  [[ $word != --workdir=* ]] || { mkdir -p "${word#*=}/rate"; touch "${word#*=}"/rate/{comparisons,rated}.jsonl; }
done
[[ $* != *"pod cost"* ]] || echo 'estimate: cheap'
"""
STEPS = {
    "encore_8b.sh": ["data", "judge", "ratings", "train", "export", "score-bench", "table", "delete"],
    "ramo_8b.sh": ["data", "judge", "merge", "adapter", "predictions", "critical", "labels", "train", "export",
                   "score-bench", "table", "delete"],
}  # fmt: skip
NEEDED = {"BUCKET": "gs://b", "PAIRS": "hh.jsonl pku.jsonl", "BENCHMARKS": "bench.json", "JUDGE_MODEL": "m",
          "JUDGE_URL": "http://127.0.0.1:1"}  # fmt: skip


@pytest.fixture
def whole(cloud, tmp_path):
    """Starts a whole run; whole.cloud is where."""
    program = cloud.folder / "bin" / "here"
    program.write_text(PYTHON)
    program.chmod(0o755)
    for name in ("hh.jsonl", "pku.jsonl", "bench.json"):
        (tmp_path / name).touch()
    names = ("encore_llama31_8b", "rule_adapter_llama32_3b", "bt_llama31_8b")
    for path in (*(f"experiments/configs/{name}.py" for name in names), "encore_jax/recipes/configs/rewardbench.py",
                 "encore_jax/recipes/configs/rate_local.py"):  # fmt: skip
        (cloud.checkout / path).parent.mkdir(parents=True, exist_ok=True)
        (cloud.checkout / path).touch()
    adapter = cloud.checkout / "runs" / "encore" / "adapter" / "adapter"
    adapter.mkdir(parents=True)
    (adapter / "adapter.json").touch()
    cloud.plan({"codes": [(0, 0)]})

    def start(script, *arguments, **settings):
        return cloud.start(script, *arguments, **SLICE | NEEDED | {"PYTHON": str(program)} | settings)

    start.cloud = cloud
    return start


def done(process, code=0):
    stdout, stderr = process.communicate(timeout=120)
    assert process.returncode == code, stderr
    return stdout, stderr


def finished(cloud):
    path = cloud.checkout / "runs" / "encore" / "pipeline" / "finished"
    return path.read_text().split() if path.exists() else []


def asked_here(cloud):
    return [line for line in (cloud.folder / "here").read_text().splitlines() if "pod cost" not in line]


@pytest.mark.parametrize("script", STEPS)
def test_every_step_is_done_once_and_the_slice_is_deleted(whole, script):
    _, stderr = done(whole(script))
    cloud = whole.cloud
    assert finished(cloud) == STEPS[script] and cloud.state == "NONE"
    assert cloud.count("queued-resources", "create") == 1
    assert stderr.index("estimate: cheap") < stderr.index("data")
    assert (cloud.checkout / "runs" / "encore" / "benchmarks.md").exists()
    assert (cloud.folder / "bucket" / "b" / "encore" / "export" / "config.json").exists()
    here, runs = asked_here(cloud), cloud.runs()
    assert "begun" not in done(whole(script))[1]
    assert asked_here(cloud) == here and cloud.runs() == runs


@pytest.mark.parametrize(
    "step", [name if name in ("judge", "train") else pytest.param(name, marks=pytest.mark.slow)
             for name in STEPS["encore_8b.sh"][:-1]]
)  # fmt: skip
def test_killed_after_any_step_the_same_command_resumes_there(whole, step):
    process, cloud = whole("encore_8b.sh"), whole.cloud
    until(lambda: step in finished(cloud), 60)
    os.kill(process.pid, signal.SIGKILL)
    process.communicate()
    _, stderr = done(whole("encore_8b.sh"))
    assert f"{step}: finished before" in stderr
    assert finished(cloud)[-1] == "delete" and list(dict.fromkeys(finished(cloud))) == STEPS["encore_8b.sh"]
    assert cloud.state == "NONE"
    assert sum(line.startswith("experiments.pod data") for line in asked_here(cloud)) == 1


def test_a_run_that_outlives_the_command_is_joined(whole):
    whole.cloud.plan({"codes": [(0, 0), ("hang", "hang")]})
    process, cloud = whole("encore_8b.sh"), whole.cloud
    until(lambda: len(cloud.runs()) == 2, 60)
    with process:  # what it started lives on
        process.kill()
    again = whole("encore_8b.sh")
    said = []
    found = any("encore-score-bench is running already" in (said.append(line) or line) for line in again.stdout)
    assert found, "".join(said) + again.stderr.read()
    (cloud.folder / "finish").touch()
    done(again)
    assert len(cloud.runs()) == 2 and cloud.count("queued-resources", "create") == 1
    assert finished(cloud) == STEPS["encore_8b.sh"] and cloud.state == "NONE"


def test_a_slice_that_is_taken_away_after_training_is_replaced(whole):
    process, cloud = whole("encore_8b.sh"), whole.cloud
    until(lambda: "train" in finished(cloud), 60)
    cloud.take_away("SUSPENDED")
    done(process)
    assert finished(cloud) == STEPS["encore_8b.sh"] and cloud.state == "NONE"
    trainings = [run for _, run in cloud.runs() if "encore_llama31_8b" in run[0]]
    assert len(trainings) == 1 and cloud.count("queued-resources", "create") == 2


def test_a_failed_step_ends_it_and_leaves_no_slice(whole):
    whole.cloud.plan({"codes": [(3, 3)]})
    _, stderr = done(whole("encore_8b.sh"), 3)
    assert "train failed with exit code 3; the same command resumes there" in stderr
    assert whole.cloud.state == "NONE" and finished(whole.cloud) == STEPS["encore_8b.sh"][:3]


def test_other_settings_are_another_run_but_for_the_slice(whole):
    done(whole("encore_8b.sh"))
    _, stderr = done(whole("encore_8b.sh", "--pool=other.yaml"), 2)
    assert "POOL=other.yaml" in stderr and "begun with other settings" in stderr
    done(whole("encore_8b.sh", ACCELERATOR="v6e:8"))


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        (dict.fromkeys(NEEDED, ""), "BUCKET, PAIRS, BENCHMARKS, JUDGE_MODEL and JUDGE_URL are missing"),
        ({"JUDGE": "oracle"}, "--judge: oracle is neither server nor local"),
        ({"PAIRS": "hh.jsonl none.jsonl"}, "there is no file"),
        ({"BENCHMARKS": "bench.json bench.jsonl"}, "there is no file"),
        ({"BENCHMARKS": "bench.json ./bench.json"}, "two files of one name"),
        ({"TRAIN_CONFIG": "none.py"}, "there is no configuration none.py"),
        ({"PAIRS": "", "ZONE": ""}, "ZONE and PAIRS are missing"),
    ],
)
def test_nothing_is_begun_with_settings_that_make_no_sense(whole, settings, said):
    stdout, stderr = done(whole("encore_8b.sh", **settings), 2)
    assert said in stderr and not stdout and not whole.cloud.calls()
    assert not (whole.cloud.folder / "here").exists()


def check_run(words):
    """Whether the words configure a run: the configuration exists, and every field that is set."""
    flags = dict(word.partition("=")[::2] for word in words)
    config = load_config(flags.pop("--config"))
    known = {"--multihost", "--workdir", "--checkpoints", "--mesh", "--from"}
    fields = {name.removeprefix("--config."): [value] for name, value in flags.items() if name not in known}
    assert all(name.startswith("--config.") for name in flags if name not in known), words
    apply_overrides(config, fields)


@pytest.mark.parametrize("script", STEPS)
@pytest.mark.parametrize("judge", ["server", "local"])
def test_every_command_of_a_dry_run_exists(whole, script, judge):
    stdout, _ = done(whole(script, "--dry-run", f"--judge={judge}"))
    assert not whole.cloud.calls() and not finished(whole.cloud)
    verbs = set(re.search(r"\n  (install .*?)\) ", (REPOSITORY / "tpu_scripts" / "worker.sh").read_text())[1].split())
    kinds = set()
    for line in stdout.splitlines():
        words = shlex.split(line)
        if words[0].endswith("/here"):
            module, rest = words[2], words[3:]
            kinds.add(" ".join(words[2:4]))
            if module == "experiments.pod":
                parser_of(rest[0]).parse_args(rest[1:])
            else:
                check_run(expanded(COMMANDS[rest[0]], rest[1:]))
        elif (
            command := next((word for word in words if word.startswith("--command=bash encore_jax")), None)
        ) is not None:
            _, _, verb, *arguments = shlex.split(command.removeprefix("--command="))
            assert verb in verbs | {"export"}, verb
            kinds.add(verb)
            if verb == "start":
                check_run(arguments[2:])
        else:
            assert words[0] in ("gcloud", "mkdir", "tar", "cp", "bash", "rm"), line
    assert {"install", "devices", "start", "status", "pack", "export", "fetch", "experiments.pod cost"} <= kinds
    assert ("encore_jax.cli.main rate" in kinds) == (judge == "server")
    assert stdout.index("pod cost") < stdout.index("pod data") < stdout.index(" export ") < stdout.rindex(" delete ")


def test_without_an_estimate_a_dry_run_fails_and_a_run_begins(whole):
    broken = whole.cloud.folder / "bin" / "broken"
    broken.write_text(PYTHON.replace("echo 'estimate: cheap'", "{ echo 'error: no' >&2; exit 1; }"))
    broken.chmod(0o755)
    _, stderr = done(whole("encore_8b.sh", "--dry-run", PYTHON=str(broken)), 1)
    assert "no estimate, for the reason above: look at --accelerator, --pairs, --benchmarks" in stderr
    _, stderr = done(whole("encore_8b.sh", PYTHON=str(broken)))
    assert "no estimate" in stderr and finished(whole.cloud) == STEPS["encore_8b.sh"]


WAITED_FOR = ("worker.sh is_running", "worker.sh export", "worker.sh fetch", "mkdir -p", "results.tar.gz")


@pytest.mark.parametrize(
    ("words", "signalled"), [(words, signal.SIGTERM) for words in WAITED_FOR] + [(WAITED_FOR[0], signal.SIGINT)]
)
def test_whatever_it_waits_for_it_is_interrupted_at_once(whole, words, signalled):
    """Looking for a run may wait five minutes for its log, an export may take longer."""
    cloud = whole.cloud
    (cloud.folder / "hang").write_text(words)
    if words == WAITED_FOR[0]:
        created = cloud.run("create.sh", "--wait", **SLICE)
        assert created.returncode == 0, created.stderr
    with whole("encore_8b.sh", "--keep") as process:
        try:
            until(lambda: (cloud.folder / "hung").exists(), 60)
            began = time.monotonic()
            process.send_signal(signalled)
            assert process.wait(timeout=10) == 130 and time.monotonic() - began < 5
        finally:
            process.kill()
        while "interrupted; encore may still cost money" not in (line := process.stderr.readline()):
            assert line
