"""A saved reward model on a benchmark: every response scored, the benchmark's own scores, and what a peer would say."""

from __future__ import annotations

from encore_jax.recipes.benchmark_config import BenchmarkConfig
from encore_jax.recipes.outside import Probe, Record
from encore_jax.recipes.reward_model_files import RewardModelFiles, RuleWeights
from encore_jax.recipes.stages_by_name import (
    BenchmarkData,
    evaluate_benchmark,
    read_benchmark,
    report_benchmark,
    score_benchmark,
    show_benchmark,
)

PUBLISHED = ("results.json", "report.html", "official")


def run(config: BenchmarkConfig, stage) -> None:
    """The stages ingest, score, evaluate and report."""
    data = BenchmarkData(config.data, config.revision, config.offline)
    model = RewardModelFiles(config.model, offline=config.offline, fetch=config.fetch_backbone)
    weights, official_name = RuleWeights(config.weights), config.official_name or f"encore_jax/{config.name}"

    items = stage("ingest", read_benchmark, data, config.format, config.limit)
    scored = stage(
        "score", score_benchmark, items, Probe(), model, weights, config.dtype, config.peer, config.buckets,
        config.tokens_per_batch, aside={"mesh": config.mesh},
    )  # fmt: skip
    evaluated = stage(
        "evaluate", evaluate_benchmark, items, scored, data, model, config.peer, config.tau, config.replicates,
        config.seed, official_name, config.reported_safety, Record(config),
    )  # fmt: skip
    report = stage("report", report_benchmark, evaluated)
    stage.always(show_benchmark, report)
