"""A benchmark's comparisons: where they come from, and how they are read."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any, NamedTuple

from absl import logging

from encore_jax.data import Comparison, SkipCounter, iter_comparisons, locate, read_comparisons, write_comparisons
from encore_jax.data.digest import file_sha256, folder_sha256
from encore_jax.data.rated_comparisons import RatedComparisons
from encore_jax.data.rated_comparisons.descriptions import read_metadata
from encore_jax.data.readers import recognise
from encore_jax.data.sources import check_local, check_local_file, is_local
from encore_jax.json_shape import read_json
from encore_jax.recipes.outside import Outside

PREPARED = "prepared"
"""Format of a folder that `encore_jax.data.rated_comparisons` prepared."""


class BenchmarkData(Outside):
    """A benchmark's file, or the folder of a data set that `encore_jax.data.rated_comparisons` prepared.

    Args:
      uri: where it lies.
      revision: of a data set on the hub.
      offline: fetch nothing.
    """

    reads = ("data",)

    def __init__(self, uri: str, revision: str = "", offline: bool = False):
        self.uri, self.revision, self.offline = uri, revision, offline

    @property
    def path(self) -> Path:
        """The file or folder, fetched if need be."""
        revision = {"revision": self.revision} if self.revision else {}
        return locate(self.uri, offline=self.offline, **revision)

    @property
    def sha256(self) -> str:
        """Of a prepared data set over all its files.

        Raises:
          InputError: a folder is no data set; says what is wrong with it.
        """
        path = self.path
        if path.is_dir():
            read_metadata(path)
            return folder_sha256(path)
        return file_sha256(path)

    def check_there(self) -> None:
        check_local(self.uri)
        if is_local(self.uri) and not Path(self.uri).expanduser().is_dir():  # a prepared data set is a folder
            check_local_file(self.uri)

    @property
    def is_local(self) -> bool:
        """Whether reading it fetches nothing."""
        return is_local(self.uri)

    def key(self) -> dict[str, str]:
        pool = self.path.with_name("pool.yaml")  # the directions of the file's ratings
        rules = {"pool": file_sha256(pool)} if self.path.is_file() and pool.is_file() else {}
        return {"revision": self.revision, "sha256": self.sha256} | rules


class BenchmarkItems(NamedTuple):
    """A benchmark's comparisons.

    Attributes:
      comparisons: validated, without ratings.
      counts: rows read and left out, by reason; the format; hash and revision of the data.
    """

    comparisons: list[Comparison]
    counts: dict[str, Any]

    def save(self, folder: Path) -> None:
        """Writes comparisons.jsonl and counts.json."""
        write_comparisons(folder / "comparisons.jsonl", self.comparisons)
        (folder / "counts.json").write_text(json.dumps(self.counts, indent=1))

    @classmethod
    def load(cls, folder: Path) -> BenchmarkItems:
        """What `save` wrote."""
        comparisons = list(iter_comparisons(folder / "comparisons.jsonl"))
        return cls(comparisons, read_json(folder / "counts.json", dict[str, object]))


def read_benchmark(data: BenchmarkData, format: str = "auto", limit: int = 0) -> BenchmarkItems:
    """Reads the comparisons.

    Args:
      data: where they come from.
      format: one of `encore_jax.data.FORMATS`; "auto" recognises it.
      limit: only the first so many; 0 means all.

    Raises:
      InputError: a row is wrong, by file and line, or the file is of no known format.
    """
    path, skips = data.path, SkipCounter()
    if path.is_dir():
        comparisons = [
            dataclasses.replace(one, rules=(), ratings=None, mask=None)
            for split in read_metadata(path)["comparisons"]
            for one in RatedComparisons(path, split)
        ]
        format, skips.kept = PREPARED if format == "auto" else format, len(comparisons)
    else:
        format = recognise(path) if format == "auto" else format
        options = {"ratings": False} if format == "encore" else {}
        comparisons = list(read_comparisons(path, format, skips=skips, **options))
    if limit:
        left_out = f"left out by limit={limit}, which takes the first (0 takes all)"
        skips.leave_out(left_out, max(0, len(comparisons) - limit), path.name)
        comparisons = comparisons[:limit]
    logging.info("%s: %s", path.name, skips)
    counts = {
        "format": format,
        "sha256": data.sha256,
        "revision": data.revision,
        "rows": str(skips),
        "skipped": skips.reasons,
        "fields_not_read": skips.unread,
        "comparisons": len(comparisons),
    }
    return BenchmarkItems(comparisons, counts)
