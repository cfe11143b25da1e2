"""Each script by itself, against a fake Google Cloud."""

import tarfile

import pytest

from tests.tpu_scripts.fake_cloud import CONFIG, SLICE, until

CONFIGURED = (f"--config={CONFIG}",)


@pytest.fixture
def up(cloud):
    """A cloud with a slice that is set up."""

    def bring_up(*plan):
        cloud.plan(*plan)
        for script in (("create.sh", "--wait"), ("setup.sh",)):
            done = cloud.run(*script, **SLICE)
            assert done.returncode == 0, done.stderr
        return cloud

    return bring_up


def test_create_waits_and_changes_nothing_when_repeated(cloud):
    cloud.plan({})
    assert cloud.run("create.sh", **SLICE).returncode == 0 and cloud.state == "CREATING"
    done = cloud.run("create.sh", "--wait", **SLICE)
    assert done.returncode == 0 and cloud.state == "ACTIVE" and "PROVISIONING" in done.stderr
    assert cloud.run("create.sh", "--wait", **SLICE).returncode == 0
    assert cloud.count("queued-resources", "create") == 1


def test_create_says_when_there_will_be_no_slice(cloud):
    cloud.plan({"states": ["PROVISIONING", "FAILED"]})
    assert cloud.run("create.sh", "--wait", **SLICE).returncode == 75
    done = cloud.run("create.sh", **SLICE)
    assert done.returncode == 1 and "encore is FAILED; delete it first: tpu_scripts/delete.sh" in done.stderr


def test_what_the_cloud_says_is_passed_on(cloud):
    cloud.plan({})
    cloud.refuse("create", 1)
    done = cloud.run("create.sh", **SLICE)
    assert done.returncode == 1 and "ERROR: refused" in done.stderr


def test_delete_keeps_trying_and_is_content_when_nothing_is_there(cloud):
    cloud.plan({})
    assert cloud.run("delete.sh", **SLICE).returncode == 0 and not cloud.count("queued-resources", "delete")
    cloud.run("create.sh", "--wait", **SLICE)
    cloud.refuse("delete", 2)
    assert cloud.run("delete.sh", **SLICE).returncode == 0
    assert cloud.state == "NONE" and cloud.count("queued-resources", "delete") == 3


def test_setup_copies_what_git_knows_and_installs_with_the_constraints(up):
    cloud = up({})
    (cloud.checkout / "new file.py").write_text("new")
    (cloud.checkout / "runs" / "ignored").touch()
    (cloud.home(0) / "encore_jax" / "stale.py").touch()
    assert cloud.run("setup.sh", **SLICE).returncode == 0
    for worker in (0, 1):
        copied = cloud.home(worker) / "encore_jax"
        assert (copied / "new file.py").read_text() == "new" and (copied / CONFIG).exists()
        assert not (copied / "runs").exists() and not (copied / "stale.py").exists()
        installed = (cloud.home(worker) / "installed").read_text().splitlines()
        assert ["-c", "constraints.txt", "-e", ".[tpu]"] == installed[installed.index("-c") :][:4]


def test_setup_refuses_a_slice_with_other_chips(cloud):
    cloud.plan({})
    settings = SLICE | {"ACCELERATOR": "v5e:4x4"}  # the fake's workers see eight chips
    cloud.run("create.sh", "--wait", **settings)
    done = cloud.run("setup.sh", **settings)
    assert done.returncode == 1 and "the slice should have 16 chips" in done.stderr


def test_setup_brings_the_token_and_nobody_else_can_read_it(cloud, tmp_path):
    cloud.plan({})
    cloud.run("create.sh", "--wait", **SLICE)
    (tmp_path / "token").write_text("secret")
    done = cloud.run("setup.sh", "--hf-token-file=token", **SLICE)
    assert done.returncode == 0, done.stderr
    token = cloud.home(1) / ".cache" / "huggingface" / "token"
    assert token.read_text() == "secret" and token.stat().st_mode & 0o077 == 0
    assert "secret" not in str(cloud.calls())


@pytest.mark.parametrize(("codes", "code"), [((0, 0), 0), ((75, 75), 75), ((5, 0), 5), ((0, 6), 6)])
def test_run_ends_as_the_run_does_and_brings_the_logs(up, codes, code):
    cloud = up({"codes": [codes]})
    done = cloud.run("run.sh", *CONFIGURED, **SLICE)
    assert done.returncode == code, done.stderr
    for worker in (0, 1):
        log = (cloud.checkout / f"runs/encore/tpu/logs/worker-{worker}.log").read_text()
        assert f"worker {worker}, in encore_jax" in log and f"exit code {codes[worker]}" in log
    ((_, arguments),) = cloud.runs()
    assert not [a for a in arguments if "checkpoints" in a], "there is no bucket"


def test_run_started_apart_and_waited_for_later(up):
    cloud = up({"codes": [("hang", "hang")]})
    assert cloud.run("run.sh", "--detach", *CONFIGURED, **SLICE).returncode == 0
    until(cloud.runs)
    status = cloud.run("status.sh", **SLICE)
    assert "queued resource: ACTIVE\nnode: READY\n" in status.stdout
    assert "encore-status 0 running\nencore-status 1 running\n" in status.stdout
    again = cloud.run("run.sh", "--detach", *CONFIGURED, **SLICE)
    assert again.returncode == 0 and "running already" in again.stdout
    other = cloud.run("run.sh", "--detach", *CONFIGURED, "--config.seed=1", **SLICE)
    assert other.returncode == 1 and "is going on" in other.stderr
    assert cloud.run("setup.sh", **SLICE).returncode == 1, "code is not changed under a run"
    waiting = cloud.start("run.sh", "--attach", **SLICE)
    cloud.take_away("SUSPENDED")
    waiting.communicate(timeout=30)
    assert waiting.returncode == 75 and len(cloud.runs()) == 1
    assert cloud.run("status.sh", **SLICE).stdout == "queued resource: SUSPENDED\n"


def test_logs_and_results_come_on_demand(up, tmp_path):
    cloud = up({"codes": [(0, 0)]})
    cloud.run("run.sh", *CONFIGURED, "--run=lr=1e-5,seed=0", **SLICE)
    done = cloud.run("logs.sh", "--run=lr=1e-5,seed=0", "--to=my logs", "--results=my results", **SLICE)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "my results" / "results.json").exists() and (tmp_path / "my logs" / "worker-1.log").exists()
    with tarfile.open(cloud.checkout / "runs/lr=1e-5,seed=0/tpu/results.tar.gz") as archive:
        assert archive.getnames() == ["./results.json"]
    assert cloud.run("logs.sh", "--run=never-started", **SLICE).returncode == 1
