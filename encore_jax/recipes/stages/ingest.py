"""Sources to validated comparisons and rated responses, in the project's own format."""

from __future__ import annotations

import json
import types
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from absl import logging

from encore_jax.data import (
    Comparison,
    RatedResponse,
    iter_comparisons,
    iter_rated,
    prompt_key,
    write_comparisons,
    write_rated,
)
from encore_jax.data.digest import file_sha256
from encore_jax.data.split import hash_unit
from encore_jax.errors import InputError
from encore_jax.json_shape import read_json
from encore_jax.recipes.data_config import LABELLED_PAIRS, DataConfig
from encore_jax.recipes.outside import Sources
from encore_jax.recipes.sources import columns_told, rule_pool
from encore_jax.recipes.stages.records import read_records, require_comparisons, require_ratings, source_of
from encore_jax.rules import RulePool

RATED, COMPARISONS = "rated.jsonl", "comparisons.jsonl"


class Ingested(NamedTuple):
    """What a source holds, validated and in the project's own format.

    Attributes:
      pool: the rules.
      rated: responses with ratings; none where they are not needed.
      comparisons: those that are used.
      counts: rows read, used and left out, by reason; hashes of the sources.
      revision: SHA-256 of the files that hold them, once they are written.
    """

    pool: RulePool
    rated: list[RatedResponse]
    comparisons: list[Comparison]
    counts: dict[str, Any]
    revision: Mapping[str, str] = types.MappingProxyType({})

    def save(self, folder: Path) -> None:
        """Writes pool.yaml, rated.jsonl, comparisons.jsonl and counts.json."""
        self.pool.to_yaml(folder / "pool.yaml")
        write_rated(folder / RATED, self.rated, pool=self.pool)
        write_comparisons(folder / COMPARISONS, self.comparisons, pool=self.pool)
        (folder / "counts.json").write_text(json.dumps(self.counts, indent=1))

    @classmethod
    def load(cls, folder: Path) -> Ingested:
        """What `save` wrote."""
        pool = RulePool.from_yaml(folder / "pool.yaml")
        rated = list(iter_rated(folder / RATED, pool=pool))
        comparisons = list(iter_comparisons(folder / COMPARISONS, pool=pool))
        revision = {name: file_sha256(folder / name) for name in (RATED, COMPARISONS)}
        return cls(pool, rated, comparisons, read_json(folder / "counts.json", dict[str, object]), revision)


def ingest(sources: Sources, seed: int, need_rated: bool = True, need: str = LABELLED_PAIRS) -> Ingested:
    """Reads the sources.

    Args:
      sources: what is read.
      seed: of what is drawn.
      need_rated: whether there must be rated responses.
      need: what comparisons must be, one of `encore_jax.recipes.data_config.NEEDS`.

    Raises:
      InputError: a row is wrong, by file and line; or nothing usable is left.
    """
    config = sources.data
    pool = rule_pool(config)
    if config.source == "tfds" and config.pool not in (pool.name, DataConfig().pool):
        logging.warning(
            "the rules are the prepared data set's own, %s; data.pool=%s is not read", pool.name, config.pool
        )
    rated, comparisons, rated_skips, comparison_skips, scale = read_records(config, seed, pool, need_rated, need)
    require_comparisons(comparisons, comparison_skips, config)
    if need_rated:
        require_ratings(rated, rated_skips, len(comparisons), config)
    if config.scale and not _uses_scale(config, rated, comparisons):
        raise InputError("no ratings are read on it", where="config.data.scale", fix="leave it out")
    comparisons, all_read = _limited(comparisons, config.limit, seed), len(comparisons)
    left_out = f"left out by data.limit={config.limit}, which takes the first by hash (0 takes all)"
    comparison_skips.leave_out(left_out, all_read - len(comparisons), source_of(config, ratings=False))
    if rated_skips.kept + rated_skips.skipped:
        logging.info("rated responses: %s", rated_skips)
    logging.info("comparisons: %s; %d used", comparison_skips, len(comparisons))
    if rated and comparisons and not _any_rated(rated, comparisons):
        problem = "%s: none of the compared responses is rated: heads learn from other texts than they are judged on"
        logging.warning(problem, source_of(config, ratings=True))
    counts = {
        "rated_responses": len(rated),
        "comparisons": len(comparisons),
        "rated_rows_read": rated_skips.kept + rated_skips.skipped,
        "comparison_rows_read": comparison_skips.kept + comparison_skips.skipped,
        "rated_rows": str(rated_skips),
        "comparison_rows": str(comparison_skips),
        "rated_rows_skipped": rated_skips.reasons,
        "comparison_rows_skipped": comparison_skips.reasons,
        "fields_not_read": rated_skips.unread | comparison_skips.unread,
        "rating_scale": list(scale),
        "columns": list(columns_told(config)),
        "sources": sources.hashes,
    }
    return Ingested(pool, rated, comparisons, counts)


def _any_rated(rated: list[RatedResponse], comparisons: list[Comparison]) -> bool:
    """Whether some response that is compared has a rating."""
    known = {(prompt_key(record.prompt), record.response) for record in rated}
    return any((prompt_key(c.prompt), response) in known for c in comparisons for response in c.responses)


def _uses_scale(config: DataConfig, rated: list[RatedResponse], comparisons: list[Comparison]) -> bool:
    """Whether some ratings are of a file that has no scale of its own; OpenAI's are true or false."""
    from_file = bool(config.ratings_path) and any(record.source != "openai-rbr" for record in rated)
    return from_file or any(comparison.ratings is not None for comparison in comparisons)


def _limited(comparisons: list[Comparison], limit: int, seed: int) -> list[Comparison]:
    if not limit or limit >= len(comparisons):
        return comparisons
    by_hash = sorted(comparisons, key=lambda c: hash_unit(prompt_key(c.prompt) + "\0".join(c.responses), seed))
    chosen = {id(c) for c in by_hash[:limit]}
    return [c for c in comparisons if id(c) in chosen]
