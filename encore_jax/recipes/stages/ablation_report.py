"""Ablation, stage 3, report: all settings read once, part by part; which choices matter, as page, tables and text."""

from __future__ import annotations

import heapq
import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pyarrow.parquet as pq

from encore_jax.csv_text import csv_text
from encore_jax.data.digest import file_sha256
from encore_jax.evaluation.ablation_anova import MarginalSums
from encore_jax.evaluation.ablation_axes import DRAW_AXES, AblationAxes
from encore_jax.evaluation.ablation_choice import full_set_choice
from encore_jax.evaluation.ablation_grid import Grid
from encore_jax.evaluation.ablation_inputs import AblationInputs
from encore_jax.evaluation.ablation_results import (
    REPLICATE,
    SUBSET,
    ablation_results,
    choices_text,
    value_text,
    with_full_set,
)
from encore_jax.progress import track
from encore_jax.recipes.manifest import versions
from encore_jax.recipes.stages.ablation_source import AblationSource, Reading
from encore_jax.recipes.stages.report import PUBLISHED, Pages, pages_of, publish
from encore_jax.report.ablation_page import render_ablation

CHOICES = "choices.csv"
EXTREMES = 10
"""How many of the highest and of the lowest settings are named."""


def report_ablation(
    source: AblationSource,
    reading: Reading,
    inputs: AblationInputs,
    decided: Path,
    axes: AblationAxes,
    config: Mapping[str, Any],
) -> Pages:
    """results.json, report.html and choices.csv.

    Args:
      source: scores or ratings.
      reading: how they are read; its seed is that of the resampling of prompts, too.
      inputs: what settings choose from.
      decided: folder of part-*.parquet.
      axes: what settings choose.
      config: the whole configuration as plain values, for the record.
    """
    view, grid = source.view(reading), axes.grid(len(inputs.subset))
    sums, extremes = MarginalSums(grid.names, grid.shape), Extremes(grid)
    files = sorted(decided.glob("part-*.parquet"))
    for path in track(files, float(len(files)), "summing up"):
        table = pq.read_table(path, columns=["index", "accuracy"])
        index, accuracy = (table[name].to_numpy() for name in ("index", "accuracy"))
        digits = grid.digits(index)
        sums.add(digits, accuracy)
        extremes.add(index, accuracy, digits)
    of_full_set = [axis for axis in grid.axes if axis.name not in (*DRAW_AXES, SUBSET, REPLICATE)]
    full = full_set_choice(
        of_full_set, inputs.entropy, inputs.margin, inputs.tolerance, view.test.cluster, inputs.prior, reading.seed
    )
    results = {
        "name": config["name"],
        "label": view.label,
        "view": view.name,
        "description": view.description,
        "rules": list(view.rules),
        "comparisons": len(view.test),
        "prompts": len(np.unique(view.test.cluster)),
        "settings": grid.size,
        "decisions": float(grid.size) * len(view.test),
        "sha256": file_sha256(source.path),
        "advice": source.advice(view, inputs.entropy[0, 0], reading.seed, tuple(reading.scale)),
        "found": with_full_set(ablation_results(grid, sums, inputs.subset, view.rules), full),
        "full": {name: value for name, value in full.items() if name not in ("marginals", "heat_map")},
        "extremes": list(extremes.rows(inputs.subset, view.rules)),
        "config": _finite(dict(config)),
        "versions": versions(),
        "device": f"{jax.device_count()} x {jax.devices()[0].device_kind}",
    }
    pages = pages_of(results, {PUBLISHED[1]: render_ablation})
    return Pages(pages.texts | {CHOICES: choices_csv(results["found"])})


class Extremes:
    """The highest and the lowest settings on the comparisons themselves, seen in any order; ties go to the first."""

    def __init__(self, grid: Grid):
        self._grid, self._highest, self._lowest = grid, [], []

    def add(self, index: np.ndarray, accuracy: np.ndarray, digits: np.ndarray) -> None:
        own = digits[:, self._grid.names.index(REPLICATE)] == 0
        index, accuracy = index[own], accuracy[own]
        for kept, sign in ((self._highest, 1), (self._lowest, -1)):
            order = np.argsort(-sign * accuracy, kind="stable")[:EXTREMES]
            kept[:] = heapq.nsmallest(EXTREMES, [*kept, *((-sign * float(accuracy[i]), int(index[i])) for i in order)])

    def rows(self, subset: np.ndarray, rules: tuple[str, ...]) -> Iterator[dict]:
        """Number, accuracy, values on the axes that vary, and rules of each."""
        varied = [a.name for a in self._grid.axes if len(a) > 1 and a.name not in (REPLICATE, "subset")]
        for kept, sign in ((self._highest, -1), (self._lowest, 1)):
            for rank, (key, index) in enumerate(kept):
                values = self._grid.values_at(index)
                yield {
                    "index": index,
                    "accuracy": sign * key,
                    "values": {name: value_text(values[name]) for name in varied},
                    "rules": [rules[k] for k in np.flatnonzero(subset[values["subset"]])],
                    "group": sign == 1 and rank == 0,
                }


def choices_csv(found: dict) -> str:
    """Shares of variance and marginal means, a row each, unrounded."""
    rows = [
        [kind, row["choice"], "", row["share"], "", "", "", ""] for kind in ("main", "pairs") for row in found[kind]
    ]
    rows.append(["rest", "", "", found["rest"], "", "", "", ""])
    for choice, means in found["marginals"].items():
        rows += [["mean", choice, row["value"], "", *row["accuracy"].values(), row["sd"]] for row in means]
    for row in found["sizes"]:
        rows.append(["mean", "number of rules", row["size"], "", *row["accuracy"].values(), row["sd"]])
    for row in found["rules"]:
        rows.append(["with minus without", "rule", row["name"], "", *row["effect"].values(), ""])
    return csv_text(["kind", "choice", "value", "share", "accuracy", "low", "high", "sd"], rows)


def _finite(value):
    """The same with infinity as text, which JSON cannot hold."""
    if isinstance(value, dict):
        return {name: _finite(item) for name, item in value.items()}
    if isinstance(value, list):
        return [_finite(item) for item in value]
    return "inf" if isinstance(value, float) and math.isinf(value) else value


def show_ablation(folder: Path) -> None:
    """Prints which choices matter and makes sure that the work directory holds the report's copies."""
    print(choices_text(publish(folder, (*PUBLISHED, CHOICES))))
    print(f"\nReport: {folder.parent / PUBLISHED[1]}\nAll numbers: {folder.parent / CHOICES}")
