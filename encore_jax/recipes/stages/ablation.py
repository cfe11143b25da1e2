"""Ablation, stages 1 and 2: what settings choose from, and the decisions of all of them, part by part."""

from __future__ import annotations

import dataclasses
import json
import math
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from absl import logging

from encore_jax.composition import margin_tolerances, margins
from encore_jax.composition.ties import rule_tolerance
from encore_jax.data.atomic import atomic_path
from encore_jax.data.parquet_rows import file_metadata
from encore_jax.errors import InputError
from encore_jax.evaluation.ablation_grid import MOST_ENUMERATED, Axis, Grid, all_subsets, sampled_subsets
from encore_jax.evaluation.ablation_kernel import Tables, decide_range, settings_mesh, tile_here
from encore_jax.evaluation.ablation_tables import (
    ENTROPY_AXES,
    entropy_table,
    refitted_margins,
    resampling_times,
    training_draws,
)
from encore_jax.evaluation.rule_agreement import rule_agreement
from encore_jax.evaluation.view import View
from encore_jax.progress import track
from encore_jax.recipes.ablation_config import AblateConfig
from encore_jax.recipes.stages.ablation_source import ablation_view, read_features
from encore_jax.train.feature_scale import feature_scale
from encore_jax.train.ridge import fit_ridge

DRAW_AXES = ("seed", "share")
AT_ONCE = 2**16
"""Settings decided by one call, which bounds memory."""


def subsets_of(config: AblateConfig, rules: int) -> np.ndarray:
    """The subsets of the rules that the configuration asks for, bool ``[M, K]``."""
    kind = config.subsets
    if kind == "auto":
        kind = "all" if rules <= MOST_ENUMERATED else "sampled"
    if kind == "full":
        return np.ones((1, rules), bool)
    return all_subsets(rules) if kind == "all" else sampled_subsets(rules, config.sampled, config.seed)


def temperatures(config: AblateConfig) -> tuple[float, ...]:
    """Those of the configuration, and infinity: equal weights are always among the settings."""
    return config.taus if math.inf in config.taus else (*config.taus, math.inf)


def grid_of(config: AblateConfig, subsets: int) -> Grid:
    """All axes, slowest first: draws of the training data, entropies, temperatures, subsets, agreement, replicates."""
    entropies = zip(ENTROPY_AXES, (config.grids, config.estimators, config.normalize, config.bases), strict=True)
    draws = zip(DRAW_AXES, (config.seeds, config.shares), strict=True)
    axes = [
        *draws,
        *entropies,
        ("tau", temperatures(config)),
        ("subset", range(subsets)),
        ("agreement", config.agreement),
    ]
    return Grid(tuple(Axis(name, values) for name, values in axes) + (Axis("replicate", range(config.replicates + 1)),))


def prepare(config: AblateConfig, folder: Path) -> None:
    """Writes tables.npz: entropies ``[H, E, K]``, margins and their tolerances ``[H, N, K]`` (or ``[1, N, K]``), how
    often each replicate draws each comparison ``[R, N]``, subsets ``[M, K]``, factors of weights ``[P, K]``;
    and subsets.parquet: each subset's rules.
    """
    view = ablation_view(config)
    draws = training_draws(view.rating_cluster, config.seeds, config.shares)
    axes = grid_of(config, 1).axes[len(DRAW_AXES) : len(DRAW_AXES) + len(ENTROPY_AXES)]
    entropy = np.stack([entropy_table(view.ratings, view.rated & draw[:, None], axes, config.scale) for draw in draws])
    prompts, cluster = np.unique(view.test.cluster, return_inverse=True)
    times = resampling_times(
        jnp.asarray(cluster), len(prompts), jax.random.key(config.seed), replicates=config.replicates + 1
    )
    subset = subsets_of(config, len(view.rules))
    if config.features:
        margin = _refitted(config, view, draws)
        tolerance = rule_tolerance(margin)
    else:
        margin = np.asarray(margins(view.test.scores, view.test.preferred))[None]
        tolerance = np.asarray(margin_tolerances(view.test.scores))[None]
    np.savez(
        folder / "tables.npz", entropy=entropy, margin=margin, tolerance=tolerance, times=np.asarray(times),
        subset=subset, prior=_priors(config, view),
    )  # fmt: skip
    named = [[view.rules[k] for k in np.flatnonzero(row)] for row in subset]
    table = pa.table({"subset": np.arange(len(subset), dtype=np.int32), "rules": named})
    pq.write_table(table, folder / "subsets.parquet", compression="zstd")


def _priors(config: AblateConfig, view: View) -> np.ndarray:
    """What entropy weights are multiplied by, ``[P, K]``: 1, or agreement's weights."""
    rows = []
    for choice in config.agreement:
        found = rule_agreement(view.train, view.rules, seed=config.seed) if choice == "yes" else None
        if found is not None and (found.weights is None or found.by_labels):
            why = found.refused or "only labels say which part of the pool is about quality"
            raise InputError(f"agreement is refused: {why}", where="config.agreement", fix="use no")
        rows.append(np.ones(len(view.rules), np.float32) if found is None else found.weights)
    return np.stack(rows)


def _refitted(config: AblateConfig, view: View, draws: np.ndarray) -> np.ndarray:
    """Margins ``[H, N, K]`` by heads fitted on each draw."""
    rated, test = read_features(config.features)
    if rated.shape[0] != len(view.ratings) or test.shape[:2] != (len(view.test), 2):
        raise InputError(
            f"features {rated.shape} and {test.shape} for {len(view.ratings)} rated responses and "
            f"{len(view.test)} comparisons",
            where=config.features,
            fix="give the features.npz that stands beside the view",
        )
    scale = feature_scale(rated)
    prompts, position = np.unique(view.rating_cluster, return_inverse=True)
    fold = np.random.default_rng(config.seed).permutation(len(prompts))[position] % config.folds
    alpha = fit_ridge(rated, view.ratings, view.rated, fold, tuple(config.alphas)).alpha
    pair = np.arange(len(test))
    difference = (test[pair, view.test.preferred] - test[pair, 1 - view.test.preferred]) / scale
    ratings = np.where(view.rated, view.ratings, 0)
    fits = track(draws, float(len(draws)), "heads")
    return np.stack([refitted_margins(rated / scale, ratings, view.rated, draw, alpha, difference) for draw in fits])


@dataclasses.dataclass(frozen=True)
class Part:
    """Consecutive weightings of one draw: the settings of one file.

    Attributes:
      draw: number of the draw.
      first, count: weightings (settings but for the replicate) within the draw.
    """

    draw: int
    first: int
    count: int

    def file(self, folder: Path) -> Path:
        return folder / f"part-{self.draw:04d}-{self.first:012d}.parquet"


def parts_of(grid: Grid, size: int) -> list[Part]:
    """The grid cut into parts of about `size` settings, in the order of the settings' numbers."""
    draws, replicates = math.prod(grid.shape[: len(DRAW_AXES)]), grid.shape[-1]
    weightings = grid.size // draws // replicates
    step = min(weightings, max(1, size // replicates))
    starts = range(0, weightings, step)
    return [Part(draw, first, min(step, weightings - first)) for draw in range(draws) for first in starts]


def decide_all(config: AblateConfig, prepared: Path, folder: Path) -> None:
    """Writes part-*.parquet, a row per setting, and grid.json; what a killed run completed is kept."""
    with np.load(prepared / "tables.npz") as stored:
        tables = {name: stored[name] for name in ("entropy", "margin", "tolerance", "times", "subset", "prior")}
    grid = grid_of(config, len(tables["subset"]))
    parts = parts_of(grid, config.part)
    missing = [part for part in parts if not _complete(part.file(folder), part.count * grid.shape[-1])]
    logging.info(
        "%d settings x %d comparisons = %.3g decisions; %d of %d parts done",
        grid.size,
        tables["margin"].shape[1],
        float(grid.size) * tables["margin"].shape[1],
        len(parts) - len(missing),
        len(parts),
    )
    decider = Decider(config, **tables)
    for part in track(missing, float(sum(p.count for p in missing)), "settings", size=lambda part: part.count):
        table = _table(grid, part, *decider(part))
        with atomic_path(part.file(folder)) as temporary:
            pq.write_table(
                table,
                temporary,
                compression="zstd",
                use_dictionary=[name for name in table.column_names if name not in ("index", "accuracy")],
                column_encoding={"index": "DELTA_BINARY_PACKED"},
            )
    axes = [{"name": axis.name, "values": len(axis)} for axis in grid.axes]
    (folder / "grid.json").write_text(json.dumps({"settings": grid.size, "axes": axes}, indent=1))


class Decider:
    """Holds what settings choose from on the devices; called with a part, it decides it.

    Args:
      config: of the ablation.
      entropy, margin, tolerance, times, subset: as `prepare` writes them.
    """

    def __init__(self, config: AblateConfig, entropy, margin, tolerance, times, subset, prior):
        self._entropy, self._margin, self._tolerance, self._drawn = entropy, margin, tolerance, times.sum(1)
        self._tau, self._subset = jnp.asarray(temperatures(config), jnp.float32), jnp.asarray(subset)
        self._prior = jnp.asarray(prior) if config.agreement != ("no",) else None
        self._times = jnp.asarray(times) if config.replicates else None
        self._mesh, self._tile = settings_mesh(), tile_here()

    def __call__(self, part: Part) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Accuracy (ties half), correct and ties of the part's settings, one after another."""
        tables = Tables(jnp.asarray(self._entropy[part.draw]), self._tau, self._subset, self._prior)
        row = part.draw % len(self._margin)
        margin, tolerance = jnp.asarray(self._margin[row]), jnp.asarray(self._tolerance[row])
        count, found = min(part.count, AT_ONCE // self._drawn.size + 1), []
        for first in range(part.first, part.first + part.count, count):
            start = jnp.asarray(np.unravel_index(first, tables.shape), jnp.int32)
            decided = decide_range(
                margin, tables, start, self._times,
                count=count, mesh=self._mesh, tile=self._tile, tolerance=tolerance,
            )  # fmt: skip
            kept = min(count, part.first + part.count - first)
            found.append([np.asarray(counts)[:kept].reshape(kept, -1) for counts in decided])
        correct, ties = (np.concatenate(pieces) for pieces in zip(*found, strict=True))
        accuracy = (correct + 0.5 * ties) / self._drawn
        return tuple(array.ravel() for array in (accuracy.astype(np.float32), *np.int32([correct, ties])))


def _complete(path: Path, rows: int) -> bool:
    """Whether the file is there, can be read, and has all its rows."""
    try:
        return file_metadata(path).num_rows == rows
    except InputError:
        return False


def _table(grid: Grid, part: Part, accuracy: np.ndarray, correct: np.ndarray, ties: np.ndarray) -> pa.Table:
    """A row per setting: its number, what it chooses on every axis, and its outcome."""
    replicates = grid.shape[-1]
    weightings = math.prod(grid.shape[len(DRAW_AXES) : -1])
    first = (part.draw * weightings + part.first) * replicates
    index = np.arange(first, first + part.count * replicates, dtype=np.int64)
    columns = {"index": pa.array(index)}
    for axis, digits in zip(grid.axes, np.unravel_index(index, grid.shape), strict=True):
        digits = digits.astype(np.int32)
        if isinstance(axis.values, range):
            columns[axis.name] = pa.array(digits)
        else:
            columns[axis.name] = pa.DictionaryArray.from_arrays(pa.array(digits), pa.array(list(axis.values)))
    return pa.table(columns | {"accuracy": accuracy, "correct": correct, "ties": ties})
