"""Where a file is expected, pipes, folders, devices and links to themselves are refused at once, or are no file."""

import contextlib
import os
from pathlib import Path

import pytest

from encore_jax.cli.sweep_runs import _last_lines
from encore_jax.data.parquet_rows import file_metadata, record_batches
from encore_jax.errors import InputError
from encore_jax.recipes.manifest import run_stage
from encore_jax.recipes.stages.ablation import _complete
from encore_jax.recipes.stages.predicted_rules import SAID, read_predictions
from encore_jax.train.features import _load
from encore_jax.train.metrics import MetricsLog, read_metrics
from tests.fuzz.run_targets import _pool as pool
from tests.fuzz.stored_targets import _checkpoint
from tests.fuzz.stored_targets import _checkpoints as checkpoints
from tests.fuzz.stored_targets import _load_prepared as load_prepared
from tests.fuzz.stored_targets import _prepared as prepared
from tests.fuzz.stored_targets import _scored_parts as scored_parts

KINDS = {
    "pipe": os.mkfifo,
    "folder": Path.mkdir,
    "device": lambda path: path.symlink_to("/dev/zero"),
    "itself": lambda path: path.symlink_to(path.name),
}


def log_again(path: Path) -> None:
    with contextlib.closing(MetricsLog(path.parent)) as log:
        log(3, {"loss": 1.0})


REFUSED = {
    "metrics.jsonl": (read_metrics, log_again),
    "00000-0.f32": (lambda path: _load(path, (2, 3)),),
    "x.parquet": (
        file_metadata,
        lambda path: list(record_batches(path)),
        lambda path: scored_parts(path.parent).read(0),
    ),
    SAID: (lambda path: read_predictions(path.parent, pool()),),
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", REFUSED)
def test_no_regular_file_is_refused_at_once(tmp_path, name, kind):
    KINDS[kind](tmp_path / name)
    for load in REFUSED[name]:
        with pytest.raises(InputError, match="cannot be read|is missing|is a link to nothing"):
            load(tmp_path / name)


@pytest.mark.parametrize("kind", KINDS)
def test_what_a_command_kept_counts_as_missing_where_it_is_no_regular_file(tmp_path, kind):
    parts = scored_parts(tmp_path)
    parts.claim()
    paths = parts.folder / "000000.parquet", tmp_path / "checkpoints/best.json", tmp_path / "run.log"
    paths[1].parent.mkdir()
    for path in paths:
        KINDS[kind](path)
    assert not parts.has(0, 3) and not _complete(paths[0], 3)
    with checkpoints(tmp_path) as found:
        assert found.best_step is None
    (line,) = _last_lines(paths[2], 3)
    assert "cannot be read" in line


def test_metrics_leave_out_every_line_that_is_none(tmp_path):
    path = tmp_path / "metrics.jsonl"
    lines = [b'{"step": 0, "loss": 1.5}', b"[1]", b"null", b'{"loss": 1}', b'{"step": "1"}', b'{"step": 1, "x": {}}',
             b"\xff", b'{"step": 2, "loss": NaN}', b'{"step": 3, "lo']  # fmt: skip
    path.write_bytes(b"\n".join(lines))
    assert [line["step"] for line in read_metrics(path)] == [0, 2]
    log_again(path)
    assert [line["step"] for line in read_metrics(path)] == [0, 2, 3]
    path.write_bytes(b"x" * (2 << 20))
    with pytest.raises(InputError, match="longer than 1 MiB"):
        read_metrics(path)


WRONG = {
    "features.json": ("tensorflow_datasets.core.features.text_feature.Text", "antigravity.Text", "other features"),
    "dataset_info.json": ('"array_record"', '"tfrecord"', "fileFormat"),
    "metadata.json": ('"name": "kind"', '"name": "Not kind"', "rule 'Not kind'"),
}


def test_a_prepared_data_set_names_no_code_of_its_own(tmp_path):
    import sys

    prepared(tmp_path)
    assert len(load_prepared(tmp_path)) == 6
    for name, (old, new, problem) in WRONG.items():
        path = tmp_path / "rated_comparisons" / name
        content = path.read_text()
        assert old in content
        path.write_text(content.replace(old, new))
        with pytest.raises(InputError, match=problem) as caught:
            load_prepared(tmp_path)
        assert str(path) in str(caught.value)
        path.write_text(content)
    assert "antigravity" not in sys.modules


def test_predictions_are_checked_by_shape_and_kind(tmp_path):
    import numpy as np

    from tests.fuzz.stored_targets import _load_predictions, _predictions

    _predictions(tmp_path)
    _load_predictions(tmp_path)
    with np.load(tmp_path / "predictions.npz") as stored:
        arrays = dict(stored)
    for change in ({"trained": np.ones(2, bool)}, {"digests": np.arange(3)}, {"critical": np.ones((3, 2))}):
        np.savez(tmp_path / "predictions.npz", **(arrays | change))
        with pytest.raises(InputError, match=f"no array '{next(iter(change))}' of shape"):
            _load_predictions(tmp_path)


def test_a_checkpoint_whose_note_is_damaged_ends_in_one_line(tmp_path):
    _checkpoint(tmp_path)
    note = tmp_path / "checkpoints/3/_CHECKPOINT_METADATA"
    for content in ('{"performance_metrics": "x"}', '{"init_timestamp_nsecs": []}', "[1]", "[" * 100_000):
        note.write_text(content)
        with pytest.raises(InputError, match="_CHECKPOINT_METADATA is damaged"):
            checkpoints(tmp_path)


def test_a_checkpoint_with_a_pipe_or_device_in_it_is_refused_at_once(tmp_path):
    _checkpoint(tmp_path)
    files = [path for path in (tmp_path / "checkpoints/3").rglob("*") if path.is_file()]
    assert any(path.name == "_CHECKPOINT_METADATA" for path in files) and len(files) > 5
    for path in files:
        content = path.read_bytes()
        for kind in ("pipe", "device", "itself"):
            path.unlink()
            KINDS[kind](path)
            with pytest.raises(InputError, match="cannot be read"):
                checkpoints(tmp_path)
        path.unlink()
        path.write_bytes(content)
    with checkpoints(tmp_path) as found:
        assert found.steps == [3]


@pytest.mark.parametrize("name", ["manifest.json", "inputs.json"])
def test_a_folder_in_the_place_of_a_stages_note_is_left_alone(tmp_path, name):
    body = lambda at: (at / "out.txt").write_text("x")  # noqa: E731
    run_stage(tmp_path / "stage", {"a": 1}, body)
    path = tmp_path / "stage" / name
    path.unlink()
    (path / "mine").mkdir(parents=True)
    with pytest.raises(InputError, match="is a folder"):
        run_stage(tmp_path / "stage", {"a": 2}, body)
    assert (path / "mine").is_dir()
