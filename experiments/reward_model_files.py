"""What a reward model's scores depend on, as hashes of files."""

from __future__ import annotations

from encore_jax.data import locate
from encore_jax.interop.passport import PASSPORT, model_digest
from encore_jax.interop.reward_model import BACKBONE, HEADS
from experiments.manifest import file_sha256


def reward_model_hashes(uri: str, *, offline: bool) -> dict[str, str]:
    """Of a saved reward model its own files, whose passport has the backbone's hash; of a checkpoint all files.

    Args:
      uri: a folder, or an hf:// uri.
      offline: fetch nothing.
    """
    folder = locate(uri, offline=offline)
    if not (folder / PASSPORT).is_file():
        return {"checkpoint": model_digest(folder)} if folder.is_dir() else {}
    files = [folder / name for name in (HEADS, PASSPORT, BACKBONE)]
    return {path.name: file_sha256(path) for path in files if path.is_file()}
