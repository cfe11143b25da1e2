"""ENCORE on a 70B backbone: ten rule heads and low-rank updates (LoRA); the frozen backbone stays in bfloat16.

Command:   python -m experiments.run --config=experiments/configs/encore_llama31_70b.py --multihost=auto \\
             --config.data.path=pairs.jsonl --config.data.ratings_path=rated.jsonl --config.train.checkpoints=gs://BUCKET/70b
Check:     python -m experiments.run --config=experiments/configs/encore_llama31_70b.py --aot=v5p:32   (on any laptop)
Data:      as `encore_llama31_8b`
Hardware:  the smallest slices are in docs/training.md, from `--aot=fit:v5e`; larger ones are faster
Memory:    141 GB of frozen weights split over all chips, plus what one row of activations per chip needs
"""

from encore_jax.recipes.config import DataConfig, ExperimentConfig, ModelConfig, SemiSyntheticConfig, TrainConfig


def get_config() -> ExperimentConfig:
    """32 rows of 2,048 tokens a step; rank 32 on all seven matrices of every layer."""
    return ExperimentConfig(
        name="encore_llama31_70b",
        data=DataConfig(source="files", pool="safety_10", ratings_format="encore", test_fraction=0.1),
        model=ModelConfig(
            path="hf://meta-llama/Llama-3.1-70B-Instruct",
            architecture="llama-3.1-70b",
            dtype="bfloat16",
            buckets=(512, 1024, 2048),
            tokens_per_batch=65536,
        ),
        train=TrainConfig(
            method="gradient", loss="regression", trainable="lora", lora_rank=32, lr=1e-4, rows=32, length=2048,
            save_every=200,
        ),
        semi_synthetic=SemiSyntheticConfig(judges=0),
    )  # fmt: skip
