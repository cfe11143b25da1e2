"""The stages of a benchmark run after its comparisons are read: score, evaluate, report."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
from absl import logging
from jax.sharding import Mesh

from encore_jax.data import Comparison
from encore_jax.data.atomic import atomic_path
from encore_jax.data.probes import over_refusal_probe
from encore_jax.errors import InputError
from encore_jax.evaluation.benchmark import KINDS, benchmark_scores, judge_items, official_files
from encore_jax.evaluation.benchmark_counts import dropped
from encore_jax.evaluation.benchmark_rules import benchmark_advice, method_rows, probe_results
from encore_jax.evaluation.convention_scores import ConventionScores, score_by_convention
from encore_jax.evaluation.conventions import PEERS, Convention, why_different
from encore_jax.evaluation.rewardbench import SAFETY_COUNTS, explain_safety
from encore_jax.json_shape import read_json
from encore_jax.parallel.mesh import MeshSettings, make_mesh
from encore_jax.recipes.manifest import versions
from encore_jax.recipes.outside import Probe
from encore_jax.recipes.reward_model_files import RewardModelFiles, RuleWeights
from encore_jax.recipes.stages.benchmark_coverage import benchmark_coverage
from encore_jax.recipes.stages.benchmark_data import BenchmarkData, BenchmarkItems
from encore_jax.recipes.stages.report import PUBLISHED, Pages, pages_of, publish
from encore_jax.report.benchmark_report import benchmark_table, render_benchmark
from encore_jax.reward.reward_model import PASSPORT, RewardModel

OFFICIAL = "official.json"
"""The leaderboard's result files, by path."""
CHECKPOINT_BUCKETS = (512, 1024, 2048)
"""Row lengths for a checkpoint, unless the configuration names some."""


class BenchmarkScores(NamedTuple):
    """What a model says of a benchmark's responses.

    Attributes:
      passport: of the model.
      ours: by its own convention.
      probe: the over-refusal probe's responses, by its own convention.
      peer: by a peer's convention, if there is one.
    """

    passport: dict[str, Any]
    ours: ConventionScores
    probe: ConventionScores
    peer: ConventionScores | None = None

    def save(self, folder: Path) -> None:
        """Writes passport.json, scores-ours.npz, scores-probe.npz and, if there is a peer, scores-peer.npz."""
        (folder / "passport.json").write_text(json.dumps(self.passport, indent=1))
        for name in ("ours", "probe", "peer"):
            if (scored := getattr(self, name)) is not None:
                scored.save(folder / f"scores-{name}.npz")

    @classmethod
    def load(cls, folder: Path) -> BenchmarkScores:
        """What `save` wrote."""
        files = {name: folder / f"scores-{name}.npz" for name in ("ours", "probe", "peer")}
        scored = {name: ConventionScores.load(path) for name, path in files.items() if path.exists()}
        return cls(read_json(folder / "passport.json", dict[str, object]), **scored)


def score_benchmark(
    items: BenchmarkItems,
    probe: Probe,
    model: RewardModelFiles,
    weights: RuleWeights,
    dtype: str,
    peer: str,
    buckets: Sequence[int],
    tokens_per_batch: int,
    mesh: MeshSettings,
    folder: Path,
) -> BenchmarkScores:
    """Scores every response and the over-refusal probe's.

    Args:
      items: the comparisons.
      probe: its wording.
      model: the reward model.
      weights: how its heads compose.
      dtype: compute type of a checkpoint; a saved model has its own.
      peer: one of `PEERS`, by whose convention responses are scored, too; or "".
      buckets: row lengths in tokens; by default the saved model's, or `CHECKPOINT_BUCKETS`.
      tokens_per_batch: tokens that go through the model at once.
      mesh: how the devices, of all processes together, share the model.
      folder: keeps finished batches for a run that is killed.
    """
    loaded = _model(model, weights.weights, dtype, buckets, make_mesh(mesh))
    options = {"buckets": buckets, "tokens_per_batch": tokens_per_batch, "cache": folder}
    own = Convention(loaded.passport.pooling)

    def scored(name: str, way: Convention, comparisons: Sequence[Comparison]) -> ConventionScores:
        return score_by_convention(loaded, way, comparisons, label=name, **options)

    ours = scored("ours", own, items.comparisons)
    theirs = scored("peer", PEERS[peer], items.comparisons) if peer else None
    return BenchmarkScores(loaded.passport.to_dict(), ours, scored("probe", own, over_refusal_probe()), theirs)


def _model(files: RewardModelFiles, weights: str, dtype: str, buckets: Sequence[int], mesh: Mesh) -> RewardModel:
    """The model; a checkpoint without passport in this type and with these row lengths."""
    folder = files.path
    saved = (folder / PASSPORT).is_file()
    own_type = None if saved else dtype
    fetched = {"offline": files.offline, "fetch_backbone": files.fetch}
    model = RewardModel.from_pretrained(folder, dtype=own_type, mesh=mesh, **fetched)
    if weights:
        model = model.weighted(weights)
    if model.gate is None:
        _ = model.weights  # refused before anything is scored
    if saved:
        if model.passport.dtype != dtype:
            own = model.passport.dtype
            logging.info("the saved model computes in its own type, %s; dtype=%s is for checkpoints", own, dtype)
        return model
    buckets = tuple(buckets) or CHECKPOINT_BUCKETS
    passport = dataclasses.replace(model.passport, max_length=max(buckets))
    return dataclasses.replace(model, buckets=buckets, passport=passport)


class BenchmarkResults(NamedTuple):
    """What a benchmark run found.

    Attributes:
      results: scores, what differs, and what they depend on.
      official: the leaderboard's result files, by path.
    """

    results: dict[str, Any]
    official: dict[str, str]

    def save(self, folder: Path) -> None:
        """Writes results.json and official.json."""
        (folder / "results.json").write_text(json.dumps(self.results, indent=1, allow_nan=False))
        (folder / OFFICIAL).write_text(json.dumps(self.official))

    @classmethod
    def load(cls, folder: Path) -> BenchmarkResults:
        """What `save` wrote."""
        return cls(
            read_json(folder / "results.json", dict[str, object], max_bytes=1 << 30),
            read_json(folder / OFFICIAL, dict[str, str], max_bytes=1 << 30),
        )


def evaluate_benchmark(
    items: BenchmarkItems,
    scored: BenchmarkScores,
    data: BenchmarkData,
    model: RewardModelFiles,
    peer: str,
    tau: float,
    replicates: int,
    seed: int,
    official_name: str,
    reported_safety: float,
    config: Mapping[str, Any],
) -> BenchmarkResults:
    """The benchmark's own scores, the model's rules, and what a peer's convention changes.

    Args:
      items: the comparisons.
      scored: their responses' scores.
      data: the file, whose ratings measure the coverage of the model's intervals.
      model: the reward model, which has them.
      peer: whose convention they were scored by, too; or "".
      tau: temperature of the entropy weights among the methods that are compared.
      replicates: bootstrap replicates over prompts.
      seed: of the bootstrap.
      official_name: organisation/name in the leaderboard's result files.
      reported_safety: a Safety score in percent that is traced; 0 for none.
      config: the whole configuration as plain values, for the record.

    Raises:
      InputError: not one comparison could be scored.
    """
    comparisons, counts, rules = items.comparisons, items.counts, scored.passport["rules"]
    kind = counts["format"] if counts["format"] in KINDS else "pairs"
    rewards, notes = scored.ours.by_comparison(comparisons)
    kept = [i for i, reward in enumerate(rewards) if reward is not None]
    if not kept:
        first = f"{comparisons[0].id}: {'; '.join(notes[0])}"
        fix = "raise --config.buckets, or use a model whose chat template takes these conversations"
        raise InputError(f"not one comparison could be scored; the first, {first}", where=config["data"], fix=fix)
    chosen, of_chosen = [comparisons[i] for i in kept], [rewards[i] for i in kept]
    scores = benchmark_scores(kind, chosen, of_chosen, replicates=replicates, seed=seed)
    results = {
        "name": config["name"],
        **scores,
        "coverage": benchmark_coverage(data, items, scored.ours, model.path, scored.passport),
        "over_refusal": probe_results(scored.probe, rules, seed),
        "advice": benchmark_advice(comparisons, scored.ours, rules, seed),
        "methods": method_rows(
            kind, comparisons, scored.ours, rules, entropy=scored.passport.get("entropy") or (), tau=tau,
            replicates=replicates, seed=seed,
        ),
        "counts": counts | dropped(comparisons, rewards, notes),
        "passport": scored.passport,
        "peer": _compare(peer, kind, comparisons, scored, replicates) if peer else None,
        "reported": _traced(reported_safety, scores["subsets"]),
        "config": dict(config),
        "versions": versions(),
        "device": f"{jax.device_count()} x {jax.devices()[0].device_kind}",
    }  # fmt: skip
    return BenchmarkResults(results, official_files(kind, official_name, results, chosen, of_chosen))


def _traced(reported: float, subsets: Mapping[str, Mapping[str, Any]]) -> str | None:
    """Which way of computing RewardBench's Safety score a reported number comes from; None if there is none."""
    accuracy = {name: entry["score"] for name, entry in subsets.items()}
    if reported and SAFETY_COUNTS.keys() <= accuracy.keys():
        return explain_safety(accuracy, reported)[1]
    if reported:
        logging.warning("reported_safety has no effect: this is not RewardBench, whose Safety score is traced")
    return None


def _compare(
    peer: str, kind: str, comparisons: Sequence[Comparison], scored: BenchmarkScores, replicates: int
) -> dict[str, Any]:
    """The peer's scores, and every comparison on which it differs, explained."""
    ways = (scored.ours, scored.peer)
    rewards, notes = zip(*(way.by_comparison(comparisons) for way in ways), strict=True)
    known = [[i for i, reward in enumerate(of) if reward is not None] for of in rewards]
    credit = [np.full(len(comparisons), np.nan) for _ in ways]
    for column, of, kept in zip(credit, rewards, known, strict=True):
        column[kept] = judge_items(kind, [comparisons[i] for i in kept], [of[i] for i in kept]).credit
    theirs = [comparisons[i] for i in known[1]], [rewards[1][i] for i in known[1]]
    scores = benchmark_scores(kind, *theirs, replicates=replicates)
    differences = why_different(comparisons, rewards, tuple(credit), notes, tuple(way.dtype for way in ways))
    return {
        "name": peer,
        "convention": PEERS[peer]._asdict(),
        "scores": scores["scores"],
        "subsets": scores["subsets"],
        "differences": [one._asdict() for one in differences],
    }


def report_benchmark(evaluated: BenchmarkResults) -> Pages:
    """results.json, report.html, and the leaderboard's result files as one official.json."""
    pages = pages_of(evaluated.results, {"report.html": render_benchmark})
    return Pages(pages.texts | {OFFICIAL: json.dumps(evaluated.official)})


def show_benchmark(folder: Path) -> None:
    """Prints a finished report's table; the work directory gets its copies, the leaderboard's files by their paths."""
    results = publish(folder)
    for path, text in read_json(folder / OFFICIAL, dict[str, str], max_bytes=1 << 30).items():
        target = folder.parent / "official" / path
        target.parent.mkdir(parents=True, exist_ok=True)
        with atomic_path(target) as temporary:
            temporary.write_text(text, encoding="utf-8")
    print(benchmark_table(results))
    print(f"\nReport: {folder.parent / PUBLISHED[1]}")
