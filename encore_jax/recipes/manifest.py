"""Stages that know whether they are done: inputs hashed, outputs hashed, nothing half-written ever counted."""

from __future__ import annotations

import dataclasses
import json
import shutil
import time
from collections.abc import Callable, Mapping
from pathlib import Path

from absl import logging

import encore_jax
from encore_jax.data.atomic import atomic_path, make_folder
from encore_jax.data.digest import file_sha256
from encore_jax.data.manifest import BEGUN, MANIFEST, Manifest, changed_outputs, is_stage, read_manifest
from encore_jax.errors import InputError
from encore_jax.json_shape import read_json

__all__ = ["BEGUN", "MANIFEST", "file_sha256", "run_stage", "versions", "write_atomically"]


def write_atomically(path: Path, content: str | bytes) -> None:
    """Writes a file so that a reader, or a restart after a kill, sees the old or the new content, never a part."""
    with atomic_path(path) as temporary:
        temporary.write_bytes(content.encode() if isinstance(content, str) else content)


def versions() -> dict[str, str]:
    """Versions of what a number may depend on."""
    import platform
    from importlib import metadata

    packages = ("jax", "jaxlib", "flax", "numpy", "transformers", "tokenizers", "gguf")
    return {"python": platform.python_version(), "encore_jax": encore_jax.__version__} | {
        name: metadata.version(name) for name in packages
    }


def run_stage(
    folder: Path,
    inputs: Mapping[str, object],
    body: Callable[[Path], None],
    *,
    again: bool = False,
    overwrite: bool = False,
    everywhere: Callable[[bool], bool] = bool,
) -> tuple[dict, bool]:
    """Runs `body(folder)` unless the folder's manifest says that it ran to its end on the same inputs.

    Args:
      folder: the stage's folder. What a killed run left there stays, so that `body` can resume from it, unless the
        inputs have changed.
      inputs: JSON values that determine the outputs: settings, and hashes of the files read.
      body: writes its outputs into the folder.
      again: run even if complete, from nothing.
      overwrite: empty the folder even if it holds what no stage wrote.
      everywhere: for a stage that several processes run: told whether it is complete here, whether it is so on all of
        them. They skip it only together, since it waits for all of them.

    Returns:
      The manifest, and whether the stage ran.

    Raises:
      InputError: the folder holds what no stage wrote, or a file is in its place.
    """
    inputs = json.loads(json.dumps(dict(inputs) | {"encore_jax": encore_jax.__version__}, default=list))
    manifest = _manifest(folder)
    complete = manifest is not None and manifest.inputs == inputs and not again and _intact(folder, manifest)
    if everywhere(complete):
        return dataclasses.asdict(manifest), False
    make_folder(folder, fix="move it away")
    for own in (folder / MANIFEST, folder / BEGUN):
        if own.is_dir() and not own.is_symlink():
            raise InputError("is a folder, and a file of the stage belongs here", where=str(own), fix="move it away")
    strange = sorted(path.name for path in folder.iterdir() if not path.name.startswith("."))  # those a kill may leave
    if strange and not (overwrite or is_stage(folder)):
        fix = "move it away, or give --overwrite to lose it"
        raise InputError(f"holds what no stage wrote: {', '.join(strange[:5])}", where=str(folder), fix=fix)
    if again or _begun(folder) != inputs:
        _empty(folder)
    elif manifest is not None:  # its body keeps what it finds, and what was damaged since is not to be kept
        for name in changed_outputs(folder, manifest.outputs):
            _remove(folder / name)
    for left in folder.glob(".*.tmp"):  # by a kill
        left.unlink()
    (folder / MANIFEST).unlink(missing_ok=True)
    write_atomically(folder / BEGUN, json.dumps(inputs, indent=1))
    started = time.monotonic()
    body(folder)
    manifest = {
        "inputs": inputs,
        "outputs": {path.name: file_sha256(path) for path in _outputs(folder)},
        "seconds": round(time.monotonic() - started, 2),
        "versions": versions(),
    }
    write_atomically(folder / MANIFEST, json.dumps(manifest, indent=1))
    return manifest, True


def _outputs(folder: Path) -> list[Path]:
    own = (MANIFEST, BEGUN)
    return sorted(p for p in folder.iterdir() if p.is_file() and p.name not in own and not p.name.startswith("."))


def _manifest(folder: Path) -> Manifest | None:
    """The stage's manifest; None if there is none that can be read: then the stage is not complete."""
    if not (folder / MANIFEST).exists():
        return None
    try:
        return read_manifest(folder)
    except InputError as error:
        logging.warning("%s; its stage runs again", error)
        return None


def _begun(folder: Path) -> dict | None:
    """What the stage was begun with; None if it does not say."""
    try:
        return read_json(folder / BEGUN, dict[str, object])
    except InputError:
        return None


def _intact(folder: Path, manifest: Manifest) -> bool:
    for name in changed_outputs(folder, manifest.outputs):
        logging.warning("%s is missing or was changed; its stage runs again", folder / name)
        return False
    return True


def _empty(folder: Path) -> None:
    """Removes what a stage wrote; a link to a folder elsewhere stays a link."""
    for path in folder.iterdir():
        _remove(path)


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
