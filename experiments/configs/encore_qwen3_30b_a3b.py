"""ENCORE on a mixture of experts: ten rule heads and low-rank updates of attention on Qwen3-30B-A3B, the rest frozen.

Command:   python -m experiments.run --config=experiments/configs/encore_qwen3_30b_a3b.py --multihost=auto \\
             --config.data.path=pairs.jsonl --config.data.ratings_path=rated.jsonl --config.train.checkpoints=gs://BUCKET/moe
Check:     python -m experiments.run --config=experiments/configs/encore_qwen3_30b_a3b.py --aot=v5p:16   (on any laptop)
Data:      as `encore_llama31_8b`
Hardware:  TPU v5p with 16 chips
Memory:    61 GB of frozen bfloat16 weights split over all chips, the 128 experts of a layer over 4 of them
"""

from encore_jax.parallel.mesh import MeshSettings
from encore_jax.recipes.config import DataConfig, ExperimentConfig, ModelConfig, SemiSyntheticConfig, TrainConfig


def get_config() -> ExperimentConfig:
    """32 rows of 2,048 tokens a step; rank 32 on attention's four matrices, a little of the load-balancing loss."""
    return ExperimentConfig(
        name="encore_qwen3_30b_a3b",
        data=DataConfig(source="files", pool="safety_10", ratings_format="encore", test_fraction=0.1),
        model=ModelConfig(
            path="hf://Qwen/Qwen3-30B-A3B",
            architecture="qwen3-30b-a3b",
            dtype="bfloat16",
            buckets=(512, 1024, 2048),
            tokens_per_batch=65536,
        ),
        train=TrainConfig(
            method="gradient", loss="regression", trainable="lora", lora_rank=32, lora_targets=("q", "k", "v", "o"),
            router_balance=0.001, lr=1e-4, rows=32, length=2048, save_every=200,
        ),
        mesh=MeshSettings(expert=4),
        semi_synthetic=SemiSyntheticConfig(judges=0),
    )  # fmt: skip
