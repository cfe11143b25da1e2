"""A work directory whose stages are of one run, and every way in which they are not."""

import hashlib
import json
import shutil

import pytest

from encore_jax.data.digest import changed, file_sha256, folder_sha256, recording
from encore_jax.data.manifest import BEGUN, MANIFEST, check_one_run
from encore_jax.errors import InputError


def write_stage(folder, made_from=(), **files):
    """A finished stage, made from others beside it; settings may bear the names of stages too."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        (folder / name).write_text(text)
    outputs = {name: hashlib.sha256(text.encode()).hexdigest() for name, text in files.items()}
    inputs = {"seed": 0, "train": {"lr": 0.1}} | {
        name: json.loads((folder.parent / name / MANIFEST).read_text())["outputs"] for name in made_from
    }
    (folder / BEGUN).write_text(json.dumps(inputs))
    (folder / MANIFEST).write_text(json.dumps({"inputs": inputs, "outputs": outputs, "seconds": 1.0, "versions": {}}))


@pytest.fixture
def run(tmp_path):
    write_stage(tmp_path / "ingest", pairs="pairs", pool="rules")
    write_stage(tmp_path / "train", ["ingest"], heads="heads")
    write_stage(tmp_path / "score", ["ingest", "train"], view="view")
    write_stage(tmp_path / "compose", ["train", "score"], heads="heads", passport="weights")
    return tmp_path


def test_one_run_is_one_run(run, tmp_path):
    for stage in run.iterdir():
        check_one_run(stage)
    (tmp_path / "exported").mkdir()
    check_one_run(tmp_path / "exported")  # no stage at all
    shutil.copytree(run / "compose", tmp_path / "elsewhere" / "compose")
    check_one_run(tmp_path / "elsewhere" / "compose")


def begun_again(stage):
    (stage / MANIFEST).unlink()


MIXED = {
    "own output changed": (lambda run: (run / "compose/heads").write_text("HEADS"), "compose/heads: is missing or was"),
    "own output missing": (lambda run: (run / "compose/heads").unlink(), "compose/heads: is missing or was changed"),
    "own output moved away": (lambda run: shutil.move(run / "compose/passport", run / "x"), "passport: is missing"),
    "unfinished": (lambda run: begun_again(run / "compose"), "compose/manifest.json: is missing"),
    "earlier one again": (lambda run: begun_again(run / "train"), "stage train, .* is being run again"),
    "first one again": (lambda run: begun_again(run / "ingest"), "stage ingest, .* is being run again"),
    "earlier one of another run": (
        lambda run: write_stage(run / "train", ["ingest"], heads="other heads"), "made from another run's stage train",
    ),
    "first one of another run": (
        lambda run: write_stage(run / "ingest", pairs="others", pool="rules"), "made from another run's stage ingest",
    ),
    "one more output": (lambda run: write_stage(run / "train", ["ingest"], heads="heads", more=""), "another run's"),
    "broken manifest": (lambda run: (run / "compose" / MANIFEST).write_text("{"), "manifest.json: is not valid JSON"),
    "another shape": (lambda run: (run / "train" / MANIFEST).write_text("[]"), "train/manifest.json"),
    "deep": (lambda run: (run / "train" / MANIFEST).write_text("[" * 10_000), "train/manifest.json"),
    "output elsewhere": (
        lambda run: (run / "compose" / MANIFEST).write_text('{"inputs": {}, "outputs": {"../train/heads": "0"}}'),
        "'../train/heads' is no file of this stage",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", MIXED)
def test_mixtures_are_refused_by_name(run, name):
    damage, words = MIXED[name]
    damage(run)
    with pytest.raises(InputError, match=words) as refused:
        check_one_run(run / "compose")
    assert "\n" not in str(refused.value) and refused.value.fix


def test_what_was_read_is_known_and_what_changed_since(tmp_path, monkeypatch):
    one, other = tmp_path / "one", tmp_path / "other"
    one.write_text("1"), other.write_text("2")
    with recording() as outer:
        file_sha256(one)
        with recording() as inner:
            file_sha256(other)
    assert set(outer) == {str(one), str(other)} and set(inner) == {str(other)}
    assert changed(outer) == []
    one.write_text("3")
    assert changed(outer) == [str(one)] and changed(inner) == []
    other.unlink()
    assert changed(inner) == [str(other)]


def test_a_folders_hash_is_of_names_and_contents(tmp_path):
    def digest(**files):
        folder = tmp_path / "folder"
        shutil.rmtree(folder, ignore_errors=True)
        for name, text in files.items():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_text(text)
        return folder_sha256(folder)

    assert digest(a="1", b="2") == digest(b="2", a="1")
    assert len({digest(a="1", b="2"), digest(a="2", b="1"), digest(a="1"), digest(a="12"), digest(c="1", b="2")}) == 5
    assert digest(**{"a": "1", ".lock": ""}) == digest(a="1")
