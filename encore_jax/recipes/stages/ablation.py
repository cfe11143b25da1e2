"""Ablation, stages 1 and 2: what settings choose from, and the decisions of all of them, part by part."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import pyarrow.parquet as pq
from absl import logging

from encore_jax.data.atomic import atomic_path
from encore_jax.data.parquet_rows import file_metadata
from encore_jax.errors import InputError
from encore_jax.evaluation.ablation_axes import AblationAxes, Draws, Entropies, rule_subsets
from encore_jax.evaluation.ablation_decisions import Decider, part_table, parts_of
from encore_jax.evaluation.ablation_inputs import AblationInputs, Features, ablation_inputs
from encore_jax.progress import track
from encore_jax.recipes.stages.ablation_source import AblationSource, Reading, read_features


def prepare(
    source: AblationSource,
    reading: Reading,
    draws: Draws,
    entropies: Entropies,
    subsets: str,
    sampled: int,
    agreement: Sequence[str],
    replicates: int,
    alphas: Sequence[float],
    folds: int,
) -> AblationInputs:
    """What settings choose from.

    Args:
      source: scores or ratings.
      reading: how they are read; its seed is that of all that is computed, too.
      subsets, sampled: see `rule_subsets`.
      draws, entropies, agreement, replicates, alphas, folds: see `ablation_inputs`.
    """
    (view, scale), seed = source.scaled_view(reading), reading.seed
    features = Features(*read_features(source.features), source.features) if source.features else None
    return ablation_inputs(
        view, draws, entropies, rule_subsets(subsets, len(view.rules), sampled, seed), features=features,
        agreement=agreement, replicates=replicates, scale=scale, alphas=alphas, folds=folds, seed=seed,
    )  # fmt: skip


def decide_all(inputs: AblationInputs, axes: AblationAxes, part: int, folder: Path) -> None:
    """Writes part-*.parquet, a row per setting, and grid.json; what a killed run completed is kept.

    Args:
      inputs: what settings choose from.
      axes: what they choose.
      part: settings in one file.
      folder: gets the files.
    """
    grid, comparisons = axes.grid(len(inputs.subset)), inputs.margin.shape[1]
    parts = parts_of(grid, part)
    missing = [part for part in parts if not _complete(folder / part.file, part.count * grid.shape[-1])]
    logging.info(
        "%d settings x %d comparisons = %.3g decisions; %d of %d parts done",
        grid.size,
        comparisons,
        float(grid.size) * comparisons,
        len(parts) - len(missing),
        len(parts),
    )
    decider = Decider(inputs, axes)
    for part in track(missing, float(sum(p.count for p in missing)), "settings", size=lambda part: part.count):
        table = part_table(grid, part, *decider(part))
        with atomic_path(folder / part.file) as temporary:
            pq.write_table(
                table,
                temporary,
                compression="zstd",
                use_dictionary=[name for name in table.column_names if name not in ("index", "accuracy")],
                column_encoding={"index": "DELTA_BINARY_PACKED"},
            )
    counts = [{"name": axis.name, "values": len(axis)} for axis in grid.axes]
    (folder / "grid.json").write_text(json.dumps({"settings": grid.size, "axes": counts}, indent=1))


def _complete(path: Path, rows: int) -> bool:
    """Whether the file is there, can be read, and has all its rows."""
    try:
        return file_metadata(path).num_rows == rows
    except InputError:
        return False
