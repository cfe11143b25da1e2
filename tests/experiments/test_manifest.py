"""Stages know whether they are done: skipped, run again, or resumed, and never half-believed."""

import hashlib
import json
import shutil

import pytest

from encore_jax.errors import InputError
from encore_jax.recipes.manifest import MANIFEST, file_sha256, run_stage, versions, write_atomically


class Stage:
    """A stage that writes its two files, and can be made to die between them."""

    def __init__(self, folder):
        self.folder, self.calls, self.dies = folder, 0, False
        self.found = None

    def __call__(self, folder):
        self.calls += 1
        self.found = sorted(p.name for p in folder.iterdir())
        (folder / "first.txt").write_text("one")
        (folder / "cache").mkdir(exist_ok=True)
        (folder / "cache" / "batch.bin").write_text("kept")
        if self.dies:
            raise KeyboardInterrupt
        (folder / "second.txt").write_text("two")

    def run(self, inputs=None, **options):
        return run_stage(self.folder, {"setting": 1} if inputs is None else inputs, self, **options)


@pytest.fixture
def stage(tmp_path):
    return Stage(tmp_path / "stage")


def test_it_runs_once_and_says_what_it_made_of_what(stage):
    manifest, ran = stage.run()
    assert ran and manifest["inputs"]["setting"] == 1 and "encore_jax" in manifest["inputs"]
    digest = hashlib.sha256(b"one").hexdigest()
    assert manifest["outputs"] == {"first.txt": digest, "second.txt": hashlib.sha256(b"two").hexdigest()}
    assert manifest["versions"] == versions() and manifest["versions"]["jax"] and manifest["seconds"] >= 0
    assert json.loads((stage.folder / MANIFEST).read_text()) == manifest
    again, ran = stage.run()
    assert not ran and again == manifest and stage.calls == 1


def test_inputs_may_hold_tuples_and_come_in_any_order(stage):
    stage.run({"a": (1, 2), "b": {"c": 3}, "names": {"x": 0, "y": 0}.keys()})
    assert stage.run({"b": {"c": 3}, "names": ["x", "y"], "a": [1, 2]})[1] is False


@pytest.mark.parametrize("inputs", [{"setting": 2}, {"setting": 1, "more": 0}, {}], ids=str)
def test_changed_inputs_run_it_again_from_nothing(stage, inputs):
    stage.run()
    (stage.folder / "stray.txt").write_text("of the old inputs")
    manifest, ran = stage.run(inputs)
    assert ran and stage.found == ["inputs.json"]
    assert set(manifest["outputs"]) == {"first.txt", "second.txt"}


def test_another_version_of_the_package_runs_it_again(stage, monkeypatch):
    import encore_jax

    stage.run()
    monkeypatch.setattr(encore_jax, "__version__", "99.0")
    assert stage.run()[1] and stage.found == ["inputs.json"]


def test_asked_for_it_runs_again_from_nothing(stage):
    stage.run()
    assert stage.run(again=True)[1] and stage.found == ["inputs.json"]


@pytest.mark.parametrize("damage", ["changed", "missing", "emptied", "a folder"])
def test_a_damaged_output_runs_it_again(stage, damage):
    stage.run()
    victim = stage.folder / "second.txt"
    if damage in ("missing", "a folder"):
        victim.unlink()
        _ = damage == "a folder" and victim.mkdir()
    else:
        victim.write_text({"changed": "twO", "emptied": ""}[damage])
    manifest, ran = stage.run()
    assert ran and victim.read_text() == "two"
    assert manifest["outputs"]["second.txt"] == file_sha256(victim)
    assert stage.run()[1] is False


@pytest.mark.parametrize(
    "content",
    [
        b"", b"{", b"null", b"[1]", b"{}", b'{"outputs": {}}', b'"text"', b"\xff\xfe\x00garbage", b"[" * 100_000,
        b'{"inputs": 3, "outputs": {}}', b'{"inputs": {}, "outputs": ["first.txt"]}',
        b'{"inputs": {}, "outputs": {"a": 1}}',
        b'{"inputs": {}, "outputs": {"../x": "0"}}', b'{"inputs": {}, "outputs": {}, "seconds": "long"}',
        b'{"inputs": {}, "outputs": {}, "seconds": 1' + b"0" * 5000 + b"}",
        b'{"inputs": {}, "outputs": {}, "versions": []}',
    ],
    ids=lambda content: repr(content[:40]),
)  # fmt: skip
def test_a_damaged_manifest_runs_it_again(stage, content):
    stage.run()
    (stage.folder / MANIFEST).write_bytes(content)
    assert stage.run()[1] and stage.run()[1] is False


def test_a_body_that_keeps_what_it_finds_does_not_keep_what_was_damaged(tmp_path):
    """Parts that a killed run completed are kept; one that was damaged after the end is made again, the others not."""
    made = []

    def body(folder):
        for name in ("part-0", "part-1"):
            if not (folder / name).exists():
                made.append(name)
                (folder / name).write_text(f"content of {name}")

    for _ in range(2):
        manifest, _ = run_stage(tmp_path / "stage", {"seed": 1}, body)
    assert made == ["part-0", "part-1"]
    (tmp_path / "stage" / "part-1").write_text("damaged on the disk")
    again, ran = run_stage(tmp_path / "stage", {"seed": 1}, body)
    assert ran and made == ["part-0", "part-1", "part-1"] and again["outputs"] == manifest["outputs"]


def test_a_manifest_without_outputs_counts_for_nothing(stage):
    manifest, _ = stage.run()
    del manifest["outputs"]
    (stage.folder / MANIFEST).write_text(json.dumps(manifest))
    assert stage.run()[1]


def test_a_killed_stage_is_not_complete_and_resumes_from_its_leftovers(stage):
    stage.dies = True
    with pytest.raises(KeyboardInterrupt):
        stage.run()
    assert not (stage.folder / MANIFEST).exists()
    stage.dies = False
    assert stage.run()[1] and stage.found == ["cache", "first.txt", "inputs.json"]


def test_leftovers_of_other_inputs_are_wiped(stage):
    stage.dies = True
    with pytest.raises(KeyboardInterrupt):
        stage.run()
    stage.dies = False
    assert stage.run({"setting": 2})[1] and stage.found == ["inputs.json"]


def test_a_rerun_that_is_killed_is_not_taken_for_the_old_result(stage):
    stage.run()
    (stage.folder / "second.txt").write_text("tampered")
    stage.dies = True
    with pytest.raises(KeyboardInterrupt):
        stage.run()
    assert not (stage.folder / MANIFEST).exists()


def test_a_folder_that_nobody_began_is_left_alone(stage):
    stage.folder.mkdir(parents=True)
    (stage.folder / "second.txt").write_text("who knows whose")
    with pytest.raises(InputError, match="holds what no stage wrote: second.txt"):
        stage.run()
    assert (stage.folder / "second.txt").read_text() == "who knows whose" and not stage.calls
    stage.run(overwrite=True)
    assert stage.found == ["inputs.json"]


def test_a_file_in_the_place_of_the_folder_is_left_alone(stage):
    stage.folder.write_text("mine")
    with pytest.raises(InputError, match="a file is in the way"):
        stage.run()
    assert stage.folder.read_text() == "mine"


def test_a_link_to_a_folder_elsewhere_stays_a_link(stage, tmp_path):
    (tmp_path / "scratch").mkdir()
    stage.folder.symlink_to(tmp_path / "scratch")
    stage.run()
    stage.run({"setting": 2})
    assert stage.folder.is_symlink() and (tmp_path / "scratch" / MANIFEST).is_file() and stage.found == ["inputs.json"]


def test_hidden_temporaries_are_no_outputs(stage):
    stage.dies = True
    with pytest.raises(KeyboardInterrupt):
        stage.run()
    (stage.folder / ".second.txt.123.tmp").write_text("half")
    stage.dies = False
    manifest, _ = stage.run()
    assert set(manifest["outputs"]) == {"first.txt", "second.txt"}


def test_moving_the_work_directory_changes_nothing(stage, tmp_path):
    stage.run()
    shutil.move(stage.folder, tmp_path / "moved")
    stage.folder = tmp_path / "moved"
    assert stage.run()[1] is False


def test_files_are_written_whole_or_not_at_all(tmp_path, monkeypatch):
    path = tmp_path / "file"
    write_atomically(path, "old")
    monkeypatch.setattr("os.replace", lambda *_: (_ for _ in ()).throw(OSError("disk")))
    with pytest.raises(OSError, match="disk"):
        write_atomically(path, "new")
    assert path.read_text() == "old"
    monkeypatch.undo()
    write_atomically(path, b"\x00new")
    assert path.read_bytes() == b"\x00new"
