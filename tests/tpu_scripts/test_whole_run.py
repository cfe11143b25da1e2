"""From raw pairs to a benchmark table by one script, on a fake cloud: real workers, a judge server and a tiny model."""

import os
import re
import signal

import pytest

from tests.judge.faulty_server import Running
from tests.tpu_scripts.fake_cloud import until
from tests.tpu_scripts.whole_run import GRADIENT, Judge, WholeCloud

STEPS = ["data", "judge", "ratings", "train", "export", "score-bench", "table", "delete"]


def finish(process, seconds=900):
    stdout, stderr = process.communicate(timeout=seconds)
    assert process.returncode == 0, stderr[-3000:]
    return stdout, stderr


def outcome(cloud):
    """The benchmark table that came home; the slice must be gone."""
    assert cloud.state == "NONE", "a slice is left and costs money"
    home = cloud.checkout / "runs" / "encore"
    assert (home / "train" / "report.html").exists() and (home / "judge" / "report.html").exists()
    table = (home / "benchmarks.md").read_text()
    assert re.search(r"^\| score-bench \| rewardbench \| Safety \| \d+\.\d \|", table, re.MULTILINE), table
    return table


def finished(cloud):
    path = cloud.checkout / "runs" / "encore" / "pipeline" / "finished"
    return path.read_text().split() if path.exists() else []


@pytest.mark.slow
def test_raw_pairs_become_a_benchmarked_model_though_it_is_killed(tmp_path):
    cloud = WholeCloud(tmp_path)
    try:
        with Running(Judge()) as url:
            process = cloud.whole("encore_8b.sh", url)
            until(lambda: "judge" in finished(cloud), 300)
            os.kill(process.pid, signal.SIGKILL)
            process.communicate()
            _, stderr = finish(cloud.whole("encore_8b.sh", url))
        assert "estimate on v5e:2x4 (8 chips)" in stderr and "judge: finished before" in stderr
        assert finished(cloud) == STEPS
        outcome(cloud)
        model = cloud.folder / "bucket" / "b" / "encore" / "export"
        assert {"config.json", "model.safetensors", "passport.json"} <= {path.name for path in model.iterdir()}
        programs = (cloud.folder / "programs").read_text()
        assert programs.count("encore_jax.cli.main export") == 1
        _, stderr = finish(cloud.whole("encore_8b.sh", url))
        assert "delete: finished before" in stderr and (cloud.folder / "programs").read_text() == programs
        other = cloud.whole("encore_8b.sh", url, "--pool=safety_10")
        assert "begun with other settings" in other.communicate()[1] and other.returncode == 2
    finally:
        cloud.close()


@pytest.mark.slow
def test_a_backbone_that_is_trained_comes_out_of_its_checkpoints(tmp_path):
    cloud = WholeCloud(tmp_path, GRADIENT)
    try:
        with Running(Judge()) as url:
            finish(cloud.whole("encore_8b.sh", url, "--export-flags=--folded"))
        assert list((cloud.folder / "bucket" / "b" / "encore-train" / "checkpoints").rglob("*"))
        outcome(cloud)
    finally:
        cloud.close()
