"""The last stages of preference training: agreement with people on held-out comparisons, and the report of it."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import jax
import numpy as np

from encore_jax.composition import Margin
from encore_jax.data.atomic import atomic_path
from encore_jax.evaluation.first_line import first_line
from encore_jax.evaluation.heuristics import heuristic_rewards
from encore_jax.evaluation.preference import preference_results
from encore_jax.recipes.config import ExperimentConfig, to_dict
from encore_jax.recipes.manifest import versions
from encore_jax.recipes.stages import ingest
from encore_jax.recipes.stages.preferences import clusters
from encore_jax.recipes.stages.probe import probe_results
from encore_jax.report.curve_figure import curve_figure
from encore_jax.report.report_page import render_preference_report
from encore_jax.report.tables import over_refusal_lines
from encore_jax.report.text_tables import preference_table
from encore_jax.train.metrics import read_metrics

MODEL = "reward model"
PUBLISHED = ("results.json", "report.html")


def agreement(config: ExperimentConfig, ingested: Path, trained: Path, folder: Path) -> None:
    """Writes results.json."""
    _, _, comparisons = ingest.load(ingested)
    with np.load(trained / "rewards.npz") as stored:
        numbers, rewards = stored["comparison"], stored["rewards"]
    chosen = [comparisons[i] for i in numbers]
    ordered = [[c.responses[c.preferred], c.responses[1 - c.preferred]] for c in chosen]
    methods = {MODEL: rewards}
    methods |= {f"heuristic: {name}": value for name, value in heuristic_rewards(ordered).items()}
    subset = [c.subset or "all" for c in chosen]
    results = {
        "name": config.name,
        "held_out": preference_results(
            methods, clusters(comparisons)[numbers], subset, config.seed, config.evaluate.replicates
        ),
        "over_refusal": probe_results(
            trained, (), lambda scores: {MODEL: Margin(scores[:, 0, 0] - scores[:, 1, 0])}, MODEL, config.seed
        ),
        "counts": {
            "ingest": json.loads((ingested / "counts.json").read_text()),
            "train": json.loads((trained / "counts.json").read_text()),
        },
        "metrics": read_metrics(trained / "metrics.jsonl"),
        "passport": json.loads((trained / "passport.json").read_text()),
        "config": to_dict(config),
        "versions": versions(),
        "device": f"{jax.device_count()} x {jax.devices()[0].device_kind}",
    }
    (folder / "results.json").write_text(json.dumps(results, indent=1, allow_nan=False))


def report_agreement(evaluated: Path, folder: Path) -> None:
    """Writes results.json and report.html, copies them up to the work directory, and shows the table."""
    results = json.loads((evaluated / "results.json").read_text())
    shutil.copyfile(evaluated / "results.json", folder / "results.json")
    with atomic_path(folder / "report.html") as temporary:
        temporary.write_text(render_preference_report(results, curve_figure(results["metrics"])), encoding="utf-8")
    show_agreement(folder)


def show_agreement(folder: Path) -> None:
    """Prints a finished report's table and loss, and makes sure that the work directory holds its copies."""
    for name in PUBLISHED:
        with atomic_path(folder.parent / name) as temporary:
            shutil.copyfile(folder / name, temporary)
    results = json.loads((folder / "results.json").read_text())
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
