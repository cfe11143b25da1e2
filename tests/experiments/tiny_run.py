"""A whole experiment in miniature: rated responses, comparisons, a rule pool and a tiny random model, as files."""

from __future__ import annotations

import json
import random
from pathlib import Path

from encore_jax.recipes.baseline_config import BaselineConfig
from encore_jax.recipes.config import (
    CompositionSettings,
    DataConfig,
    EvaluateConfig,
    ExperimentConfig,
    ModelConfig,
    SemiSyntheticConfig,
    TrainConfig,
)
from encore_jax.rules import Rule, RulePool
from encore_jax.train.gating import GateSettings
from tests.experiments import tiny_model

POOL = RulePool(
    (
        Rule("violence", "The response helps with violence.", -1),
        Rule("privacy", "The response reveals private data.", -1),
        Rule("kindness", "The response is kind."),
    ),
    "tiny",
)
PROMPTS = 40
WORDS = "fire lock knife home name bank love help stop hack poem cake".split()


def write_files(folder: Path) -> Path:
    """Writes pool.yaml, rated.jsonl, pairs.jsonl and model/; the responses of every pair are among the rated ones."""
    folder.mkdir(parents=True, exist_ok=True)
    rng, rated, pairs = random.Random(0), [], []
    for i in range(PROMPTS):
        prompt = f"{i} " + " ".join(rng.choices(WORDS, k=rng.randint(1, 4)))
        answers = []
        for severity in rng.sample([0.0, 0.25, 0.5, 0.75, 1.0], 3):
            text = (
                ("Sure! " if severity > 0.5 else "I'm sorry, no. ") + " ".join(rng.choices(WORDS, k=3)) + f" {severity}"
            )
            noise = rng.choice([0.0, 0.25, 0.5, 0.75, 1.0])
            ratings = {"violence": severity, "privacy": noise, "kindness": 1 - severity if rng.random() < 0.7 else None}
            rated.append({"id": f"r{len(rated)}", "prompt": prompt, "response": text, "ratings": ratings})
            answers.append((severity, text))
        answers.sort()
        for better, worse in ((0, 1), (0, 2)):
            row = {"prompt": prompt, "chosen": answers[better][1], "rejected": answers[worse][1]}
            pairs.append(row | {"subset": "near" if worse == 1 else "far"})
    for name, rows in (("rated.jsonl", rated), ("pairs.jsonl", pairs)):
        (folder / name).write_text("".join(json.dumps(row) + "\n" for row in rows))
    POOL.to_yaml(folder / "pool.yaml")
    tiny_model.write(folder / "model")
    return folder


def config(files: Path, judges: int = 0, **data) -> ExperimentConfig:
    """A configuration that reads `files` and takes seconds."""
    return ExperimentConfig(
        name="tiny",
        data=DataConfig(
            source="files",
            pool=str(files / "pool.yaml"),
            path=str(files / "pairs.jsonl"),
            ratings_path=str(files / "rated.jsonl"),
            ratings_format="encore",
            **data,
        ),
        model=ModelConfig(path=str(files / "model"), buckets=(128, 256), tokens_per_batch=512),
        train=TrainConfig(folds=3, alphas=(1.0, 100.0)),
        semi_synthetic=SemiSyntheticConfig(judges=judges, draws=4),
        baselines=BaselineConfig(gate=GateSettings(width=8, steps=4), penalties=(0.1, 1.0)),
        compose=CompositionSettings(draws=8, levels=5),
        evaluate=EvaluateConfig(replicates=128),
    )


def write_config(files: Path) -> Path:
    """The same as a file for ``--config``."""
    path = files / "tiny_config.py"
    path.write_text(
        "from pathlib import Path\n\nfrom tests.experiments import tiny_run\n\n\n"
        f"def get_config():\n    return tiny_run.config(Path({str(files)!r}))\n"
    )
    return path
