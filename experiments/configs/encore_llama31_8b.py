"""ENCORE at the paper's size: ten rule heads on Llama-3.1-8B, full fine-tuning on rated responses.

Command:   python -m experiments.run --config=experiments/configs/encore_llama31_8b.py --multihost=auto \\
             --config.data.path=pairs.jsonl --config.data.ratings_path=rated.jsonl --config.train.checkpoints=gs://BUCKET/encore
Check:     python -m experiments.run --config=experiments/configs/encore_llama31_8b.py --aot=v5e:8x8   (on any laptop)
Data:      your rated responses on the ten rules of the pool safety_10, in this project's JSONL, and human-labelled
           comparisons to evaluate on
Hardware:  the smallest slices are in docs/training.md, from `--aot=fit:v5e`; larger ones are faster
Memory:    see "Will it fit?" in README.md: what the TPU compiler says of this very step
Expected:  the paper's learning rate and single epoch; its batch size, rule texts, ratings and split are not public, so
           none of its numbers are claimed
"""

from encore_jax.recipes.config import DataConfig, ExperimentConfig, ModelConfig, SemiSyntheticConfig, TrainConfig


def get_config() -> ExperimentConfig:
    """64 rows of 2,048 tokens a step; parameters, gradients and optimizer state split over all chips."""
    return ExperimentConfig(
        name="encore_llama31_8b",
        data=DataConfig(source="files", pool="safety_10", ratings_format="encore", test_fraction=0.1),
        model=ModelConfig(
            path="hf://meta-llama/Llama-3.1-8B-Instruct",
            architecture="llama-3.1-8b",
            dtype="bfloat16",
            buckets=(512, 1024, 2048),
            tokens_per_batch=131072,
        ),
        train=TrainConfig(
            method="gradient", loss="regression", trainable="all", lr=2e-5, rows=64, length=2048,
            save_every=200,
        ),
        semi_synthetic=SemiSyntheticConfig(judges=0),
    )  # fmt: skip
