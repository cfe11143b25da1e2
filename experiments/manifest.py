"""Stages that know whether they are done: inputs hashed, outputs hashed, nothing half-written ever counted."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import time
from collections.abc import Callable, Mapping
from pathlib import Path

from absl import logging

import encore_jax

MANIFEST = "manifest.json"


def file_sha256(path: Path) -> str:
    """SHA-256 of a file's contents, read in pieces."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def write_atomically(path: Path, content: str | bytes) -> None:
    """Writes a file so that a reader, or a restart after a kill, sees the old or the new content, never a part."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    temporary.write_bytes(content.encode() if isinstance(content, str) else content)
    os.replace(temporary, path)


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
    everywhere: Callable[[bool], bool] = bool,
) -> tuple[dict, bool]:
    """Runs `body(folder)` unless the folder's manifest says that it ran to its end on the same inputs.

    Args:
      folder: the stage's folder. What a killed run left there stays, so that `body` can resume from it, unless the
        inputs have changed.
      inputs: JSON values that determine the outputs: settings, and hashes of the files read.
      body: writes its outputs into the folder.
      again: run even if complete, from nothing.
      everywhere: for a stage that several processes run: told whether it is complete here, whether it is so on all of
        them. They skip it only together, since it waits for all of them.

    Returns:
      The manifest, and whether the stage ran.
    """
    inputs = json.loads(json.dumps(dict(inputs) | {"encore_jax": encore_jax.__version__}, default=list))
    manifest = _read(folder / MANIFEST)
    complete = bool(manifest) and manifest.get("inputs") == inputs and not again and _intact(folder, manifest)
    if everywhere(complete):
        return manifest, False
    begun = folder / "inputs.json"
    if folder.exists() and (again or _read(begun) != inputs):
        shutil.rmtree(folder)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / MANIFEST).unlink(missing_ok=True)
    write_atomically(begun, json.dumps(inputs, indent=1))
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
    own = (MANIFEST, "inputs.json")
    return sorted(p for p in folder.iterdir() if p.is_file() and p.name not in own and not p.name.startswith("."))


def _read(path: Path) -> dict | None:
    try:
        content = json.loads(path.read_text())
    except (FileNotFoundError, ValueError):  # not JSON, or not even text
        return None
    return content if isinstance(content, dict) else None


def _intact(folder: Path, manifest: dict) -> bool:
    for name, digest in manifest.get("outputs", {MANIFEST: "incomplete"}).items():
        path = folder / name
        if not path.is_file() or file_sha256(path) != digest:
            logging.warning("%s is missing or was changed; its stage runs again", path)
            return False
    return True
