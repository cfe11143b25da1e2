"""What a reward model's scores depend on, as hashes of files."""

from __future__ import annotations

from pathlib import Path

from encore_jax.data import locate
from encore_jax.data.digest import file_sha256
from encore_jax.data.sources import check_local
from encore_jax.recipes.outside import Outside
from encore_jax.reward.passport import PASSPORT
from encore_jax.reward.reward_checkpoint import base_of, checkpoint_digest, is_checkpoint
from encore_jax.reward.reward_model import BACKBONE, HEADS


class RewardModelFiles(Outside):
    """A saved reward model, or a checkpoint that holds one.

    Args:
      uri: a folder, or an hf:// uri.
      offline: fetch nothing.
      fetch: fetch the backbone or base model that its own files name, wherever it is.
    """

    reads = ("model",)

    def __init__(self, uri: str, *, offline: bool = False, fetch: bool = False):
        self.uri, self.offline, self.fetch = uri, offline, fetch

    @property
    def path(self) -> Path:
        """Where it lies, fetched if need be."""
        return locate(self.uri, offline=self.offline)

    def key(self) -> dict[str, str]:
        return reward_model_hashes(self.uri, offline=self.offline, fetch=self.fetch)

    def check_there(self) -> None:
        check_local(self.uri)


class RuleWeights(Outside):
    """How a model's heads compose, as `encore_jax.reward.weighting.named_weights` takes it.

    Args:
      weights: words, or a JSON file; "" keeps the model's own.
    """

    def __init__(self, weights: str):
        self.weights = weights

    def key(self) -> str:
        is_file = self.weights.endswith(".json") and Path(self.weights).is_file()
        return file_sha256(self.weights) if is_file else self.weights


def reward_model_hashes(uri: str, *, offline: bool, fetch: bool = False) -> dict[str, str]:
    """Of a saved reward model its own files, whose passport has the backbone's hash; of a checkpoint all files.

    Args:
      uri: a folder, or an hf:// uri.
      offline: fetch nothing.
      fetch: fetch an adapter's base model, wherever it is.
    """
    folder = locate(uri, offline=offline)
    if not (folder / PASSPORT).is_file():
        known = folder.is_dir() and is_checkpoint(folder)
        return {"checkpoint": checkpoint_digest(folder, base_of(folder, offline=offline, fetch=fetch))} if known else {}
    files = [folder / name for name in (HEADS, PASSPORT, BACKBONE)]
    return {path.name: file_sha256(path) for path in files if path.is_file()}
