"""From a configured source to comparisons and rated responses, every row that is left out counted."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from encore_jax.data import (
    Comparison,
    RatedResponse,
    SkipCounter,
    iter_rated,
    read_attribute_columns,
    read_comparisons,
    read_openai_rbr,
    read_pyrit,
    severity_comparisons,
)
from encore_jax.data.orientation import Scale
from encore_jax.data.rating_columns import columns_of
from encore_jax.data.readers import format_of
from encore_jax.data.rows import named, read_rows
from encore_jax.data.rule_names import rule_of
from encore_jax.data.scales import UNIT, on_inferred_scales, on_unit_scale, prepared_scale, scaled
from encore_jax.data.text_tables import is_text_table
from encore_jax.errors import InputError
from encore_jax.recipes.data_config import ANY, LABELLED_PAIRS, PAIRS, DataConfig
from encore_jax.recipes.sources import prepared_splits, source_files
from encore_jax.recipes.stages.rating_tables import rated_responses, responses_of, table_comparisons
from encore_jax.rules import RulePool

TABLE = "table"
"""A format of ratings that only "auto" recognises: what people write, in any kind of file."""
OPTION = "--config.data.scale=LOWEST,HIGHEST"
"""How a run is told the scale of its files' ratings."""


NO_PREFERENCE = "with no preference"
NO_PAIR = "of more than two responses, which only benchmarks score"
"""Why a comparison is left out where its ratings are no use either."""


class Records(NamedTuple):
    """What a source holds.

    Attributes:
      rated: rated responses; none if they are not needed.
      comparisons: pairs of which one response is preferred; any comparisons if labels are not needed.
      rated_skips, comparison_skips: rows of the source that are neither, and why.
      scale: that the ratings have in the source.
    """

    rated: list[RatedResponse]
    comparisons: list[Comparison]
    rated_skips: SkipCounter
    comparison_skips: SkipCounter
    scale: Scale = UNIT


def read_records(
    config: DataConfig, seed: int, pool: RulePool, need_rated: bool, need: str = LABELLED_PAIRS
) -> Records:
    """Reads the source.

    Ratings come out on the scale from 0 to 1, whatever scale the files have. Comparisons that carry ratings of their
    own are rated responses as well, unless a file of ratings is given. Those of them without a preference, or of more
    than two responses, are used for their ratings alone; where these are not read either, they are left out and
    counted.

    Raises:
      InputError: naming file, line and field.
    """
    skips = SkipCounter(), SkipCounter()
    if config.source == "pyrit":
        path = source_files(config)["wheel"]
        rated = list(read_pyrit(path, pool=pool, skips=skips[0]))
        comparisons = list(severity_comparisons(rated, most_per_prompt=config.most_per_prompt, seed=seed))
        skips[1].kept = sum(1 for _ in severity_comparisons(rated, seed=seed))
        reason = f"pairs beyond data.most_per_prompt={config.most_per_prompt} of one prompt and rubric (0 takes all)"
        skips[1].leave_out(reason, skips[1].kept - len(comparisons), "pyrit")
        return Records(rated, comparisons, *skips)
    found, scale = _comparisons(config, pool, skips[1])
    rated, scale = _rated(config, pool, found, skips[0], scale) if need_rated else ([], scale)
    if need == ANY:
        return Records(rated, found, *skips, scale)
    own = need_rated and not config.ratings_path
    return Records(rated, list(_pairs(found, own, need, skips[1])), *skips, scale)


def read_ratings(config: DataConfig, pool: RulePool, skips: SkipCounter) -> list[RatedResponse]:
    """The rated responses of the file that `data.ratings_path` names, on the scale from 0 to 1.

    Raises:
      InputError: naming file, line and field.
    """
    return _rated(config, pool, (), skips, UNIT)[0]


def _comparisons(config: DataConfig, pool: RulePool, skips: SkipCounter) -> tuple[list[Comparison], Scale]:
    """The comparisons, their ratings from 0 to 1, and the scale that these have in the source."""
    if config.source == "tfds":
        found, scale = [], UNIT
        for data in prepared_splits(config):
            skips.kept += len(data)
            scale = prepared_scale(data.metadata)
            found += [on_unit_scale(comparison, scale) for comparison in data]
        return found, scale
    path = source_files(config, rated=False)["comparisons"]
    format = TABLE if is_text_table(path) else config.format
    if format == "auto":
        format = format_of(path, None if config.ratings_path else pool)
    if format == TABLE:
        return table_comparisons(path, pool, tuple(config.scale), skips, rated=not config.ratings_path)
    if format != "encore":
        return list(read_comparisons(path, format, skips=skips)), UNIT

    def read(scale: Scale) -> Iterator[Comparison]:
        comparisons = read_comparisons(path, format, skips=skips, pool=pool, scale=scale)
        return scaled(comparisons, path, OPTION)

    return _on_unit_scale(config, read, path, pool)


def _on_unit_scale(config: DataConfig, read, path: Path, pool: RulePool, columns: Sequence[str] = ()):
    """Records from 0 to 1, and their scale in the file: the one that was given, or that the ratings show."""
    scale = tuple(config.scale)
    records, scale = (read(scale), scale) if scale else on_inferred_scales(read, path, pool, OPTION, columns)
    return [on_unit_scale(record, scale) for record in records], scale


def _rated(
    config: DataConfig, pool: RulePool, comparisons: Sequence[Comparison], skips: SkipCounter, scale: Scale
) -> tuple[list[RatedResponse], Scale]:
    """The rated responses, from 0 to 1, and the scale that their ratings have in the source.

    Args:
      config, pool, skips: as above.
      comparisons: whose ratings are taken if there is no file of ratings; `scale` is theirs.
    """
    if not config.ratings_path:
        rated = [response for comparison in comparisons for response in responses_of(comparison)]
        skips.kept += len(rated)
        return rated, scale
    path = source_files(config)["ratings"]
    if is_text_table(path):
        return rated_responses(path, pool, tuple(config.scale), skips)
    format = config.ratings_format
    if format == "auto":
        format = _ratings_format(path, pool)
    if format == "openai_rbr":
        return list(read_openai_rbr(path, pool=pool, skips=skips)), UNIT
    if format == TABLE:
        return rated_responses(path, pool, tuple(config.scale), skips)
    columns, reader = (pool.names, read_attribute_columns) if format == "columns" else ((), iter_rated)

    def read(scale: Scale) -> Iterator[RatedResponse]:
        return scaled(reader(path, pool=pool, scale=scale, skips=skips), path, OPTION, columns)

    return _on_unit_scale(config, read, path, pool, columns)


def _ratings_format(path: Path, pool: RulePool) -> str:
    """The format of rated responses that the first rows of a file have.

    Raises:
      InputError: it has none of them; says what is missing.
    """
    from encore_jax.data.rating_shape import fields_of_file, shape_of

    fields = set(fields_of_file(path))
    if not fields:
        raise InputError("the file has no rows", where=str(path), fix="check that it was written to the end")
    shape = shape_of(path, pool.names)
    if shape == "propositions":
        return "openai_rbr"
    if shape == "table" and (not {"prompt", "response"} <= fields or _in_words(path, pool)):
        return TABLE  # in capitals, under other names, with a rating a row, with ratings in words
    if "ratings" in fields or not {"prompt", "response"} <= fields:
        return "encore"  # whose reader says what a row lacks
    if set(pool.names) <= fields:
        return "columns"
    if {rule_of(name, pool.names) for name in fields} >= set(pool.names):
        return TABLE
    raise InputError(
        f"neither 'ratings' nor a column for every rule; there is none for {named(set(pool.names) - fields)}",
        where=f"{path}, row 1",
        fix='write "ratings": {"RULE": NUMBER, ...}, or a column for every rule of the pool',
    )


def _in_words(path: Path, pool: RulePool) -> bool:
    """Whether a table has a rating a row, or ratings in words ("7/10", "yes"), which only tables are read with."""
    from encore_jax.data.rating_shape import SHOWN_BY, fields_of_file

    if columns_of(fields_of_file(path), path, pool.names).is_long:
        return True
    rows = itertools.islice(read_rows(path), SHOWN_BY)
    return any(isinstance(row.get(name), str) for _, row in rows for name in pool.names)


def _pairs(comparisons: Sequence[Comparison], own_ratings: bool, need: str, skips: SkipCounter) -> Iterator[Comparison]:
    """Those that the run can use; the others are counted by what they lack."""
    for i, comparison in enumerate(comparisons):
        pair = len(comparison.responses) == 2
        if pair and (need == PAIRS or comparison.preferred is not None):
            yield comparison
            continue
        reason = NO_PREFERENCE if pair else NO_PAIR
        if own_ratings and comparison.ratings is not None:
            reason = "used for its ratings only: no pair with a preference"
        skips.kept -= 1
        skips.skip(reason, comparison.id or f"comparison {i}")


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
        return InputError("has no rows", where=where, fix=f"check that it was written to the end; or {fix}")
    return InputError(f"there is no usable {what}: {skips}", where=where, fix=fix)
