"""The last stages of preference training: agreement with people on held-out comparisons, and the report of it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np

from encore_jax.composition import Margin
from encore_jax.evaluation.first_line import first_line
from encore_jax.evaluation.heuristics import heuristic_rewards
from encore_jax.evaluation.preference import preference_results
from encore_jax.recipes.manifest import versions
from encore_jax.recipes.stages.ingest import Ingested
from encore_jax.recipes.stages.preferences import TrainedPreference, clusters
from encore_jax.recipes.stages.probe import probe_results
from encore_jax.recipes.stages.report import Pages, pages_of, publish
from encore_jax.report.curve_figure import curve_figure
from encore_jax.report.report_page import render_preference_report
from encore_jax.report.tables import over_refusal_lines
from encore_jax.report.text_tables import preference_table

MODEL = "reward model"


def agreement(
    data: Ingested, trained: TrainedPreference, replicates: int, seed: int, config: Mapping[str, Any]
) -> dict[str, Any]:
    """Everything that the report says.

    Args:
      data: records.
      trained: one head.
      replicates: of the bootstrap over prompts.
      seed: of the bootstrap.
      config: the whole configuration, for the record.
    """
    comparisons, numbers = data.comparisons, trained.comparison
    chosen = [comparisons[i] for i in numbers]
    ordered = [[c.responses[c.preferred], c.responses[1 - c.preferred]] for c in chosen]
    methods = {MODEL: trained.rewards}
    methods |= {f"heuristic: {name}": value for name, value in heuristic_rewards(ordered).items()}
    subset = [c.subset or "all" for c in chosen]
    return {
        "name": config["name"],
        "held_out": preference_results(methods, clusters(comparisons)[numbers], subset, seed, replicates),
        "over_refusal": probe_results(
            trained.probe, (), lambda scores: {MODEL: Margin(scores[:, 0, 0] - scores[:, 1, 0])}, MODEL, seed
        ),
        "counts": {"ingest": data.counts, "train": trained.counts},
        "metrics": trained.metrics,
        "passport": trained.passport,
        "config": dict(config),
        "versions": versions(),
        "device": f"{jax.device_count()} x {jax.devices()[0].device_kind}",
    }


def report_agreement(results: dict[str, Any]) -> Pages:
    """results.json and report.html."""
    return pages_of(
        results, {"report.html": lambda found: render_preference_report(found, curve_figure(found["metrics"]))}
    )


def show_agreement(folder: Path) -> None:
    """Prints a finished report's table and loss, and makes sure that the work directory holds its copies."""
    results = publish(folder)
    losses = [line["loss"] for line in results["metrics"] if "loss" in line]
    tenth = max(1, len(losses) // 10)
    training = results["counts"]["train"]["training"]
    print(
        f"\n{first_line(results)}\n\n{results['name']}: {results['held_out']['comparisons']} held-out comparisons of "
        f"{results['held_out']['prompts']} prompts; {training['steps']} steps on "
        f"{results['counts']['train']['comparisons_for_training']} comparisons, "
        f"packing efficiency {training['packing_efficiency']:.3f}\n"
        f"training loss: {np.mean(losses[:tenth]):.4f} over the first {tenth} steps, "
        f"{np.mean(losses[-tenth:]):.4f} over the last {tenth}\n"
    )
    print(preference_table(results["held_out"]))
    for line in over_refusal_lines(results):
        print(line)
    print(f"\nReport: {folder.parent / 'report.html'}")
