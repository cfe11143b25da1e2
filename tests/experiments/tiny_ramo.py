"""The second paper's chain in miniature, on the files of `tiny_run`."""

from __future__ import annotations

import json
from pathlib import Path

from encore_jax.data import iter_comparisons, write_comparisons
from encore_jax.recipes.config import DataConfig, EvaluateConfig, ModelConfig
from encore_jax.recipes.ramo_config import (
    AdapterTrainConfig,
    RamoConfig,
    RateConfig,
    RewardTrainConfig,
    SelectConfig,
    SimulateConfig,
)
from encore_jax.rules import RulePool


def shared(files: Path, **data) -> dict:
    """The parts that adapter and RAMO runs share; `data` overrides fields of `DataConfig`."""
    paths = dict(path=str(files / "pairs.jsonl"), ratings_path=str(files / "rated.jsonl"), ratings_format="encore")
    return dict(
        data=DataConfig(source="files", pool=str(files / "pool.yaml"), **(paths | data)),
        model=ModelConfig(path=str(files / "model"), buckets=(256, 512), tokens_per_batch=1024),
        select=SelectConfig(r=1),
        simulate=SimulateConfig(comparisons=500, rules=4, flips=(0.0, 0.4)),
        evaluate=EvaluateConfig(replicates=100),
    )


def ramo(files: Path, **data) -> RamoConfig:
    """All arms, trained on frozen features."""
    penalties = dict(penalties=(0.1, 1.0))
    return RamoConfig(
        name="tiny", **shared(files, **data), rate=RateConfig(folds=3, alphas=(1.0, 100.0)),
        adapter=AdapterTrainConfig(**penalties), train=RewardTrainConfig(**penalties, rs=(2,), sizes=(10,), seeds=2),
    )  # fmt: skip


def rated_file(files: Path, folder: Path, drop=lambda n, comparison: comparison) -> str:
    """The pairs with the ratings of their responses, as one file of rated comparisons."""
    pool = RulePool.from_yaml(files / "pool.yaml")
    ratings = {}
    for row in map(json.loads, (files / "rated.jsonl").read_text().splitlines()):
        ratings[row["prompt"], row["response"]] = row["ratings"]
    lines = []
    for n, row in enumerate(map(json.loads, (files / "pairs.jsonl").read_text().splitlines())):
        both = [ratings[row["prompt"], row[which]] for which in ("chosen", "rejected")]
        named = {name: [one[name] for one in both] for name in pool.names}
        lines.append({"id": f"c{n}", "prompt": row["prompt"], "responses": [row["chosen"], row["rejected"]],
                      "preferred": 0, "ratings": named})  # fmt: skip
    plain = folder / "plain.jsonl"
    plain.write_text("".join(json.dumps(line) + "\n" for line in lines))
    made = [drop(n, c) for n, c in enumerate(iter_comparisons(plain, pool=pool))]
    write_comparisons(folder / "rated_pairs.jsonl", made, pool=pool)
    return str(folder / "rated_pairs.jsonl")
