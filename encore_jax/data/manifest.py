"""What a stage of a run says of itself, and whether the stages of a work directory belong to one run.

A stage is a folder with ``manifest.json``: what its outputs depend on (settings, hashes of files, and by the name of
every earlier stage the hashes of what that one wrote), and the hashes of its own outputs.
"""

from __future__ import annotations

import contextlib
import dataclasses
import re
from collections.abc import Iterator
from pathlib import Path

from encore_jax.data.digest import file_sha256
from encore_jax.data.lock import reader_lock
from encore_jax.errors import InputError
from encore_jax.json_shape import read_json

MANIFEST, BEGUN = "manifest.json", "inputs.json"
"""A stage that was begun holds BEGUN, one that is finished MANIFEST as well."""
MARK = ".encore_jax.json"
"""In a work directory, says which kind of run it is for."""
FIX = "run the command that made it again, to its end"
_SHA256 = re.compile("[0-9a-f]{64}")


@dataclasses.dataclass
class Manifest:
    """What a finished stage says of itself.

    Attributes:
      inputs: what its outputs depend on.
      outputs: hashes of its files, by name.
      seconds: how long it took.
      versions: of software.
    """

    inputs: dict[str, object]
    outputs: dict[str, str]
    seconds: float = 0.0
    versions: dict[str, str] = dataclasses.field(default_factory=dict)


def read_manifest(stage: Path) -> Manifest:
    """Reads a stage's manifest.

    Raises:
      InputError: it is missing, no JSON, of another shape, or names files outside of the folder.
    """
    manifest = read_json(stage / MANIFEST, Manifest, fix=FIX)
    for name in manifest.outputs:
        if name != Path(name).name or name in ("", ".", ".."):
            raise InputError(f"{name!r} is no file of this stage", where=str(stage / MANIFEST), fix=FIX)
    return manifest


def changed_outputs(stage: Path, outputs: dict[str, str]) -> list[str]:
    """Those of a stage's outputs that are missing or were changed."""
    wrong = []
    for name, digest in outputs.items():
        try:
            if file_sha256(stage / name) != digest:
                wrong.append(name)
        except InputError:
            wrong.append(name)
    return wrong


def kind_of_run(folder: Path) -> str:
    """The kind of run that a work directory is for, "" if it does not say."""
    try:
        return read_json(folder / MARK, dict[str, str]).get("kind", "")
    except InputError:
        return ""


def is_stage(folder: Path) -> bool:
    """Whether a folder is a stage, finished or not."""
    return (folder / MANIFEST).is_file() or (folder / BEGUN).is_file()


def check_one_run(stage: Path) -> None:
    """Refuses a stage's folder that is not finished, was changed, or was made from other stages than lie beside it.

    Folders that are no stage pass, and so does a stage that was copied away from the others.

    Raises:
      InputError: naming the stage that does not belong.
    """
    if not is_stage(stage):
        return
    for name in changed_outputs(stage, read_manifest(stage).outputs):
        raise InputError("is missing or was changed since its stage wrote it", where=str(stage / name), fix=FIX)
    _check_made_from(stage, set())


@contextlib.contextmanager
def reading_stage(folder: Path) -> Iterator[None]:
    """Around reading what a stage wrote: no run is at work in its work directory, and its stages are of one run.

    Does nothing for a folder that is no stage.

    Raises:
      InputError: a run is at work there, or as `check_one_run`.
    """
    if not is_stage(folder):
        yield
        return
    with reader_lock(folder.parent):
        check_one_run(folder)
        yield


def _check_made_from(stage: Path, checked: set[str]) -> None:
    """Whether the stages beside this one are those that it was made from, and so on to the first."""
    checked.add(stage.name)
    for name, recorded in read_manifest(stage).inputs.items():
        beside = stage.parent / name
        if name == stage.name or not _are_outputs(recorded) or not is_stage(beside):
            continue
        if not (beside / MANIFEST).is_file():
            problem = f"stage {name}, which it was made from, is being run again or was left unfinished"
            raise InputError(problem, where=str(stage), fix=FIX)
        if read_manifest(beside).outputs != recorded:
            raise InputError(f"was made from another run's stage {name}", where=str(stage), fix=FIX)
        if name not in checked:
            _check_made_from(beside, checked)


def _are_outputs(value: object) -> bool:
    """Whether this is what a manifest records of an earlier stage, and not a group of settings of the same name."""
    return bool(value) and isinstance(value, dict) and all(
        isinstance(digest, str) and _SHA256.fullmatch(digest) for digest in value.values()
    )  # fmt: skip
