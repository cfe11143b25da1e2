"""The last stages of an adapter's or a RAMO run: every number with its interval, and the report of it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import jax
import numpy as np

from encore_jax.composition import composed_margins, entropy_weights
from encore_jax.composition.ties import Margin, credit
from encore_jax.data.probes import over_refusal_probe
from encore_jax.errors import InputError
from encore_jax.evaluation.advice import advice
from encore_jax.evaluation.heuristics import heuristic_rewards
from encore_jax.evaluation.over_refusal import others_warned_of, over_refusal
from encore_jax.evaluation.ramo import ARM_WORDS, arm_name, arm_results, interval_of_means, label_results
from encore_jax.evaluation.results import finite
from encore_jax.evaluation.selection_metrics import adapter_metrics
from encore_jax.evaluation.selection_theory import simulate, verdicts
from encore_jax.recipes.config import to_dict
from encore_jax.recipes.manifest import versions
from encore_jax.recipes.ramo_config import AdapterConfig, RamoConfig
from encore_jax.recipes.stages import adapter, arms, probe, reward_arms, rule_ratings
from encore_jax.recipes.stages.presented import Presented
from encore_jax.recipes.stages.report import publish, write_pages
from encore_jax.report.ramo_page import render_ramo_report
from encore_jax.report.ramo_tables import ramo_csv, ramo_tables
from encore_jax.rules import RulePool


def evaluate_ramo(config: AdapterConfig | RamoConfig, shown: Presented, at: dict[str, Path], folder: Path) -> None:
    """Writes results.json; `at` names the folders of the stages before."""
    ramo = isinstance(config, RamoConfig)
    results = {
        "name": config.name,
        "kind": "ramo" if ramo else "adapter",
        "rate": json.loads((at["rate"] / "rate.json").read_text()),
        "advice": _advice(config, shown, at),
        "adapter": _adapter(config, shown, at),
        "over_refusal": _over_refusal(config, at),
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


def _over_refusal(config: AdapterConfig | RamoConfig, at: dict[str, Path]) -> dict:
    """The probe under every arm's reward models, and under every rule where rule heads rate; {} without any of both."""
    heads = config.rate.source == "heads"
    rules = RulePool.from_yaml(at["ingest"] / "pool.yaml").names if heads else ()
    scores = probe.probe_scores(at["rate"]) if heads else None
    if isinstance(config, RamoConfig):
        arms_of = _probed_arms(config, at)
        if arms_of is None or (heads and scores is None):
            return probe.NOT_SCORED
        margins, composed = arms_of, _main_arm(config, arms_of)
        scored = np.isfinite(np.concatenate(list(margins.values()), 1)).all(1)
        if scores is None:
            scores = np.zeros((len(scored), 2, 1), np.float32)
        scores = np.where(scored[:, None, None], scores, np.nan)
        told = {name: Margin(np.nan_to_num(margin)) for name, margin in margins.items()}
    elif not heads:
        return {}
    elif scores is None:
        return probe.NOT_SCORED
    else:
        entropy = rule_ratings.load(at["rate"]).entropy
        weights = {"all": np.full(len(rules), 1 / len(rules)), "entropy": np.asarray(entropy_weights(entropy, 2.0))}
        composed, told = ARM_WORDS["all"], {}
        for arm, values in weights.items():
            reward = composed_margins(np.nan_to_num(scores), values.astype(np.float32), np.zeros(len(scores), np.int32))
            told[ARM_WORDS[arm]] = Margin(*map(np.asarray, reward))
    found = over_refusal(over_refusal_probe(), scores, rules, told, composed, config.seed)
    return found | {"warning": " ".join(filter(None, (found["warning"], others_warned_of(found))))}


def _probed_arms(config: RamoConfig, at: dict[str, Path]) -> dict[str, np.ndarray] | None:
    """Margins ``[P, S]`` of every row's reward models, by `arm_name`; None where the probe was not scored."""
    kept = probe.load_margins(at["train"])
    if kept is None:
        return None
    found = {arm_name("initial", 0, 0): [kept["initial"]]}
    for run in reward_arms.runs(config, arms.load(at["label"])):
        found.setdefault(arm_name(run.cell.arm, run.cell.r, run.size), []).append(kept[run.key])
    return {name: np.stack(rows, 1) for name, rows in found.items()}


def _main_arm(config: RamoConfig, names: Mapping[str, np.ndarray]) -> str:
    """RAMO's own reward model; the last one trained where that arm is left out."""
    main = arm_name("adapter", config.select.r, 0)
    return main if main in names else list(names)[-1]


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
