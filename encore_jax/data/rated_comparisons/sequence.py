"""A prepared data set as a sequence of comparisons."""

from __future__ import annotations

import bisect
import itertools
import operator
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, overload

from encore_jax.data.comparison import Comparison
from encore_jax.data.rated_comparisons.descriptions import check_descriptions, read_metadata, stored_pool
from encore_jax.data.rated_comparisons.examples import from_example
from encore_jax.data.rated_comparisons.shards import FIX, check_shards
from encore_jax.errors import InputError
from encore_jax.rules.rule import RulePool

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
        self.pool = stored_pool(self.metadata, self.folder)
        self._rules = self.pool.names if self.pool else ()
        if pool is not None and (self.pool is None or self.pool.digest != pool.digest):
            rules = ", ".join(self._rules) if self.pool else "no rules"
            raise InputError(
                f"written with another rule pool: {rules}",
                where=str(self.folder),
                fix="prepare the data set with this pool, or read it without pool=",
            )
        opened = _opened(self.folder, len(self._rules))
        try:
            self._source = opened.as_data_source(split)
            files = opened.info.splits[split].file_instructions
        except ValueError as error:
            known = ", ".join(opened.info.splits)
            raise InputError(
                f"no split {split!r}: {' '.join(str(error).split())}", where=str(self.folder), fix=f"use {known}"
            ) from None
        except Exception as error:  # TFDS raises whatever it likes
            raise _unreadable(error, self.folder) from None
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
            return from_example(self._source[i], self._rules)
        except Exception as error:  # of array_record, of protobuf, of what no comparison can be
            file = self._files[bisect.bisect_right(self._ends, i)]
            said = " ".join(str(error).split())[:300] or type(error).__name__
            raise InputError(f"a damaged record: {said}", where=str(file), fix=FIX) from None

    def __repr__(self) -> str:
        return f"RatedComparisons({self.folder.parent.name!r}, {self.split!r})"

    def __reduce__(self):
        return RatedComparisons, (str(self.folder), self.split)


def _opened(folder: Path, rules: int) -> tfds.core.DatasetBuilder:
    import tensorflow_datasets as tfds

    check_descriptions(folder, rules)
    try:
        return tfds.builder_from_directory(folder)
    except Exception as error:  # TFDS raises whatever it likes
        raise _unreadable(error, folder) from None


def _unreadable(error: Exception, folder: Path) -> InputError:
    said = " ".join(str(error).split())[:300] or type(error).__name__
    return InputError(f"TFDS cannot read dataset_info.json: {said}", where=str(folder), fix=FIX)
