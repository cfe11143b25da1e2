"""Whether the ArrayRecord files of a data set are all there and whole."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from encore_jax.errors import InputError

FIX = "delete the folder and prepare the data set again, or copy it again"


def check_shards(files: Iterable[tuple[str | Path, int]]) -> None:
    """Opens each file and compares how many records it has.

    Args:
      files: (path, records) of each.

    Raises:
      InputError: naming the file that is missing or damaged.
    """
    from array_record.python import array_record_module

    for path, expected in files:
        if not Path(path).is_file():
            raise InputError("this part of the data set is missing", where=str(path), fix=FIX)
        try:
            reader = array_record_module.ArrayRecordReader(str(path))
            found = reader.num_records()
            reader.close()  # raises where the file is not whole
        except RuntimeError as error:
            raise InputError(f"a truncated or damaged ArrayRecord file: {error}", where=str(path), fix=FIX) from None
        if found != expected:
            raise InputError(f"{found} records instead of {expected}", where=str(path), fix=FIX)
