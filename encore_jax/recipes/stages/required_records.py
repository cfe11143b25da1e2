"""What an input must hold at least; if it does not, which input, and why.

Several recipes read two: comparisons and ratings, each from a file of its own. What is lacking is named by the file
that it was to be in, and by nothing that is not read.
"""

from __future__ import annotations

from collections.abc import Sequence

from encore_jax.data import Comparison, RatedResponse, SkipCounter
from encore_jax.errors import InputError
from encore_jax.recipes.data_config import DataConfig

UNWRITTEN = "check that it was written to the end"


def source_of(config: DataConfig, *, ratings: bool) -> str:
    """What ratings, or else comparisons, are read from, as the configuration names it.

    >>> source_of(DataConfig(source="pyrit", ratings_path="unread.jsonl"), ratings=True)
    'pyrit'
    """
    own_file = ratings and config.source == "files" and config.ratings_path
    return own_file or ("" if config.source == "pyrit" else config.path) or config.source


def require_comparisons(comparisons: Sequence[Comparison], skips: SkipCounter, config: DataConfig) -> None:
    """Raises InputError where there is no comparison."""
    if not comparisons:
        where = source_of(config, ratings=False)
        raise _none("comparison", skips, where, "give pairs with a preference, or check config.data.format")


def require_ratings(rated: Sequence[RatedResponse], skips: SkipCounter, compared: int, config: DataConfig) -> None:
    """Raises InputError where there is no rated response, or none with a rating.

    Args:
      rated: what was read.
      skips: counts the rows that rated responses were read from.
      compared: so many comparisons were read; without a file of ratings, theirs are the ratings.
      config: says which files.
    """
    where = source_of(config, ratings=True)
    if config.source == "files" and config.ratings_path:
        fix = "rate responses, or name another file: --config.data.ratings_path=FILE"
        return require_rated(rated, skips, where, fix)
    fix = "give --config.data.ratings_path=FILE, or comparisons that carry ratings"
    if not rated and config.source != "pyrit":
        raise InputError(f"none of its {compared:,} comparisons carries ratings", where=where, fix=fix)
    return require_rated(rated, skips, where, fix)


def require_rated(rated: Sequence[RatedResponse], skips: SkipCounter, where: str, fix: str) -> None:
    """Raises InputError where a file holds no rated response, or none with a rating.

    Args:
      rated: what was read.
      skips: counts its rows.
      where, fix: which file, and what to do about it.
    """
    if not rated:
        raise _none("rated response", skips, where, fix)
    if not any(record.mask.any() for record in rated):
        raise InputError(f"none of its {len(rated):,} rated responses has a rating", where=where, fix=fix)


def _none(what: str, skips: SkipCounter, where: str, fix: str) -> InputError:
    if not skips.kept + skips.skipped:
        return InputError("has no rows", where=where, fix=f"{UNWRITTEN}; or {fix}")
    return InputError(f"there is no usable {what}: {skips}", where=where, fix=fix)
