"""ENCORE on Gemma 3: ten rule heads on the text part of the 12B model, full fine-tuning on rated responses.

Command:   python -m experiments.run --config=experiments/configs/encore_gemma3_12b.py --multihost=auto \\
             --config.data.path=pairs.jsonl --config.data.ratings_path=rated.jsonl --config.train.checkpoints=gs://BUCKET/gemma
Check:     python -m experiments.run --config=experiments/configs/encore_gemma3_12b.py --aot=v5p:16   (on any laptop)
Data:      as `encore_llama31_8b`
Hardware:  TPU v5p with 16 chips
Memory:    what `make aot` prints of this very step
"""

from encore_jax.recipes.config import DataConfig, ExperimentConfig, ModelConfig, SemiSyntheticConfig, TrainConfig


def get_config() -> ExperimentConfig:
    """32 rows of 2,048 tokens a step; parameters, gradients and optimizer state split over all chips."""
    return ExperimentConfig(
        name="encore_gemma3_12b",
        data=DataConfig(source="files", pool="safety_10", ratings_format="encore", test_fraction=0.1),
        model=ModelConfig(
            path="hf://google/gemma-3-12b-it",
            architecture="gemma-3-12b",
            dtype="bfloat16",
            buckets=(512, 1024, 2048),
            tokens_per_batch=65536,
        ),
        train=TrainConfig(
            method="gradient", loss="regression", trainable="all", lr=2e-5, rows=32, length=2048,
            save_every=200,
        ),
        semi_synthetic=SemiSyntheticConfig(judges=0),
    )  # fmt: skip
