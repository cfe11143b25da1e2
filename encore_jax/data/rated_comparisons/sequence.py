"""A prepared data set as a sequence of comparisons."""

from __future__ import annotations

import bisect
import itertools
import json
import operator
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, overload

from encore_jax.data.comparison import Comparison
from encore_jax.data.rated_comparisons.examples import from_example
from encore_jax.data.rated_comparisons.shards import FIX, check_shards
from encore_jax.errors import InputError
from encore_jax.rules.rule import Rule, RulePool

if TYPE_CHECKING:
    import tensorflow_datasets as tfds


class RatedComparisons(Sequence[Comparison]):
    """The comparisons of one split, read from disk one by one; a source for ``grain.MapDataset``.

    It may be pickled (only the folder and the split's name are) and read from several threads.

    Args:
      builder: what `prepare` returned, or the folder of a prepared data set.
      split: "train", "validation", "test", or a part in TFDS's words, e.g. "train[:10%]".
      pool: if given, the data set must have been written with an equal pool.

    Attributes:
      folder: of the data set.
      split: as given.
      pool: the rules of the ratings; None where the data set has none.
      metadata: what was written down about source, pool, split and skipped rows.

    Raises:
      InputError: no such data set or split, another pool, a missing or truncated file; later, a damaged record.
    """

    def __init__(
        self, builder: tfds.core.DatasetBuilder | str | Path, split: str, *, pool: RulePool | None = None
    ) -> None:
        self.folder = Path(getattr(builder, "data_dir", builder)).expanduser().absolute()
        self.split = split
        self.metadata = read_metadata(self.folder)
        self.pool = _pool(self.metadata)
        self._rules = self.pool.names if self.pool else ()
        if pool is not None and (self.pool is None or self.pool.digest != pool.digest):
            rules = ", ".join(self._rules) if self.pool else "no rules"
            raise InputError(
                f"written with another rule pool: {rules}",
                where=str(self.folder),
                fix="prepare the data set with this pool, or read it without pool=",
            )
        opened = _opened(self.folder)
        try:
            self._source = opened.as_data_source(split)
            files = opened.info.splits[split].file_instructions
        except ValueError as error:
            known = ", ".join(opened.info.splits)
            raise InputError(
                f"no split {split!r}: {' '.join(str(error).split())}", where=str(self.folder), fix=f"use {known}"
            ) from None
        check_shards((file.filename, file.examples_in_shard) for file in files)
        self._files = [file.filename for file in files]
        self._ends = list(itertools.accumulate(file.take for file in files))

    def __len__(self) -> int:
        return len(self._source)

    @overload
    def __getitem__(self, index: int) -> Comparison: ...

    @overload
    def __getitem__(self, index: slice) -> list[Comparison]: ...

    def __getitem__(self, index):
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(len(self)))]
        i = operator.index(index)
        i += len(self) if i < 0 else 0
        if not 0 <= i < len(self):
            raise IndexError(f"comparison {index} of {len(self)}")
        try:
            example = self._source[i]
        except RuntimeError as error:  # array_record's
            file = self._files[bisect.bisect_right(self._ends, i)]
            raise InputError(f"a damaged record: {error}", where=str(file), fix=FIX) from None
        return from_example(example, self._rules)

    def __repr__(self) -> str:
        return f"RatedComparisons({self.folder.parent.name!r}, {self.split!r})"

    def __reduce__(self):
        return RatedComparisons, (str(self.folder), self.split)


def read_metadata(folder: Path) -> dict:
    """What `prepare` wrote down about the data set in this folder."""
    path = folder / "metadata.json"
    if not path.is_file() or not (folder / "dataset_info.json").is_file():
        raise InputError("no prepared data set", where=str(folder), fix="write it with prepare(config, data_dir)")
    try:
        metadata = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise InputError(f"broken JSON: {error}", where=str(path), fix=FIX) from None
    if not isinstance(metadata, dict) or not {"pool", "comparisons"} <= metadata.keys():
        raise InputError("not written by `prepare`", where=str(path), fix="name a data set of rated comparisons")
    return metadata


def _opened(folder: Path) -> tfds.core.DatasetBuilder:
    import tensorflow_datasets as tfds
    from google.protobuf import json_format

    try:
        return tfds.builder_from_directory(folder)
    except (ValueError, json_format.Error) as error:
        problem = f"TFDS cannot read dataset_info.json or features.json: {error}"
        raise InputError(problem, where=str(folder), fix=FIX) from None


def _pool(metadata: dict) -> RulePool | None:
    pool = metadata["pool"]
    return RulePool(tuple(Rule(**rule) for rule in pool["rules"]), pool["name"]) if pool else None
