"""What a prepared data set says of itself, checked before TFDS reads it.

TFDS imports whatever class features.json names and reads whatever format dataset_info.json names, so both must be what
`prepare` writes.
"""

from __future__ import annotations

import functools
import json
from pathlib import Path
from typing import Literal, TypedDict

from encore_jax.data.rated_comparisons.shards import FIX
from encore_jax.errors import InputError
from encore_jax.json_shape import check_shape, read_json
from encore_jax.rules.rule import Rule, RulePool

METADATA, INFO, FEATURES = "metadata.json", "dataset_info.json", "features.json"


class _Rule(TypedDict):
    name: str
    text: str
    direction: int
    category: str


class _Pool(TypedDict):
    name: str
    rules: list[_Rule]


class _Rows(TypedDict):
    summary: str


class _Metadata(TypedDict):
    pool: _Pool | None
    comparisons: dict[str, int]
    rows: _Rows


class _Split(TypedDict):
    name: str
    shardLengths: list[str]


class _Info(TypedDict):
    name: str
    version: str
    fileFormat: Literal["array_record"]
    splits: list[_Split]


def read_metadata(folder: Path) -> dict:
    """What `prepare` wrote down about the data set in this folder.

    Raises:
      InputError: there is no data set, or it is damaged.
    """
    path = folder / METADATA
    if not path.is_file() or not (folder / INFO).is_file():
        raise InputError("no prepared data set", where=str(folder), fix="write it with prepare(config, data_dir)")
    metadata = read_json(path, dict[str, object], fix=FIX)
    check_shape(metadata, _Metadata, where=str(path), fix=FIX)
    return metadata


def stored_pool(metadata: dict, folder: Path) -> RulePool | None:
    """The rules of the data set's ratings; None where it has none.

    Raises:
      InputError: they are no rules.
    """
    pool, where = metadata["pool"], str(folder / METADATA)
    if pool is None:
        return None
    pool = check_shape(pool, _Pool, where=where, fix=FIX)
    try:
        return RulePool(tuple(Rule(**rule) for rule in pool["rules"]), pool["name"])
    except InputError as error:
        raise InputError(error.problem, where=f"{where}: {error.where}", fix=FIX) from None


def check_descriptions(folder: Path, rules: int) -> None:
    """Refuses a data set that `prepare` cannot have written, with so many rules.

    Raises:
      InputError: naming the file that is missing, damaged or of something else.
    """
    read_json(folder / INFO, _Info, fix=FIX)
    if read_json(folder / FEATURES, dict[str, object], fix=FIX) != _features(rules):
        problem = f"describes other features than those of comparisons with {rules} rules"
        raise InputError(problem, where=str(folder / FEATURES), fix=FIX)


@functools.lru_cache(maxsize=16)
def _features(rules: int) -> dict:
    """What TFDS writes for data sets of so many rules."""
    from google.protobuf import json_format

    from encore_jax.data.rated_comparisons.examples import features

    return json.loads(json.dumps(json_format.MessageToDict(features(rules).to_proto())))
