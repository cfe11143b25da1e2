"""The last stages of an adapter's or a RAMO run: every number with its interval, and the report of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np

from encore_jax.composition import composed_margins, entropy_weights
from encore_jax.composition.ties import Margin, credit
from encore_jax.data.probes import over_refusal_probe
from encore_jax.errors import InputError
from encore_jax.evaluation.advice import advice
from encore_jax.evaluation.heuristics import heuristic_rewards
from encore_jax.evaluation.label_next import listed
from encore_jax.evaluation.over_refusal import others_warned_of, over_refusal
from encore_jax.evaluation.ramo import ARM_WORDS, arm_name, arm_results, interval_of_means, label_results
from encore_jax.evaluation.results import finite
from encore_jax.evaluation.selection_metrics import adapter_metrics
from encore_jax.evaluation.selection_theory import simulate, verdicts
from encore_jax.recipes.manifest import versions
from encore_jax.recipes.ramo_config import SimulateConfig
from encore_jax.recipes.stages.adapter import Adapter
from encore_jax.recipes.stages.arms import Cell, Labels
from encore_jax.recipes.stages.frozen import Features
from encore_jax.recipes.stages.ingest import Ingested
from encore_jax.recipes.stages.presented import PartSplit, Presented, present
from encore_jax.recipes.stages.probe import NOT_SCORED
from encore_jax.recipes.stages.report import Pages, pages_of, publish
from encore_jax.recipes.stages.reward_arms import RewardModels
from encore_jax.recipes.stages.reward_runs import Run
from encore_jax.recipes.stages.rule_ratings import RuleRatings
from encore_jax.report.ramo_page import render_ramo_report
from encore_jax.report.ramo_tables import ramo_csv, ramo_tables


def evaluate_adapter(
    data: Ingested,
    features: Features,
    ratings: RuleRatings,
    adapter: Adapter,
    split: PartSplit,
    r: int,
    from_heads: bool,
    simulation: SimulateConfig,
    replicates: int,
    config: Mapping[str, Any],
) -> dict[str, Any]:
    """Everything that the report of an adapter says.

    Args:
      data: comparisons.
      features: of them.
      ratings: of them.
      adapter: what it predicts.
      split: into parts.
      r: selected rules.
      from_heads: whether rule heads gave the ratings.
      simulation: of the mutual-information argument.
      replicates: of the bootstrap over prompts.
      config: the whole configuration, for the record.
    """
    shown, seed, rules = present(data.comparisons, split), split.seed, data.pool.names
    results = {
        "name": config["name"],
        "kind": "adapter",
        "rate": ratings.said,
        "advice": _advice(ratings, shown, rules, seed),
        "adapter": _adapter(adapter, shown, rules, r, seed, replicates),
        "over_refusal": _probed_rules(ratings, rules, seed) if from_heads else {},
        "simulation": _simulation(simulation, r, seed),
        "counts": {"ingest": data.counts, "features": features.counts},
        "config": dict(config),
        "versions": versions(),
        "device": f"{jax.device_count()} x {jax.devices()[0].device_kind}",
    }
    return finite(results)


def evaluate_ramo(
    data: Ingested,
    features: Features,
    ratings: RuleRatings,
    adapter: Adapter,
    labels: Labels,
    models: RewardModels,
    runs: Sequence[Run],
    split: PartSplit,
    r: int,
    from_heads: bool,
    simulation: SimulateConfig,
    replicates: int,
    config: Mapping[str, Any],
) -> dict[str, Any]:
    """Everything that the report of labels by rules says; see `evaluate_adapter`.

    Args:
      labels: of every cell.
      models: trained on them.
      runs: the reward models that were asked for.
    """
    shown, seed, rules = present(data.comparisons, split), split.seed, data.pool.names
    trained = [run for run in runs if run.cell.name in labels.of]
    cells = list(dict.fromkeys(run.cell for run in trained))
    of_adapter = evaluate_adapter(data, features, ratings, adapter, split, r, False, simulation, replicates, config)
    return of_adapter | finite({
        "kind": "ramo",
        "over_refusal": _probed_arms(ratings, rules if from_heads else (), models.probe, trained, r, seed),
        "counts": of_adapter["counts"] | {"label": labels.counts, "train": models.counts},
        "labels": _labels(labels, cells, len(rules), adapter, shown, seed, replicates),
        "arms": _arms(models, trained, shown, seed, replicates),
    })  # fmt: skip


def _adapter(adapter: Adapter, shown: Presented, rules: Sequence[str], r: int, seed: int, replicates: int) -> dict:
    """Metrics on comparisons whose prompts the adapter never saw."""
    test = (shown.part == "test") & adapter.known & adapter.critical.any(1) & ~adapter.trained
    if not test.any():
        raise InputError("no held-out comparison has ratings", where="adapter", fix="rate some, or hold out more")
    found = adapter_metrics(adapter.probability[:, test], adapter.critical[test], adapter.train_share, r, rules, seed)
    for chooser in found["choosers"].values():
        for name, values in chooser.pop("each").items():
            chooser[name] = interval_of_means(values, shown.cluster[test], seed, replicates)
    return found | {"r": r, "k": len(rules), "n": int(test.sum()), "said": adapter.said}


def _advice(ratings: RuleRatings, shown: Presented, rules: Sequence[str], seed: int) -> dict:
    """Which rules to trust, by the ratings of comparisons that are not held out and people's labels of them; ENCORE's
    weights at the paper's temperature."""
    own = np.flatnonzero((shown.part != "test") & ratings.usable.any(1))
    told = advice(
        list(ratings.ratings[own]), [int(p) if p >= 0 else None for p in shown.human[own]], shown.cluster[own].tolist(),
        rules, list(ratings.rated[own]), seed=seed, of="comparisons that are not held out",
    )  # fmt: skip
    numbers = [int(own[i]) for i in told["label_next"]]
    return told | listed([shown.comparisons[i] for i in numbers], numbers)


def _simulation(given: SimulateConfig, r: int, seed: int) -> dict:
    rows = simulate(r, given.rules, given.comparisons, given.noise, given.flips, seed)
    return {"rows": rows, "verdicts": verdicts(rows)}


def _labels(
    labels: Labels, cells: Sequence[Cell], k: int, adapter: Adapter, shown: Presented, seed: int, replicates: int
) -> list[dict]:
    """Over comparisons the adapter was not trained on, held-out ones included: no reward model is involved."""
    rows = ~adapter.trained & (shown.human >= 0)
    found = label_results(
        {name: label[:, rows] for name, label in labels.of.items()},
        shown.human[rows], shown.cluster[rows], seed, replicates,
    )  # fmt: skip
    return [{"arm": cell.arm, "r": cell.r, "judge_calls": _calls(cell, k)} | found[cell.name] for cell in cells]


def _probed_rules(ratings: RuleRatings, rules: Sequence[str], seed: int) -> dict:
    """The probe under every rule's head, and under rewards of all of them."""
    if ratings.probe is None:
        return NOT_SCORED
    scores = _pairs(ratings.probe)
    weights = {
        "all": np.full(len(rules), 1 / len(rules)),
        "entropy": np.asarray(entropy_weights(ratings.entropy, 2.0)),
    }
    told = {}
    for arm, values in weights.items():
        reward = composed_margins(np.nan_to_num(scores), values.astype(np.float32), np.zeros(len(scores), np.int32))
        told[ARM_WORDS[arm]] = Margin(*map(np.asarray, reward))
    return _over_refusal(scores, rules, told, ARM_WORDS["all"], seed)


def _probed_arms(
    ratings: RuleRatings,
    rules: Sequence[str],
    probe: Mapping[str, np.ndarray] | None,
    runs: Sequence[Run],
    r: int,
    seed: int,
) -> dict:
    """The probe under every arm's reward models, and under every rule, if there are heads of rules."""
    if probe is None or (rules and ratings.probe is None):
        return NOT_SCORED
    found = {arm_name("initial", 0, 0): [probe["initial"]]}
    for run in runs:
        found.setdefault(arm_name(run.cell.arm, run.cell.r, run.size), []).append(probe[run.name])
    margins = {name: np.stack(rows, 1) for name, rows in found.items()}  # [P, S]
    scored = np.isfinite(np.concatenate(list(margins.values()), 1)).all(1)
    scores = _pairs(ratings.probe) if rules else np.zeros((len(scored), 2, 1), np.float32)
    told = {name: Margin(np.nan_to_num(margin)) for name, margin in margins.items()}
    main = arm_name("adapter", r, 0)  # RAMO's own reward model; the last one trained where that arm is left out
    composed = main if main in margins else list(margins)[-1]
    return _over_refusal(np.where(scored[:, None, None], scores, np.nan), rules, told, composed, seed)


def _pairs(probe: np.ndarray) -> np.ndarray:
    """Scores ``[P, 2, K]`` of the probe's pairs, the preferred response first."""
    return probe.reshape(-1, 2, probe.shape[1])


def _over_refusal(
    scores: np.ndarray, rules: Sequence[str], margins: Mapping[str, Margin], composed: str, seed: int
) -> dict:
    found = over_refusal(over_refusal_probe(), scores, rules, margins, composed, seed)
    return found | {"warning": " ".join(filter(None, (found["warning"], others_warned_of(found))))}


def _calls(cell: Cell, k: int) -> int | None:
    """Rules that a judge must rate of every new comparison to label it so."""
    if cell.arm == "human":
        return 0
    return k if cell.r == 0 or cell.arm.startswith("oracle") else cell.r


def _arms(models: RewardModels, runs: Sequence[Run], shown: Presented, seed: int, replicates: int) -> dict:
    test, margins = models.test, models.margins
    rows, stacked = [], {"initial": margins["initial"][None]}
    for run in runs:
        name = f"{run.cell.name}.n{run.size}"
        if name not in stacked:
            rows.append((run.cell.arm, run.cell.r, run.size))
        stacked[name] = [*stacked.get(name, []), margins[run.name]]
    ordered = [
        [c.responses[first], c.responses[1 - first]]
        for c, first in ((shown.comparisons[n], shown.first[n]) for n in test)
    ]
    baselines = heuristic_rewards(ordered)
    human, cluster = shown.human[test], shown.cluster[test]
    return {
        "rows": arm_results(
            {name: np.stack(values) for name, values in stacked.items()}, rows, human, cluster, seed, replicates
        ),
        "heuristics": {
            name: interval_of_means(
                credit((reward[:, 0] - reward[:, 1]) * np.where(human == 0, 1, -1)), cluster, seed, replicates
            )
            for name, reward in baselines.items()
        },
    }


def report_ramo(results: dict[str, Any]) -> Pages:
    """results.json, report.html and tables.csv."""
    return pages_of(results, {"report.html": render_ramo_report, "tables.csv": ramo_csv})


def show_ramo(folder: Path) -> None:
    """Prints the tables of a finished report and makes sure that the work directory holds its copies."""
    print(ramo_tables(publish(folder)))
    print(f"\nReport: {folder.parent / 'report.html'}")
