"""The stages of a benchmark run: ingest, score, evaluate, report."""

from __future__ import annotations

import dataclasses
import functools
import json
from collections.abc import Sequence
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from absl import logging

from encore_jax.composition.ties import settled
from encore_jax.data import Comparison, SkipCounter, iter_comparisons, locate, read_comparisons, write_comparisons
from encore_jax.data.atomic import atomic_path
from encore_jax.data.digest import folder_sha256
from encore_jax.data.distinct import on_distinct_rows
from encore_jax.data.probes import over_refusal_probe
from encore_jax.data.rated_comparisons import RatedComparisons
from encore_jax.data.rated_comparisons.descriptions import read_metadata
from encore_jax.data.readers import recognise
from encore_jax.errors import InputError
from encore_jax.evaluation.benchmark import KINDS, benchmark_scores, judge_items, official_files
from encore_jax.evaluation.conventions import PEERS, Convention, Laid, lay, why_different
from encore_jax.evaluation.rewardbench import SAFETY_COUNTS, explain_safety
from encore_jax.model.gating import gate_weights
from encore_jax.progress import track
from encore_jax.recipes.benchmark_config import BenchmarkConfig
from encore_jax.recipes.config import to_dict
from encore_jax.recipes.manifest import file_sha256, versions
from encore_jax.recipes.reward_model_files import reward_model_hashes
from encore_jax.recipes.stages.benchmark_counts import dropped
from encore_jax.recipes.stages.benchmark_rules import benchmark_advice, method_rows, probe_results
from encore_jax.report.benchmark_report import benchmark_table, render_benchmark
from encore_jax.reward.gate_position import gate_position, generation_prompt
from encore_jax.reward.reward_model import PASSPORT, RewardModel
from encore_jax.reward.scorer import Scored
from encore_jax.train.features import extract_features

PUBLISHED = ("results.json", "report.html")
OFFICIAL = "official.json"
"""The leaderboard's result files, by path."""
CHECKPOINT_BUCKETS = (512, 1024, 2048)
"""Row lengths for a checkpoint, unless the configuration names some."""


PREPARED = "prepared"
"""Format of a folder that `encore_jax.data.rated_comparisons` prepared."""


def data_file(config: BenchmarkConfig) -> tuple[Path, str]:
    """The data, fetched if need be, and their SHA-256, of a prepared data set over all its files."""
    revision = {"revision": config.revision} if config.revision else {}
    path = locate(config.data, offline=config.offline, **revision)
    if path.is_dir():
        read_metadata(path)  # says what is wrong with a folder that is no data set
        return path, folder_sha256(path)
    return path, file_sha256(path)


def model_hashes(config: BenchmarkConfig) -> dict[str, str]:
    """Of the model's files; weights that were given are there as they are, those of a file by its hash."""
    given = config.weights
    weights = file_sha256(Path(given)) if given.endswith(".json") and Path(given).is_file() else given
    hashes = reward_model_hashes(config.model, offline=config.offline, fetch=config.fetch_backbone)
    return hashes | ({"weights": weights} if given else {})


def _model(config: BenchmarkConfig) -> RewardModel:
    """The model; a checkpoint without passport in the configuration's type and row lengths."""
    folder = locate(config.model, offline=config.offline)
    saved = (folder / PASSPORT).is_file()
    model = RewardModel.from_pretrained(
        folder,
        dtype=None if saved else config.dtype,
        offline=config.offline,
        fetch_backbone=config.fetch_backbone,
    )
    if config.weights:
        model = model.weighted(config.weights)
    if model.gate is None:
        _ = model.weights  # refused before anything is scored
    if saved:
        if model.passport.dtype != config.dtype:
            own, given = model.passport.dtype, config.dtype
            logging.info("the saved model computes in its own type, %s; dtype=%s is for checkpoints", own, given)
        return model
    buckets = config.buckets or CHECKPOINT_BUCKETS
    passport = dataclasses.replace(model.passport, max_length=max(buckets))
    return dataclasses.replace(model, buckets=tuple(buckets), passport=passport)


def ingest(config: BenchmarkConfig, folder: Path) -> None:
    """Writes comparisons.jsonl and counts.json."""
    path, digest = data_file(config)
    format, skips = config.format, SkipCounter()
    if path.is_dir():
        comparisons = [
            dataclasses.replace(one, rules=(), ratings=None, mask=None)
            for split in read_metadata(path)["comparisons"]
            for one in RatedComparisons(path, split)
        ]
        format, skips.kept = PREPARED if format == "auto" else format, len(comparisons)
    else:
        format = recognise(path) if format == "auto" else format
        options = {"ratings": False} if format == "encore" else {}
        comparisons = list(read_comparisons(path, format, skips=skips, **options))
    if config.limit:
        left_out = f"left out by limit={config.limit}, which takes the first (0 takes all)"
        skips.leave_out(left_out, max(0, len(comparisons) - config.limit), path.name)
        comparisons = comparisons[: config.limit]
    write_comparisons(folder / "comparisons.jsonl", comparisons)
    counts = {
        "format": format,
        "sha256": digest,
        "revision": config.revision,
        "rows": str(skips),
        "skipped": skips.reasons,
        "fields_not_read": skips.unread,
        "comparisons": len(comparisons),
    }
    logging.info("%s: %s", path.name, skips)
    (folder / "counts.json").write_text(json.dumps(counts, indent=1))


def score(config: BenchmarkConfig, ingested: Path, folder: Path) -> None:
    """Writes scores-ours.npz, scores-peer.npz if there is a peer, scores-probe.npz (over-refusal), passport.json."""
    comparisons = list(iter_comparisons(ingested / "comparisons.jsonl"))
    model = _model(config)
    (folder / "passport.json").write_text(json.dumps(model.passport.to_dict(), indent=1))
    ways = {"ours": Convention(model.passport.pooling)}
    if config.peer:
        ways["peer"] = PEERS[config.peer]
    for name, way in ways.items():
        _score_by(config, model, way, comparisons, folder, name)
    _score_by(config, model, ways["ours"], over_refusal_probe(), folder, "probe")


def _score_by(
    config: BenchmarkConfig,
    model: RewardModel,
    way: Convention,
    comparisons: Sequence[Comparison],
    folder: Path,
    name: str,
) -> None:
    """Scores ``[T, K]`` (NaN: dropped) and rewards ``[T]`` of all responses in turn, with notes on their tokens."""
    buckets, dtype = config.buckets or model.buckets, way.dtype or model.passport.dtype
    texts = [(c.prompt, response) for c in comparisons for response in c.responses]
    pad_id = model.tokenizer.pad_token_id
    laid = [lay(model.tokenizer, way, prompt, text, max(buckets), pad_id) for prompt, text in texts]
    pattern = () if model.gate is None else generation_prompt(model.tokenizer)
    if pattern:
        laid = [_with_answer(one, pattern) for one in laid]
    kept = [i for i, one in enumerate(laid) if one.tokens is not None]

    def features(sequences, label: str) -> np.ndarray:
        return extract_features(
            model.cfg, model.params, [texts[i] for i in kept], sequences, dtype=jnp.dtype(dtype), buckets=buckets,
            tokens_per_batch=config.tokens_per_batch, cache=folder / f"batches-{label}",
            track=functools.partial(track, label=label, size=lambda batch: batch.tokens.size),
        )[0]  # fmt: skip

    scores = np.full((len(texts), len(model.rules)), np.nan, np.float32)
    found = features([laid[i].tokens for i in kept], name)
    scores[kept] = on_distinct_rows(lambda rows: rows @ model.kernel + model.bias, found)
    if pattern:
        asked = [laid[i].tokens[: gate_position(laid[i].tokens, pattern) + 1] for i in kept]
        weights, asked = np.zeros_like(scores), features(asked, f"{name}-gate")
        weights[kept] = on_distinct_rows(lambda rows: np.asarray(gate_weights(jnp.asarray(rows), model.gate)), asked)
    else:
        weights = np.broadcast_to(model.weights, scores.shape)
    rewards, tolerances = Scored(scores, weights).rewards, Scored(scores, weights).tolerances
    if way.dtype:  # the peer's head and reward are of its compute type; its rounding is what ties
        rewards = np.asarray(jnp.asarray(rewards).astype(way.dtype).astype(jnp.float32))
        tolerances = np.zeros_like(rewards)
    np.savez(
        folder / f"scores-{name}.npz", scores=scores, rewards=rewards, tolerances=tolerances, dtype=np.array(dtype),
        notes=np.array([json.dumps(one.notes) for one in laid], dtype=str),
    )  # fmt: skip
    logging.info("%s: %d of %d responses scored", name, len(kept), len(texts))


def _with_answer(one: Laid, pattern: Sequence[int]) -> Laid:
    """The same, but dropped if the gate would find no answer in what a convention has left of it."""
    if one.tokens is not None:
        try:
            gate_position(one.tokens, pattern)
        except InputError as error:
            return Laid(None, (*one.notes, f"dropped: {error.problem}"))
    return one


def _load(folder: Path, name: str, comparisons: list[Comparison]):
    """Rewards by comparison (None if any response was dropped), notes by comparison, compute type."""
    with np.load(folder / f"scores-{name}.npz") as stored:
        flat, notes, dtype = stored["rewards"], [json.loads(str(n)) for n in stored["notes"]], str(stored["dtype"])
        slack = stored["tolerances"]
    rewards, said, start = [], [], 0
    for comparison in comparisons:
        rows = range(start, start + len(comparison.responses))
        values = flat[rows.start : rows.stop]
        rewards.append(None if np.isnan(values).any() else settled(values, slack[rows.start : rows.stop]))
        said.append([f"response {n}: {note}" for n, i in enumerate(rows, 1) for note in notes[i]])
        start = rows.stop
    return rewards, said, dtype


def evaluate(config: BenchmarkConfig, ingested: Path, scored: Path, folder: Path) -> None:
    """Writes results.json, and the leaderboard's result files as one official.json."""
    comparisons = list(iter_comparisons(ingested / "comparisons.jsonl"))
    counts = json.loads((ingested / "counts.json").read_text())
    kind = counts["format"] if counts["format"] in KINDS else "pairs"
    ours, notes, dtype = _load(scored, "ours", comparisons)
    kept = [(c, r) for c, r in zip(comparisons, ours, strict=True) if r is not None]
    chosen, rewards = [c for c, _ in kept], [r for _, r in kept]
    if not kept:
        first = f"{comparisons[0].id}: {'; '.join(notes[0])}"
        fix = "raise --config.buckets, or use a model whose chat template takes these conversations"
        raise InputError(f"not one comparison could be scored; the first, {first}", where=config.data, fix=fix)
    results = {
        "name": config.name,
        **benchmark_scores(kind, chosen, rewards, replicates=config.replicates, seed=config.seed),
        "over_refusal": probe_results(config, scored),
        "advice": benchmark_advice(config, comparisons, scored),
        "methods": method_rows(config, kind, chosen, scored),
        "counts": counts | dropped(comparisons, ours, notes),
        "passport": json.loads((scored / "passport.json").read_text()),
        "peer": None,
        "reported": None,
        "config": to_dict(config),
        "versions": versions(),
        "device": f"{jax.device_count()} x {jax.devices()[0].device_kind}",
    }
    accuracy = {name: entry["score"] for name, entry in results["subsets"].items()}
    if config.reported_safety and SAFETY_COUNTS.keys() <= accuracy.keys():
        results["reported"] = explain_safety(accuracy, config.reported_safety)[1]
    elif config.reported_safety:
        logging.warning("reported_safety has no effect: this is not RewardBench, whose Safety score is traced")
    if config.peer:
        results["peer"] = _compare(config, kind, comparisons, (ours, notes, dtype), _load(scored, "peer", comparisons))
    (folder / "results.json").write_text(json.dumps(results, indent=1, allow_nan=False))
    name = config.official_name or f"encore_jax/{config.name}"
    (folder / OFFICIAL).write_text(json.dumps(official_files(kind, name, results, chosen, rewards)))


def _compare(config: BenchmarkConfig, kind: str, comparisons, ours, theirs) -> dict:
    """The peer's scores, and every comparison on which it differs, explained."""
    kept = [i for i, reward in enumerate(theirs[0]) if reward is not None]
    scores = benchmark_scores(
        kind, [comparisons[i] for i in kept], [theirs[0][i] for i in kept], replicates=config.replicates
    )
    credit = []
    for rewards, _, _ in (ours, theirs):
        known = [i for i, reward in enumerate(rewards) if reward is not None]
        column = np.full(len(comparisons), np.nan)
        column[known] = judge_items(kind, [comparisons[i] for i in known], [rewards[i] for i in known]).credit
        credit.append(column)
    differences = why_different(
        comparisons, (ours[0], theirs[0]), tuple(credit), (ours[1], theirs[1]), (ours[2], theirs[2])
    )
    return {
        "name": config.peer,
        "convention": PEERS[config.peer]._asdict(),
        "scores": scores["scores"],
        "subsets": scores["subsets"],
        "differences": [one._asdict() for one in differences],
    }


def report(evaluated: Path, folder: Path) -> None:
    """Writes report.html and the result files into the work directory, and shows the table."""
    results = json.loads((evaluated / "results.json").read_text())
    for name in ("results.json", OFFICIAL):
        (folder / name).write_bytes((evaluated / name).read_bytes())
    with atomic_path(folder / "report.html") as temporary:
        temporary.write_text(render_benchmark(results), encoding="utf-8")
    show(folder)


def show(folder: Path) -> None:
    """Prints a finished report's table; the work directory gets its copies, the leaderboard's files by their paths."""
    copies = {name: (folder / name).read_text(encoding="utf-8") for name in PUBLISHED}
    copies |= {f"official/{path}": text for path, text in json.loads((folder / OFFICIAL).read_text()).items()}
    for name, text in copies.items():
        target = folder.parent / name
        target.parent.mkdir(parents=True, exist_ok=True)
        with atomic_path(target) as temporary:
            temporary.write_text(text, encoding="utf-8")
    print(benchmark_table(json.loads((folder / "results.json").read_text())))
    print(f"\nReport: {folder.parent / 'report.html'}")
