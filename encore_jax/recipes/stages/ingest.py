"""Stage ingest: sources to validated comparisons and rated responses, in the project's own format."""

from __future__ import annotations

import json
from pathlib import Path

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
from encore_jax.data.split import hash_unit
from encore_jax.errors import InputError
from encore_jax.recipes.config import DataConfig
from encore_jax.recipes.stages.records import LABELLED_PAIRS, read_records, rule_pool, source_hashes
from encore_jax.rules import RulePool


def ingest(config: DataConfig, seed: int, folder: Path, need_rated: bool = True, need: str = LABELLED_PAIRS) -> None:
    """Writes rated.jsonl (empty if ratings are not needed), comparisons.jsonl, pool.yaml and counts.json.

    Args:
      config: what is read.
      seed: of what is drawn.
      folder: to write into.
      need_rated: whether there must be rated responses.
      need: what comparisons must be, one of `records.NEEDS`.
    """
    pool = rule_pool(config)
    if config.source == "tfds" and config.pool not in (pool.name, DataConfig().pool):
        logging.warning(
            "the rules are the prepared data set's own, %s; data.pool=%s is not read", pool.name, config.pool
        )
    rated, comparisons, rated_skips, comparison_skips, scale = read_records(config, seed, pool, need_rated, need)
    if not comparisons:
        problem = f"there is no usable comparison: {comparison_skips}"
        raise InputError(problem, where=config.path or config.source, fix="check the file")
    if need_rated and not rated:
        raise InputError(
            f"there is no usable rated response: {rated_skips}",
            where=config.ratings_path or config.path or config.source,
            fix="give --config.data.ratings_path=FILE, or comparisons that carry ratings",
        )
    if config.scale and not _uses_scale(config, rated, comparisons):
        raise InputError("no ratings are read on it", where="config.data.scale", fix="leave it out")
    comparisons, all_read = _limited(comparisons, config.limit, seed), len(comparisons)
    left_out = f"left out by data.limit={config.limit}, which takes the first by hash (0 takes all)"
    comparison_skips.leave_out(left_out, all_read - len(comparisons), config.path or config.source)
    logging.info("rated responses: %s", rated_skips)
    logging.info("comparisons: %s; %d used", comparison_skips, len(comparisons))
    pool.to_yaml(folder / "pool.yaml")
    write_rated(folder / "rated.jsonl", rated, pool=pool)
    write_comparisons(folder / "comparisons.jsonl", comparisons, pool=pool)
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
        "sources": source_hashes(config, need_rated),
    }
    (folder / "counts.json").write_text(json.dumps(counts, indent=1))


def load(folder: Path) -> tuple[RulePool, list[RatedResponse], list[Comparison]]:
    """What `ingest` wrote."""
    pool = RulePool.from_yaml(folder / "pool.yaml")
    rated = list(iter_rated(folder / "rated.jsonl", pool=pool))
    return pool, rated, list(iter_comparisons(folder / "comparisons.jsonl", pool=pool))


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
