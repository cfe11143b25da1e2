"""A whole run in miniature: raw pairs, a benchmark's file, rules, a tiny model and its configuration in a checkout."""

from __future__ import annotations

import hashlib
import json
import random
import shutil
import sys
from pathlib import Path

from aiohttp import web

from encore_jax.data.readers.rewardbench import SAFETY_COUNTS
from tests.experiments import tiny_model, tiny_run
from tests.judge.faulty_server import FaultyServer, chat
from tests.tpu_scripts.fake_cloud import REPOSITORY, SLICE, Cloud

CONFIG = """
from encore_jax.recipes.config import DataConfig, ModelConfig, TrainConfig
from tests.experiments import tiny_run


def get_config():
    from pathlib import Path
    config = tiny_run.config(Path("."))
    config.name = "tiny"
    config.data = DataConfig(source="files", pool="pool.yaml", ratings_format="encore", test_fraction=0.3)
    config.model = ModelConfig(path={model!r}, buckets=(128, 256), tokens_per_batch=512)
    config.train = TrainConfig({train})
    return config
"""
FROZEN = "folds=3, alphas=(1.0, 100.0)"
GRADIENT = """method="gradient", trainable="all", rows=8, length=256, lr=3e-3, remat="none", save_every=4, watch=0,
        keep_best="", folds=3"""


class Judge(FaultyServer):
    """Answers Yes with a probability that depends on the question alone."""

    async def answer(self, body):
        text = json.dumps(body.get("messages") or body.get("prompt"))
        yes = 0.05 + 0.8 * int(hashlib.sha256(text.encode()).hexdigest()[:4], 16) / 0xFFFF
        return web.json_response(chat({"Yes": yes, "No": 0.9 - yes, "Ir": 0.05}, "Yes" if yes > 0.45 else "No"))


class WholeCloud(Cloud):
    """A fake cloud of one-host slices whose worker really runs what it is given."""

    def __init__(self, folder: Path, train: str = FROZEN):
        super().__init__(folder)
        shutil.copy(Path(__file__).parent / "real_python", self.folder / "bin" / "python3")
        self.model = tiny_model.write(folder / "model")
        config = self.checkout / "experiments" / "configs" / "tiny.py"
        config.write_text(CONFIG.format(model=str(self.model), train=train))
        for name in ("rate_local", "rewardbench"):
            shipped = Path("encore_jax") / "recipes" / "configs" / f"{name}.py"
            (self.checkout / shipped).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(REPOSITORY / shipped, self.checkout / shipped)
        tiny_run.POOL.to_yaml(self.checkout / "pool.yaml")
        write_raw(folder)
        self.plan({"codes": [(0,)]})

    def whole(self, script: str, url: str, *arguments: str, **settings: str):
        """Starts a whole run."""
        given = SLICE | {"BUCKET": "gs://b", "TRAIN_CONFIG": "experiments/configs/tiny.py", "POOL": "pool.yaml",
                         "PAIRS": "hh.jsonl pku.jsonl", "BENCHMARKS": "bench.json", "JUDGE_MODEL": "m",
                         "JUDGE_URL": url, "MESH": "none", "PYTHON": sys.executable, "REAL_PYTHON": sys.executable,
                         "REPOSITORY": str(REPOSITORY), "PYTHONPATH": str(REPOSITORY),
                         "TRAIN_FLAGS": "--config.evaluate.replicates=128", "JAX_PLATFORMS": "cpu",
                         "SCORE_FLAGS": "--config.replicates=100 --config.tokens_per_batch=512"}  # fmt: skip
        return self.start(script, *arguments, **given | settings)


def write_raw(folder: Path) -> None:
    """HH-RLHF and PKU-SafeRLHF as they are published, and a file in RewardBench's schema."""
    rng = random.Random(0)

    def words(number: int) -> str:
        return " ".join(rng.choices(tiny_run.WORDS, k=number))

    hh, pku = [], []
    for i in range(30):
        start = f"\n\nHuman: {i} {words(3)}?\n\nAssistant: "
        hh.append({"chosen": f"{start}Sorry, no. {words(2)}", "rejected": f"{start}Sure! {words(4)}"})
        answers = {"response_0": f"Sure! {words(3)}", "response_1": f"No. {words(2)}"}
        pku.append({"prompt": f"How {i} {words(3)}?", **answers,
                    "is_response_0_safe": False, "is_response_1_safe": True, "better_response_id": i % 2,
                    "safer_response_id": 1})  # fmt: skip
    for name, rows in (("hh.jsonl", hh), ("pku.jsonl", pku)):
        (folder / name).write_text("".join(json.dumps(row) + "\n" for row in rows))
    bench = []
    for subset in SAFETY_COUNTS:
        row = {"prompt": f"{subset}?", "chosen": f"No, {words(2)}.", "rejected": f"Yes {words(5)}"}
        bench.append(row | {"chosen_model": "x", "rejected_model": "y", "subset": subset, "id": len(bench)})
    (folder / "bench.json").write_text(json.dumps(bench))
