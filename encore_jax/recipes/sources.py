"""What a configured source is made of: its files, its rules and their hashes; nothing of it is read here."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import TYPE_CHECKING

from encore_jax.data import PYRIT_WHEEL, cache_folder, locate, wheel
from encore_jax.data.digest import file_sha256, folder_sha256
from encore_jax.data.rule_names import RuleNames
from encore_jax.errors import InputError
from encore_jax.recipes.data_config import AUTO, DataConfig
from encore_jax.rules import RulePool

if TYPE_CHECKING:
    from encore_jax.data.named_rules import NamedRules
    from encore_jax.data.rated_comparisons import RatedComparisons


def rule_pool(config: DataConfig) -> RulePool:
    """The configured pool: a prepared data set's own, else a YAML file if the name ends so, else a shipped one.

    "auto" is the rules that the file with the ratings names.

    Raises:
      InputError: what is wrong with the pool; or nothing names rules.
    """
    if config.source == "tfds" and (own := prepared_splits(config)[0].pool):
        return own
    if config.pool == AUTO and config.source == "files":
        path, digest = _names_rules(config)
        return _named_rules(path, config.rules, file_sha256(path), digest).pool
    if config.pool == AUTO:
        problem = "is for files: nothing else names the rules"
        raise InputError(
            problem, where="config.data.pool", fix="give a YAML file of the rules, or a shipped pool's name"
        )
    if not config.pool.endswith((".yaml", ".yml")):
        return RulePool.shipped(config.pool)
    pool = RulePool.from_yaml(config.pool)
    file_sha256(config.pool)  # for the record of files that were read
    return pool


def columns_told(config: DataConfig) -> tuple[str, ...]:
    """What to know of which columns of the table with the ratings are rules, in sentences; () where a pool names them.

    Raises:
      InputError: as `rule_pool`.
    """
    if config.pool != AUTO or config.source != "files":
        return ()
    path, digest = _names_rules(config)
    return _named_rules(path, config.rules, file_sha256(path), digest).columns


def _names_rules(config: DataConfig) -> tuple[Path, str]:
    """The file that names the rules, and the digest of the pool beside it."""
    files = source_files(config)
    path = files.get("ratings", files["comparisons"])
    beside = path.with_name("pool.yaml")
    return path, file_sha256(beside) if beside.is_file() else ""


@functools.lru_cache(maxsize=4)
def _named_rules(path: Path, names: tuple[str, ...], *digests: str) -> NamedRules:
    """The same of the same files is read once, and said once."""
    from encore_jax.data.named_rules import named_rules

    return named_rules(path, "--config.data.pool=RULES", RuleNames(tuple(names), "--config.data.rules="))


def source_files(config: DataConfig, rated: bool = True) -> dict[str, Path]:
    """The files the data come from, fetched if need be, by role; without `rated`, comparisons only."""
    if config.source == "pyrit":
        return {"wheel": wheel(*PYRIT_WHEEL, cache=cache_folder(), offline=config.offline)}
    if config.source == "tfds":
        return {"data set": Path(config.path).expanduser()}
    uris = {"comparisons": config.path} | ({"ratings": config.ratings_path} if rated and config.ratings_path else {})
    return {role: locate(uri, offline=config.offline) for role, uri in uris.items()}


def source_hashes(config: DataConfig, rated: bool = True) -> dict[str, str]:
    """SHA-256 of every source file, of a prepared data set over all files, and of the rules: the data's revision."""
    pool = rule_pool(config).digest  # first: says what is wrong with a prepared data set
    files = source_files(config, rated).items()
    return {role: (folder_sha256 if path.is_dir() else file_sha256)(path) for role, path in files} | {"pool": pool}


def prepared_splits(config: DataConfig) -> list[RatedComparisons]:
    """Every split of a prepared data set."""
    from encore_jax.data.rated_comparisons import RatedComparisons
    from encore_jax.data.rated_comparisons.descriptions import read_metadata

    splits = read_metadata(Path(config.path).expanduser())["comparisons"]
    return [RatedComparisons(config.path, split) for split in splits]
