"""Every tracker's own package keeps what metrics.jsonl keeps, over a restart too; XProf finds the steps of a trace.

`make test-trackers` installs them in an environment of its own; elsewhere these tests are skipped, with the package's
name.
"""

import json
import sqlite3
import struct

import jax
import jax.numpy as jnp
import pytest

from encore_jax.train.metrics import MetricsLog, read_metrics
from encore_jax.train.profile import Trace

pytestmark = pytest.mark.filterwarnings("ignore")  # the packages' own
LOSSES = {0: 0.75, 1: 0.5, 2: 0.25, 3: 0.125}


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """Where metrics go; no tracker knows of anybody."""
    for variable in ("WANDB_API_KEY", "WANDB_MODE", "MLFLOW_TRACKING_URI", "TRACKIO_DIR"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("TRACKIO_DIR", str(tmp_path / "train" / "trackio"))
    return tmp_path / "train"


def train(folder, name):
    for first, last in ((0, 3), (2, 4)):  # killed after step 2, resumed from what was saved before it
        log = MetricsLog(folder, (name,))
        for step in range(first, last):
            log(step, {"loss": LOSSES[step], "seconds": 1.0})
        log.close()
    assert [line["loss"] for line in read_metrics(folder / "metrics.jsonl")] == list(LOSSES.values())


def test_tensorboard(folder):
    pytest.importorskip("tensorboardX", reason="tensorboardX is not installed: make test-trackers")
    pytest.importorskip("tensorboard", reason="tensorboard is not installed: make test-trackers")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    train(folder, "tensorboard")
    events = EventAccumulator(str(folder / "tensorboard"))
    events.Reload()
    assert {event.step: event.value for event in events.Scalars("loss")} == LOSSES


def test_mlflow_keeps_one_run(folder):
    pytest.importorskip("mlflow", reason="mlflow is not installed: make test-trackers")
    train(folder, "mlflow")
    database = sqlite3.connect(folder / "mlflow.db")
    try:
        assert database.execute("select name, status from runs").fetchall() == [("train", "FINISHED")]
        assert dict(database.execute("select step, value from metrics where key = 'loss'")) == LOSSES
    finally:
        database.close()


def test_trackio_keeps_one_run(folder):
    pytest.importorskip("trackio", reason="trackio is not installed: make test-trackers")
    train(folder, "trackio")
    database = sqlite3.connect(folder / "trackio" / "encore_jax.db")
    try:
        rows = database.execute("select run_name, step, metrics from metrics").fetchall()
    finally:
        database.close()
    assert {name for name, _, _ in rows} == {"train"}
    assert {step: json.loads(metrics)["loss"] for _, step, metrics in rows} == LOSSES


def records(data):
    """The records of wandb's file: LevelDB's log format, blocks of 32 KiB after 7 bytes of its own."""
    at, parts = 7, b""
    while at + 7 <= len(data):
        if 2**15 - at % 2**15 < 7:  # what is left of a block holds no header
            at += 2**15 - at % 2**15
            continue
        length, kind = struct.unpack_from("<HB", data, at + 4)
        parts += data[at + 7 : at + 7 + length]
        at += 7 + length
        if kind in (1, 4):  # whole, or the last part
            yield parts
            parts = b""


def test_wandb_offline_gives_every_start_the_same_id(folder):
    pytest.importorskip("wandb", reason="wandb is not installed: make test-trackers")
    from wandb.proto import wandb_internal_pb2

    train(folder, "wandb")
    files = list((folder / "wandb").glob("offline-run-*/*.wandb"))
    assert len({file.name for file in files}) == 1, "wandb sync joins what has one id"
    found = {}
    for data in (data for file in files for data in records(file.read_bytes())):
        record = wandb_internal_pb2.Record()
        record.ParseFromString(data)
        items = {item.key or item.nested_key[0]: json.loads(item.value_json) for item in record.history.item}
        if "loss" in items:
            found[record.history.step.num] = items["loss"]
    assert found == LOSSES


def test_xprof_finds_the_steps_of_a_trace(tmp_path):
    pytest.importorskip("xprof", reason="xprof is not installed: make test-trackers")
    from xprof.convert import raw_to_tool_data

    trace, work = Trace(range(1, 3), tmp_path), jax.jit(lambda x: x @ x)
    for step in range(4):
        trace(step)
        with jax.profiler.StepTraceAnnotation("train", step_num=step):
            work(jnp.ones((64, 64))).block_until_ready()
    trace.close()
    files = [str(path) for path in tmp_path.glob("plugins/profile/*/*.xplane.pb")]
    assert len(files) == 1
    events, _ = raw_to_tool_data.xspace_to_tool_data(files, "trace_viewer", {})
    steps = [event for event in json.loads(events)["traceEvents"] if event.get("name", "").startswith("train")]
    assert {str(event["args"]["step_num"]) for event in steps} == {"1", "2"}
