"""Stage 1, ingest: sources to validated comparisons and rated responses, in the project's own format."""

from __future__ import annotations

import json
from pathlib import Path

from absl import logging

from encore_jax.data import (
    PYRIT_WHEEL,
    Comparison,
    RatedResponse,
    SkipCounter,
    cache_folder,
    iter_comparisons,
    iter_rated,
    locate,
    prompt_key,
    read_comparisons,
    read_openai_rbr,
    read_pyrit,
    severity_comparisons,
    wheel,
    write_comparisons,
    write_rated,
)
from encore_jax.data.readers import recognise
from encore_jax.data.split import hash_unit
from encore_jax.errors import InputError
from encore_jax.rules import RulePool
from experiments.config import DataConfig
from experiments.manifest import file_sha256


def rule_pool(config: DataConfig) -> RulePool:
    """The configured pool: a YAML file if the name ends so, else a shipped one."""
    return RulePool.from_yaml(config.pool) if config.pool.endswith((".yaml", ".yml")) else RulePool.shipped(config.pool)


def source_files(config: DataConfig, rated: bool = True) -> dict[str, Path]:
    """The files the data come from, fetched if need be, by role; without `rated`, comparisons only."""
    if config.source == "pyrit":
        return {"wheel": wheel(*PYRIT_WHEEL, cache=cache_folder(), offline=config.offline)}
    located = {"comparisons": config.path} | ({"ratings": config.ratings_path} if rated else {})
    return {role: locate(uri, offline=config.offline) for role, uri in located.items()}


def source_hashes(config: DataConfig, rated: bool = True) -> dict[str, str]:
    """SHA-256 of every source file and of the rule pool: the revision of the data."""
    files = {role: file_sha256(path) for role, path in source_files(config, rated).items()}
    return files | {"pool": rule_pool(config).digest}


def ingest(config: DataConfig, seed: int, folder: Path, need_rated: bool = True) -> None:
    """Writes rated.jsonl (empty if ratings are not needed), comparisons.jsonl, pool.yaml and counts.json."""
    pool, files = rule_pool(config), source_files(config, need_rated)
    rated_skips, comparison_skips = SkipCounter(), SkipCounter()
    if config.source == "pyrit":
        rated = list(read_pyrit(files["wheel"], pool=pool, skips=rated_skips))
        comparisons = list(severity_comparisons(rated, most_per_prompt=config.most_per_prompt, seed=seed))
        comparison_skips.kept = len(comparisons)
    else:
        if not need_rated:
            rated = []
        elif config.ratings_format == "openai_rbr":
            rated = list(read_openai_rbr(files["ratings"], pool=pool, skips=rated_skips))
        else:
            rated = list(iter_rated(files["ratings"], pool=pool))
            rated_skips.kept = len(rated)
        format = recognise(files["comparisons"]) if config.format == "auto" else config.format
        options = {"pool": pool} if format == "encore" else {}
        comparisons = list(read_comparisons(files["comparisons"], format, skips=comparison_skips, **options))
        comparisons = [_pair(c, i) for i, c in enumerate(comparisons)]
    for what, records, path in (
        ("rated response", rated, config.ratings_path),
        ("comparison", comparisons, config.path),
    ):
        if not records and (need_rated or what == "comparison"):
            raise InputError(f"there is no usable {what}", where=path or config.source, fix="check the file")
    comparisons = _limited(comparisons, config.limit, seed)
    logging.info("rated responses: %s", rated_skips)
    logging.info("comparisons: %s; %d used", comparison_skips, len(comparisons))
    pool.to_yaml(folder / "pool.yaml")
    write_rated(folder / "rated.jsonl", rated, pool=pool)
    write_comparisons(folder / "comparisons.jsonl", comparisons, pool=pool)
    counts = {
        "rated_responses": len(rated),
        "comparisons": len(comparisons),
        "rated_rows": str(rated_skips),
        "comparison_rows": str(comparison_skips),
        "rated_rows_skipped": rated_skips.reasons,
        "comparison_rows_skipped": comparison_skips.reasons,
        "sources": source_hashes(config, need_rated),
    }
    (folder / "counts.json").write_text(json.dumps(counts, indent=1))


def load(folder: Path) -> tuple[RulePool, list[RatedResponse], list[Comparison]]:
    """What `ingest` wrote."""
    pool = RulePool.from_yaml(folder / "pool.yaml")
    rated = list(iter_rated(folder / "rated.jsonl", pool=pool))
    return pool, rated, list(iter_comparisons(folder / "comparisons.jsonl", pool=pool))


def _pair(comparison: Comparison, number: int) -> Comparison:
    if len(comparison.responses) != 2 or comparison.preferred is None:
        raise InputError(
            f"{len(comparison.responses)} responses, preferred {comparison.preferred}",
            where=f"comparison {comparison.id or number}",
            fix="this experiment needs human-labelled pairs; benchmarks with n > 2 have their own scoring",
        )
    return comparison


def _limited(comparisons: list[Comparison], limit: int, seed: int) -> list[Comparison]:
    if not limit or limit >= len(comparisons):
        return comparisons
    by_hash = sorted(comparisons, key=lambda c: hash_unit(prompt_key(c.prompt) + "\0".join(c.responses), seed))
    chosen = {id(c) for c in by_hash[:limit]}
    return [c for c in comparisons if id(c) in chosen]
