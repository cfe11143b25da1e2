"""What commands keep for themselves between two starts: data sets, sweeps, metrics, locks, parts, checkpoints."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np

from tests.fuzz.mutate_bytes import as_json_lines, mutate_bytes, mutate_lines, mutate_zip
from tests.fuzz.mutate_json import mutate_json, mutate_text
from tests.fuzz.mutate_parquet import mutate_parquet
from tests.fuzz.target import Target, each

FIXTURES = Path(__file__).parents[1] / "fixtures"
PREPARED, SHARD = "rated_comparisons", "rated_comparisons-train.array_record-00000-of-00001"
DESCRIPTIONS = ("metadata.json", "dataset_info.json", "features.json")


def _rules():
    from encore_jax.rules import Rule, RulePool

    return RulePool([Rule("kind", "The response is kind."), Rule("rude", "It is rude.", -1)])


def _prepared(folder: Path) -> None:
    """Comparisons, some of them with ratings."""
    from encore_jax.data import write_comparisons
    from encore_jax.data.comparison import Comparison, Message
    from encore_jax.data.rated_comparisons import prepare
    from tests.data.prepared import whole

    pool = _rules()
    ratings = {"rules": tuple(pool.names), "ratings": np.eye(2, dtype=np.float32), "mask": np.ones((2, 2), bool)}
    rows = [
        Comparison((Message("user", f"Q{i}"),), ("A.", "B."), i % 2, id=f"c{i}", **(ratings if i % 3 else {}))
        for i in range(6)
    ]
    write_comparisons(folder / "rows.jsonl", rows, pool=pool)
    builder = prepare(whole(str(folder / "rows.jsonl"), pool=pool), folder / "made")
    Path(builder.data_dir).rename(folder / PREPARED)


def _load_prepared(folder: Path):
    from encore_jax.data.rated_comparisons import RatedComparisons

    return list(RatedComparisons(folder / PREPARED, "train"))


def _sweep(folder: Path) -> None:
    cells = {"a": {"overrides": {"seed": "1"}, "digest": "d", "status": "done", "exit_code": 0, "seconds": 1.5}}
    (folder / "sweep.json").write_text(json.dumps({"config": "quickstart", "cells": cells}))
    accuracy = {"value": 0.75, "low": 0.5, "high": 0.875}
    methods = [{"name": "ENCORE", "accuracy": accuracy}, {"name": "uniform", "accuracy": accuracy}]
    results = {"views": [{"name": "human", "label": "human-rated", "methods": methods}], "seed": 1}
    (folder / "a").mkdir()
    (folder / "a/results.json").write_text(json.dumps(results))
    (folder / "a/run.log").write_text("begun\nended\n")


def _load_sweep(folder: Path):
    from encore_jax.cli.sweep import write_table
    from encore_jax.cli.sweep_runs import Cell, State, _last_lines

    cell = Cell("a", {"seed": "1"}, (), "d")
    return each(
        lambda: write_table(folder, [cell], State(folder, "quickstart"), None),
        lambda: _last_lines(folder / "a/run.log", 3),
    )


def _metrics(folder: Path) -> None:
    (folder / "metrics.jsonl").write_bytes(as_json_lines([{"step": i, "loss": 1 / (i + 1)} for i in range(5)]))
    (folder / "first_start").write_text("1764500000.5")


def _load_metrics(folder: Path):
    """As a run that goes on."""
    import math

    from encore_jax.train.metrics import MetricsLog, first_start, read_metrics

    assert math.isfinite(first_start(folder))
    log = MetricsLog(folder)
    try:
        log(3, {"loss": 0.5})
    finally:
        log.close()
    return read_metrics(folder / "metrics.jsonl")


def _lock(folder: Path) -> None:
    from encore_jax.data.lock import folder_lock

    with folder_lock(folder):
        content = (folder / ".lock").read_bytes()
    (folder / ".lock").write_bytes(content)


def _load_lock(folder: Path):
    from encore_jax.data.lock import folder_lock, reader_lock

    with reader_lock(folder):
        pass
    with folder_lock(folder):
        return True


def _scored_parts(folder: Path):
    from encore_jax.cli.score_parts import Parts
    from encore_jax.cli.score_table import schema_of

    return Parts(folder / "scores.parquet", {"input": "x", "model": "y"}, schema_of(("kind", "rude"), False))


def _parts(folder: Path) -> None:
    import pyarrow as pa

    from encore_jax.cli.score_table import schema_of

    parts = _scored_parts(folder)
    parts.claim()
    row = {"rewards": [0.5, None], "best": 0, "first_place": [0], "preferred": 0, "tokens": [3, 4], "reason": "long"}
    row |= {"score:kind": [0.5, None], "score:rude": [0.5, None], "hidden": None}
    for number in range(2):
        rows = [{"id": f"r{number}{i}", **row} for i in range(3)]
        parts.write(number, pa.Table.from_pylist(rows, schema_of(("kind", "rude"), False)))


def _load_parts(folder: Path):
    from encore_jax.cli.score_parts import metadata
    from encore_jax.cli.score_summary import summary

    parts, output = _scored_parts(folder), folder / "scores.parquet"
    if not parts.is_complete():
        parts.claim()
        parts.merge([3, 3])
        parts.remove()
    return each(lambda: metadata(output), lambda: summary(output, 6), lambda: parts.is_complete())


def _scored(folder: Path) -> None:
    _parts(folder)
    _load_parts(folder)


def _answers(folder: Path) -> None:
    _load_answers(folder)


def _load_answers(folder: Path):
    from encore_jax.cli.judge_agreement import ask
    from encore_jax.data.comparison import Message, RatedResponse
    from encore_jax.judge.question import Answer, Identity, Status

    class Judge:
        identity = Identity("local", "fake", "p" * 64, scale=(-1.0, 1.0))

        def answers(self, questions):
            return ((question, Answer(Status.OK, 0.5, 1.0)) for question in questions)

    prompt, pool = (Message("user", "Hi"),), _rules()
    shape = {"rules": tuple(pool.names), "ratings": np.zeros(2, np.float32), "mask": np.ones(2, bool)}
    records = [RatedResponse(prompt, f"A{i}", id=f"r{i}", **shape) for i in range(3)]
    return ask(Judge(), records, pool, folder / "answers.jsonl")


def _predictions(folder: Path) -> None:
    from encore_jax.recipes.stages.predicted_rules import PREDICTIONS, SAID

    said = {"passport": {"pool_sha256": _rules().digest, "rules": list(_rules().names)}, "counts": {"training": 3}}
    (folder / SAID).write_text(json.dumps(said))
    arrays = {"digests": np.array(["ab", "cd", "ef"]), "probability": np.full((2, 3, 2), 0.5, np.float32)}
    arrays |= {"trained": np.ones(3, bool), "critical": np.ones((3, 2), bool), "train_share": np.ones(2, np.float32)}
    np.savez(folder / PREDICTIONS, **arrays)


def _load_predictions(folder: Path):
    from encore_jax.recipes.stages.predicted_rules import read_predictions

    return read_predictions(folder, _rules())


def _features(folder: Path) -> None:
    from encore_jax.train.features import _save

    _save(folder / "00000-0.f32", np.ones((2, 3), np.float32))


def _load_features(folder: Path):
    from encore_jax.train.features import _load

    return _load(folder / "00000-0.f32", (2, 3))


def _state():
    import jax.numpy as jnp

    from encore_jax.train.state import TrainState

    return TrainState(jnp.int32(3), {"w": jnp.ones((2, 3))}, {"m": jnp.zeros((2, 3))}, {})


def _checkpoints(folder: Path):
    from encore_jax.train.checkpoint import Checkpoints

    return Checkpoints(folder / "checkpoints", {"seed": 1}, best="loss")


def _checkpoint(folder: Path) -> None:
    with _checkpoints(folder) as checkpoints:
        checkpoints.save(_state(), {"epoch": 1}, {"loss": 0.5})


def _load_checkpoint(folder: Path):
    import jax

    state = _state()
    like = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=x.sharding), state.trainable)
    with _checkpoints(folder) as checkpoints:
        return each(
            lambda: checkpoints.restore_trainable(like, 3, {"seed": 1}),
            lambda: checkpoints.restore(state),
            lambda: checkpoints.best_step,
        )


def _wheel(folder: Path) -> None:
    from tests.fuzz.data_targets import write_pyrit

    write_pyrit(folder)
    _load_wheel(folder)


def _load_wheel(folder: Path):
    from encore_jax.data.wheels import member

    name = "pyrit/datasets/scorer_evals/harm/violence.csv"
    return member(folder / "pyrit.whl", name, cache=folder / "cache").read_bytes()


def _work_folder(folder: Path) -> None:
    from encore_jax.cli.aot import OUTPUT
    from encore_jax.data.digest import file_sha256
    from encore_jax.recipes.config import ExperimentConfig
    from encore_jax.recipes.run_config import to_dict
    from encore_jax.recipes.workdir import CONFIG, MARK

    (folder / MARK).write_text(json.dumps({"kind": "train"}))
    (folder / CONFIG).write_text(json.dumps(to_dict(ExperimentConfig())))
    (folder / OUTPUT).write_text(json.dumps({"per_chip_gib": {"total": 1.5}, "slice": "v5e:2x2"}))
    (folder / "read").mkdir()
    (folder / "read" / "output").write_text("data")
    (folder / "read" / "inputs.json").write_text(json.dumps({"arguments": {"source": file_sha256(folder / MARK)}}))


def _read(source) -> None:
    """Stands for a stage."""


def _check_inputs(folder: Path) -> None:
    from encore_jax.recipes.config import ExperimentConfig
    from encore_jax.recipes.inputs_held import check_inputs
    from encore_jax.recipes.outside import OneFile
    from encore_jax.recipes.plan import Plan
    from encore_jax.recipes.workdir import CONFIG, MARK

    config, plan, moved = ExperimentConfig(), Plan(folder), OneFile(str(folder / MARK))
    config.data.path, moved.reads = moved.uri, ("data.path",)
    plan("read", _read, moved)
    check_inputs(config, plan, folder / CONFIG)


def _load_work_folder(folder: Path):
    from encore_jax.cli.aot import OUTPUT, _is_ours
    from encore_jax.cli.finished_run import read_config
    from encore_jax.data.manifest import kind_of_run
    from encore_jax.recipes.workdir import CONFIG

    _check_inputs(folder)
    return kind_of_run(folder), _is_ours(folder / OUTPUT), dataclasses.asdict(read_config(folder / CONFIG))


STORED_TARGETS = {
    "prepared": Target(
        _prepared,
        {f"{PREPARED}/{name}": mutate_json for name in DESCRIPTIONS} | {f"{PREPARED}/{SHARD}": mutate_bytes},
        _load_prepared,
    ),
    "sweep": Target(_sweep, {"sweep.json": mutate_json, "a/results.json": mutate_json, "a/run.log": mutate_text},
                    _load_sweep),
    "metrics": Target(_metrics, {"metrics.jsonl": mutate_lines, "first_start": mutate_bytes}, _load_metrics),
    "lock": Target(_lock, {".lock": mutate_json}, _load_lock),
    "parts": Target(
        _parts,
        {"scores.parquet.parts/run.json": mutate_json, "scores.parquet.parts/000001.parquet": mutate_parquet},
        _load_parts,
    ),
    "scored": Target(_scored, {"scores.parquet": mutate_parquet}, _load_parts),
    "answers": Target(_answers, {"answers.jsonl": mutate_lines}, _load_answers),
    "predictions": Target(
        _predictions, {"adapter.json": mutate_json, "predictions.npz": mutate_zip}, _load_predictions
    ),
    "features": Target(_features, {"00000-0.f32": mutate_bytes}, _load_features),
    "checkpoint": Target(
        _checkpoint,
        {"checkpoints/best.json": mutate_json, "checkpoints/3/passport/metadata": mutate_json,
         "checkpoints/3/iterator/metadata": mutate_json, "checkpoints/3/state/_METADATA": mutate_json,
         "checkpoints/3/_CHECKPOINT_METADATA": mutate_json, "checkpoints/3/state/manifest.ocdbt": mutate_bytes},
        _load_checkpoint,
    ),
    "wheel": Target(_wheel, {"pyrit.whl": mutate_zip}, _load_wheel),
    "work folder": Target(
        _work_folder,
        dict.fromkeys((".encore_jax.json", "config.json", "aot.json", "read/inputs.json"), mutate_json),
        _load_work_folder,
    ),
}  # fmt: skip
