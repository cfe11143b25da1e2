"""Writes a data set once, whole or not at all."""

from __future__ import annotations

import logging
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

from encore_jax.data.lock import folder_lock
from encore_jax.data.rated_comparisons.config import DatasetConfig
from encore_jax.data.rated_comparisons.descriptions import read_metadata
from encore_jax.data.rated_comparisons.sequence import RatedComparisons
from encore_jax.data.rated_comparisons.source import find_source
from encore_jax.data.wheels import file_sha256
from encore_jax.errors import InputError

if TYPE_CHECKING:
    from encore_jax.data.rated_comparisons.builder import Builder


def prepare(config: DatasetConfig, data_dir: str | Path, *, offline: bool = False) -> Builder:
    """The builder of the config's data set, written first unless it is already there and whole.

    It lies in ``data_dir/rated_comparisons/NAME-DIGEST/VERSION``, where the digest is of the file and the settings: the
    same ones are found again, others get a folder of their own. What a killed run left behind is removed. Processes
    that share ``data_dir`` wait for each other.

    Args:
      config: what to read and how to split it, e.g. ``dataclasses.replace(CONFIGS["hh_rlhf"], path=...)``.
      data_dir: a local folder.
      offline: use only files that are already here.

    Returns:
      the builder; ``builder.data_dir`` is the folder, and its ``metadata.json`` tells the source's SHA-256, the pool,
      the split and the rows skipped.

    Raises:
      InputError: naming file, line and field; no half of a data set is left then.
    """
    source = find_source(config, offline=offline)

    import tensorflow_datasets as tfds

    from encore_jax.data.rated_comparisons.builder import Builder, BuilderConfig

    root = Path(data_dir).expanduser().absolute()
    builder_config = BuilderConfig(name=source.name, source=source)
    folder = root / Builder.name / source.name
    with folder_lock(folder, fix="name another data_dir", wait=True):
        for left in folder.glob(f"{tfds.core.constants.INCOMPLETE_PREFIX}*"):
            shutil.rmtree(left)
        target = folder / str(Builder.VERSION)
        if target.exists() and not _is_whole(target):
            if not _was_prepared(target):
                fix = "move it away, or name another data_dir"
                raise InputError("holds what is no prepared data set", where=str(target), fix=fix)
            shutil.rmtree(target)
        builder = Builder(data_dir=root, config=builder_config)
        if not target.exists():
            settings = tfds.download.DownloadConfig(try_download_gcs=False)
            try:
                builder.download_and_prepare(download_dir=folder / "downloads", download_config=settings)
            finally:
                shutil.rmtree(folder / "downloads", ignore_errors=True)  # empty
            if file_sha256(source.file) != source.sha256:
                shutil.rmtree(target)
                raise InputError("changed while it was read", where=str(source.file), fix="run the same command again")
            rows = builder.info.metadata["rows"]
            level = logging.WARNING if rows["skipped"] or rows["unread"] else logging.INFO
            logging.getLogger(__name__).log(level, "%s: %s", config.path, rows["summary"])
    return builder


def _was_prepared(folder: Path) -> bool:
    """Whether a damaged folder is one of these: it holds one of their files."""
    names = ("dataset_info.json", "features.json", "metadata.json", "*.array_record*")
    return folder.is_dir() and (not any(folder.iterdir()) or any(any(folder.glob(name)) for name in names))


def _is_whole(folder: Path) -> bool:
    try:
        for split in read_metadata(folder)["comparisons"]:
            RatedComparisons(folder, split)
    except InputError as error:
        logging.getLogger(__name__).warning("written again, because of %s: %s", error.where, error.problem)
        return False
    return True
