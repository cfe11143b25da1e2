"""Ablation, stage 3, report: all settings read once, part by part; which choices matter, as page, tables and text."""

from __future__ import annotations

import heapq
import json
import math
import shutil
from collections.abc import Iterator
from pathlib import Path

import jax
import numpy as np
import pyarrow.parquet as pq

from encore_jax.csv_text import csv_text
from encore_jax.data.atomic import atomic_path
from encore_jax.evaluation.ablation_anova import MarginalSums
from encore_jax.evaluation.ablation_choice import full_set_choice
from encore_jax.evaluation.ablation_grid import Grid
from encore_jax.evaluation.ablation_results import (
    REPLICATE,
    SUBSET,
    ablation_results,
    choices_text,
    value_text,
    with_full_set,
)
from encore_jax.progress import track
from encore_jax.recipes.ablation_config import AblateConfig
from encore_jax.recipes.config import to_dict
from encore_jax.recipes.manifest import file_sha256, versions
from encore_jax.recipes.stages.ablation import DRAW_AXES, grid_of
from encore_jax.recipes.stages.ablation_source import ablation_view, scores_file
from encore_jax.recipes.stages.report import PUBLISHED, publish
from encore_jax.report.ablation_page import render_ablation

CHOICES = "choices.csv"
EXTREMES = 10
"""How many of the highest and of the lowest settings are named."""


def report(config: AblateConfig, prepared: Path, decided: Path, folder: Path) -> None:
    """Writes results.json, report.html and choices.csv, copies them up to the work directory, shows what they say."""
    view = ablation_view(config)
    with np.load(prepared / "tables.npz") as stored:
        subset = stored["subset"]
        tables = {name: stored[name] for name in ("entropy", "margin", "tolerance", "prior")}
    grid = grid_of(config, len(subset))
    sums, extremes = MarginalSums(grid.names, grid.shape), Extremes(grid)
    files = sorted(decided.glob("part-*.parquet"))
    for path in track(files, float(len(files)), "summing up"):
        table = pq.read_table(path, columns=["index", "accuracy"])
        index, accuracy = (table[name].to_numpy() for name in ("index", "accuracy"))
        digits = grid.digits(index)
        sums.add(digits, accuracy)
        extremes.add(index, accuracy, digits)
    axes = [axis for axis in grid.axes if axis.name not in (*DRAW_AXES, SUBSET, REPLICATE)]
    full = full_set_choice(axes, **tables, cluster=view.test.cluster, seed=config.seed)
    results = {
        "name": config.name,
        "label": view.label,
        "view": view.name,
        "description": view.description,
        "rules": list(view.rules),
        "comparisons": len(view.test),
        "prompts": len(np.unique(view.test.cluster)),
        "settings": grid.size,
        "decisions": float(grid.size) * len(view.test),
        "sha256": file_sha256(scores_file(config)),
        "found": with_full_set(ablation_results(grid, sums, subset, view.rules), full),
        "full": {name: value for name, value in full.items() if name not in ("marginals", "heat_map")},
        "extremes": list(extremes.rows(subset, view.rules)),
        "config": _finite(to_dict(config)),
        "versions": versions(),
        "device": f"{jax.device_count()} x {jax.devices()[0].device_kind}",
    }
    texts = {
        "results.json": json.dumps(results, indent=1, allow_nan=False),
        "report.html": render_ablation(results),
        CHOICES: choices_csv(results["found"]),
    }
    for name, text in texts.items():
        with atomic_path(folder / name) as temporary:
            temporary.write_text(text, encoding="utf-8")
    show(folder)


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


def show(folder: Path) -> None:
    """Prints which choices matter and makes sure that the work directory holds the report's copies."""
    publish(folder)
    with atomic_path(folder.parent / CHOICES) as temporary:
        shutil.copyfile(folder / CHOICES, temporary)
    print(choices_text(json.loads((folder / PUBLISHED[0]).read_text(encoding="utf-8"))))
    print(f"\nReport: {folder.parent / PUBLISHED[1]}\nAll numbers: {folder.parent / CHOICES}")
