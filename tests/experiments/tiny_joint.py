"""Joint training in miniature, on the files of `tiny_run`: half of the responses rated, two domains."""

from __future__ import annotations

import json
import random
from pathlib import Path

from encore_jax.recipes.config import TrainConfig
from encore_jax.recipes.joint_config import JointConfig, JointTrainConfig
from encore_jax.recipes.run_config import validated
from tests.experiments import tiny_run


def write_files(folder: Path) -> Path:
    """Half of the rated responses are left out, so that some comparisons have no ratings; one more is only rated."""
    tiny_run.write_files(folder)
    lines = (folder / "rated.jsonl").read_text().splitlines()
    alone = {"prompt": "only rated", "response": "Never compared.", "ratings": {"violence": 0.0, "kindness": 1.0}}
    kept = random.Random(1).sample(lines, len(lines) // 2)
    (folder / "rated.jsonl").write_text("\n".join([*kept, json.dumps(alone | {"subset": "near"})]) + "\n")
    return folder


def config(files: Path, **changes) -> JointConfig:
    """Three arms, trained on domain "near" alone; changes are fields of the training, or of the configuration."""
    usual = tiny_run.config(files)
    train = dict(trainable="all", rows=8, length=256, lr=3e-3, epochs=2, watch=0, keep_best="", remat="none",
                 train_on=("near",))  # fmt: skip
    given = {name: changes.pop(name) for name in list(changes) if hasattr(TrainConfig(), name) or name == "train_on"}
    return validated(JointConfig(
        name="tiny", data=usual.data, model=usual.model, train=JointTrainConfig(**(train | given)),
        compose=usual.compose, evaluate=usual.evaluate, **({"domain": "subset"} | changes),
    ))  # fmt: skip
