"""The last stages of joint training: every number with its interval, and the report of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np

from encore_jax.composition import entropy_weights
from encore_jax.composition.settings import ENCORE, UNIFORM, CompositionSettings
from encore_jax.composition.ties import credit
from encore_jax.evaluation.heuristics import heuristic_rewards
from encore_jax.evaluation.joint import accuracy_rows, error_rows
from encore_jax.evaluation.ramo import interval_of_means
from encore_jax.evaluation.results import finite
from encore_jax.recipes.manifest import versions
from encore_jax.recipes.stages.ingest import Ingested
from encore_jax.recipes.stages.joint import JointModels
from encore_jax.recipes.stages.joint_texts import domain_of
from encore_jax.recipes.stages.preferences import clusters
from encore_jax.recipes.stages.report import Pages, pages_of, publish
from encore_jax.report.joint_page import render_joint_report
from encore_jax.report.joint_tables import joint_csv, joint_tables


def evaluate_joint(
    data: Ingested,
    trained: JointModels,
    domain: str,
    compose: CompositionSettings,
    replicates: int,
    seed: int,
    config: Mapping[str, Any],
) -> dict[str, Any]:
    """Everything that the report says.

    Args:
      data: records.
      trained: the models of all arms.
      domain: the field that says which distribution a comparison is of.
      compose: how the entropies of training ratings become ENCORE's weights.
      replicates: of the bootstrap over prompts.
      seed: of the bootstrap.
      config: the whole configuration, for the record.
    """
    chosen = [data.comparisons[n] for n in trained.comparison]
    of = np.array([domain_of(one, domain) for one in chosen])
    cluster, rules = clusters(data.comparisons)[trained.comparison], data.pool.names
    weights, means = {}, {}
    for name, ratings in trained.trained_ratings.items():
        rated = trained.trained_rated[name]
        weights[name] = rule_weights(ratings, rated, rules, compose)[1]
        means[name] = (ratings * rated).sum(0) / rated.sum(0)
    options = of, cluster, seed, replicates
    return finite({
        "name": config["name"],
        "kind": "joint",
        "rules": list(rules),
        "accuracy": accuracy_rows(trained.cells, trained.scores, weights, *options),
        "errors": error_rows(trained.cells, trained.scores, trained.ratings, trained.rated, means, *options),
        "heuristics": _heuristics(chosen, *options),
        "weights": {name: dict(zip(rules, made[ENCORE].tolist(), strict=True)) for name, made in weights.items()},
        "losses": {cell["name"]: _losses(trained.metrics.get(cell["name"], [])) for cell in trained.cells},
        "counts": {"ingest": data.counts, "train": trained.counts},
        "passport": trained.passport,
        "config": dict(config),
        "versions": versions(),
        "device": f"{jax.device_count()} x {jax.devices()[0].device_kind}",
    })  # fmt: skip


def rule_weights(
    ratings: np.ndarray, rated: np.ndarray, rules: Sequence[str], compose: CompositionSettings
) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """Entropy ``[K]`` of training ratings, and how the rule heads compose: by ENCORE's weights, and by equal ones.

    Args:
      ratings, rated: ``[R, K]``.
      rules: their names.
      compose: how entropies are estimated and become weights.
    """
    entropy = np.asarray(compose.entropy(ratings, rated, rules))
    encore = np.asarray(entropy_weights(entropy, compose.tau))
    return entropy, {ENCORE: encore, UNIFORM: np.full(len(rules), 1 / len(rules), np.float32)}


def _heuristics(chosen: list, domain: np.ndarray, cluster: np.ndarray, seed: int, replicates: int) -> list[dict]:
    rewards = heuristic_rewards([[c.responses[c.preferred], c.responses[1 - c.preferred]] for c in chosen])
    return [
        {
            "tested_on": str(tested),
            "name": name,
            "accuracy": interval_of_means(
                credit(reward[domain == tested, 0] - reward[domain == tested, 1]), cluster[domain == tested], seed,
                replicates,
            ),
        }
        for tested in np.unique(domain)
        for name, reward in rewards.items()
    ]  # fmt: skip


def _losses(lines: list[dict[str, Any]]) -> dict[str, float]:
    """Mean training loss over the first and the last tenth of the steps."""
    losses = [line["loss"] for line in lines if "loss" in line]
    tenth = max(1, len(losses) // 10)
    return {"first": float(np.mean(losses[:tenth])), "last": float(np.mean(losses[-tenth:]))} if losses else {}


def report_joint(results: dict[str, Any]) -> Pages:
    """results.json, report.html and tables.csv."""
    return pages_of(results, {"report.html": render_joint_report, "tables.csv": joint_csv})


def show_joint(folder: Path) -> None:
    """Prints the tables of a finished report and makes sure that the work directory holds its copies."""
    print(joint_tables(publish(folder)))
    print(f"\nReport: {folder.parent / 'report.html'}")
