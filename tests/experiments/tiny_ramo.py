"""The second paper's chain in miniature, on the files of `tiny_run`."""

from __future__ import annotations

from pathlib import Path

from encore_jax.recipes.config import DataConfig, EvaluateConfig, ModelConfig
from encore_jax.recipes.ramo_config import (
    AdapterTrainConfig,
    RamoConfig,
    RateConfig,
    RewardTrainConfig,
    SelectConfig,
    SimulateConfig,
)


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
