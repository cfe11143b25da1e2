"""The last stages of an adapter's or a RAMO run: every number with its interval, and the report of it."""

from __future__ import annotations

import json
from pathlib import Path

import jax
import numpy as np

from encore_jax.composition.ties import credit
from encore_jax.errors import InputError
from encore_jax.evaluate.advice import advice
from encore_jax.evaluate.heuristics import heuristic_rewards
from encore_jax.evaluate.ramo import arm_results, interval_of_means, label_results
from encore_jax.evaluate.ramo_page import render_ramo_report
from encore_jax.evaluate.ramo_tables import ramo_csv, ramo_tables
from encore_jax.evaluate.results import finite
from encore_jax.evaluate.selection_metrics import adapter_metrics
from encore_jax.evaluate.selection_theory import simulate, verdicts
from encore_jax.rules import RulePool
from experiments.config import to_dict
from experiments.manifest import versions
from experiments.ramo_config import AdapterConfig, RamoConfig
from experiments.stages import adapter, arms, reward_arms, rule_ratings
from experiments.stages.presented import Presented
from experiments.stages.report import publish, write_pages


def evaluate_ramo(config: AdapterConfig | RamoConfig, shown: Presented, at: dict[str, Path], folder: Path) -> None:
    """Writes results.json; `at` names the folders of the stages before."""
    ramo = isinstance(config, RamoConfig)
    results = {
        "name": config.name,
        "kind": "ramo" if ramo else "adapter",
        "rate": json.loads((at["rate"] / "rate.json").read_text()),
        "advice": _advice(config, shown, at),
        "adapter": _adapter(config, shown, at),
        "simulation": _simulation(config),
        "counts": {
            stage: json.loads((at[stage] / "counts.json").read_text())
            for stage in ("ingest", "features", "label", "train")
            if stage in at
        },
        "config": to_dict(config),
        "versions": versions(),
        "device": f"{jax.device_count()} x {jax.devices()[0].device_kind}",
    }
    if ramo:
        results |= {"labels": _labels(config, shown, at), "arms": _arms(config, shown, at)}
    (folder / "results.json").write_text(json.dumps(finite(results), indent=1, allow_nan=False))


def _adapter(config: AdapterConfig | RamoConfig, shown: Presented, at: dict[str, Path]) -> dict:
    """Metrics on comparisons whose prompts the adapter never saw."""
    said = adapter.load(at["adapter"])
    test = (shown.part == "test") & said.known & said.critical.any(1) & ~said.trained
    described = json.loads((at["adapter"] / adapter.SAID).read_text())
    if not test.any():
        raise InputError("no held-out comparison has ratings", where="adapter", fix="rate some, or hold out more")
    pool = RulePool.from_yaml(at["ingest"] / "pool.yaml")
    found = adapter_metrics(
        said.probability[:, test], said.critical[test], said.train_share, config.select.r, pool.names, config.seed,
    )  # fmt: skip
    for chooser in found["choosers"].values():
        for name, values in chooser.pop("each").items():
            chooser[name] = interval_of_means(values, shown.cluster[test], config.seed, config.evaluate.replicates)
    return found | {"r": config.select.r, "k": len(pool), "n": int(test.sum()), "said": described}


def _advice(config: AdapterConfig | RamoConfig, shown: Presented, at: dict[str, Path]) -> dict:
    """Which rules to trust, by the ratings of comparisons that are not held out and people's labels of them; ENCORE's
    weights at the paper's temperature."""
    ratings, pool = rule_ratings.load(at["rate"]), RulePool.from_yaml(at["ingest"] / "pool.yaml")
    own = np.flatnonzero((shown.part != "test") & ratings.usable.any(1))
    told = advice(
        list(ratings.ratings[own]), [int(p) if p >= 0 else None for p in shown.human[own]], shown.cluster[own].tolist(),
        pool.names, list(ratings.rated[own]), seed=config.seed,
    )  # fmt: skip
    return told | {"label_next": [shown.comparisons[own[i]].id or str(own[i]) for i in told["label_next"]]}


def _simulation(config: AdapterConfig | RamoConfig) -> dict:
    given = config.simulate
    rows = simulate(config.select.r, given.rules, given.comparisons, given.noise, given.flips, config.seed)
    return {"rows": rows, "verdicts": verdicts(rows)}


def _labels(config: RamoConfig, shown: Presented, at: dict[str, Path]) -> list[dict]:
    """Over comparisons the adapter was not trained on, held-out ones included: no reward model is involved."""
    said, labels = adapter.load(at["adapter"]), arms.load(at["label"])
    rows = ~said.trained & (shown.human >= 0)
    found = label_results(
        {name: label[:, rows] for name, label in labels.items()},
        shown.human[rows], shown.cluster[rows], config.seed, config.evaluate.replicates,
    )  # fmt: skip
    k = len(RulePool.from_yaml(at["ingest"] / "pool.yaml"))
    return [
        {"arm": cell.arm, "r": cell.r, "judge_calls": _calls(cell, k)} | found[cell.key]
        for cell in arms.cells(config)
        if cell.key in found
    ]


def _calls(cell: arms.Cell, k: int) -> int | None:
    """Rules that a judge must rate of every new comparison to label it so."""
    if cell.arm == "human":
        return 0
    return k if cell.r == 0 or cell.arm.startswith("oracle") else cell.r


def _arms(config: RamoConfig, shown: Presented, at: dict[str, Path]) -> dict:
    test, margins = reward_arms.load(at["train"])
    rows, stacked = [], {"initial": margins["initial"][None]}
    for run in reward_arms.runs(config, arms.load(at["label"])):
        name = f"{run.cell.key}.n{run.size}"
        if name not in stacked:
            rows.append((run.cell.arm, run.cell.r, run.size))
        stacked[name] = [*stacked.get(name, []), margins[run.key]]
    ordered = [
        [c.responses[first], c.responses[1 - first]]
        for c, first in ((shown.comparisons[n], shown.first[n]) for n in test)
    ]
    baselines = heuristic_rewards(ordered)
    human, cluster = shown.human[test], shown.cluster[test]
    return {
        "rows": arm_results(
            {name: np.stack(values) for name, values in stacked.items()},
            rows, human, cluster, config.seed, config.evaluate.replicates,
        ),
        "heuristics": {
            name: interval_of_means(
                credit((reward[:, 0] - reward[:, 1]) * np.where(human == 0, 1, -1)),
                cluster, config.seed, config.evaluate.replicates,
            )
            for name, reward in baselines.items()
        },
    }  # fmt: skip


def report_ramo(evaluated: Path, folder: Path) -> None:
    """Writes results.json, report.html and tables.csv, copies the first two to the work directory, and shows them."""
    write_pages(evaluated, folder, {"report.html": render_ramo_report, "tables.csv": ramo_csv})
    show_ramo(folder)


def show_ramo(folder: Path) -> None:
    """Prints the tables of a finished report and makes sure that the work directory holds its copies."""
    print(ramo_tables(publish(folder)))
    print(f"\nReport: {folder.parent / 'report.html'}")
