"""From a `DatasetConfig` to the comparisons of its file, and to what is written down about them."""

from __future__ import annotations

import dataclasses
import hashlib
import itertools
import json
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np

from encore_jax.data.comparison import Comparison, RatedResponse, prompt_key
from encore_jax.data.rated_comparisons.config import READER_OPTIONS, DatasetConfig
from encore_jax.data.readers import FORMATS, read_comparisons, recognise
from encore_jax.data.readers.attributes import read_attribute_columns, read_ultrafeedback
from encore_jax.data.scales import UNIT, scaled
from encore_jax.data.skips import SkipCounter
from encore_jax.data.sources import locate
from encore_jax.data.split import hash_unit
from encore_jax.data.wheels import file_sha256
from encore_jax.errors import InputError

OPTION = "--scale=LOWEST,HIGHEST"
"""How the command is told the scale of a file's ratings."""
SPLITS = ("train", "validation", "test")


@dataclasses.dataclass(frozen=True)
class Source:
    """A config whose file is at hand.

    Attributes:
      config: with its format recognised.
      file: where the file is here.
      sha256: of the file.
    """

    config: DatasetConfig
    file: Path
    sha256: str

    @property
    def digest(self) -> str:
        """SHA-256 over everything that decides what the data set holds; where the file lies does not."""
        settings = dataclasses.asdict(self.config)
        for field in ("name", "path"):
            del settings[field]
        settings |= {
            "pool": self.config.pool.digest if self.config.pool else None,
            "file": self.file.name,  # rows without an id are named by it
            "sha256": self.sha256,
        }
        return hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()

    @property
    def name(self) -> str:
        """The config's name in TFDS, and so the name of the folder: equal for equal settings only."""
        return f"{self.config.name}-{self.digest[:16]}"

    def comparisons(self, skips: SkipCounter) -> Iterator[Comparison]:
        """Streams the file's comparisons; what is skipped is counted in ``skips``."""
        options = self.config.reader_options()
        if self.config.format in FORMATS:
            if "pool" in options and "scale" in READER_OPTIONS[self.config.format]:
                options.setdefault(
                    "scale", UNIT
                )  # never inferred: the scale that is kept beside the data is the given one
            return scaled(read_comparisons(self.file, self.config.format, skips=skips, **options), self.file, OPTION)
        if self.config.format == "ultrafeedback":
            rated = read_ultrafeedback(self.file, skips=skips, **options)
            return grouped(rated, skips, within_row=True)
        rated = read_attribute_columns(self.file, skips=skips, **options)
        return grouped(scaled(rated, self.file, OPTION, self.config.pool.names), skips)

    def split_of(self, comparison: Comparison) -> str:
        """One of `SPLITS`, by the prompt and the seed alone."""
        place = hash_unit(prompt_key(comparison.prompt), self.config.seed)
        if place < self.config.test_fraction:
            return "test"
        return "validation" if place < self.config.test_fraction + self.config.validation_fraction else "train"

    def metadata(self) -> dict[str, object]:
        """What is kept beside the data, as JSON values."""
        config, pool = self.config, self.config.pool
        rules = [dataclasses.asdict(rule) for rule in pool] if pool else []
        return {
            "source": {
                "path": config.path,
                "revision": config.revision,
                "file": self.file.name,
                "sha256": self.sha256,
                "format": config.format,
                "scale": config.scale,
                "preference": config.preference,
            },
            "pool": {"name": pool.name, "digest": pool.digest, "rules": rules} if pool else None,
            "split": {
                "seed": config.seed,
                "test_fraction": config.test_fraction,
                "validation_fraction": config.validation_fraction,
            },
        }


def find_source(config: DatasetConfig, *, offline: bool = False) -> Source:
    """Fetches the config's file if need be, and recognises its format.

    Raises:
      InputError: no path, no such file, or options that the format does not take.
    """
    if not config.path:
        raise InputError("no path", where=f"data set {config.name!r}", fix="say where the file is: path=...")
    file = locate(config.path, offline=offline, revision=config.revision or None)
    if file.is_dir():
        names = sorted(path.relative_to(file).as_posix() for path in file.rglob("*.*") if path.is_file())
        raise InputError(
            "this is a folder, and a data set is made from one file",
            where=config.path,
            fix=f"add one of {', '.join(names[:8])}" if names else "name a file",
        )
    if config.format == "auto":
        config = dataclasses.replace(config, format=recognise(file))
    config.reader_options()
    return Source(config, file, file_sha256(file))


def grouped(rated: Iterable[RatedResponse], skips: SkipCounter, *, within_row: bool = False) -> Iterator[Comparison]:
    """Comparisons of successive rated responses to one prompt; nobody chose, so ``preferred`` is None.

    Args:
      rated: rated responses of one pool; those of one comparison follow each other.
      skips: has counted them as kept; those without another, different response become skipped.
      within_row: group only responses from one row, whose ids are "row#0", "row#1" and so on.

    The ids are joined by " | "; ``extra`` holds a list by response of each entry.
    """

    def group_of(record: RatedResponse) -> tuple[str, str]:
        return prompt_key(record.prompt), record.id.rpartition("#")[0] if within_row else ""

    for _, group in itertools.groupby(rated, group_of):
        records = list(group)
        if len({record.response for record in records}) < 2:
            skips.kept -= len(records)
            for record in records:
                skips.skip("without another response to the prompt", record.id)
            continue
        first = records[0]
        yield Comparison(
            first.prompt,
            tuple(record.response for record in records),
            None,
            first.rules,
            np.stack([record.ratings for record in records]),
            np.stack([record.mask for record in records]),
            subset=first.subset,
            source=first.source,
            id=" | ".join(record.id for record in records),
            extra={name: [record.extra.get(name) for record in records] for name in first.extra},
        )
