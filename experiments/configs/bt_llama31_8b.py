"""Single-head Bradley-Terry reward model on Llama-3.1-8B: the baseline of both papers, full fine-tuning.

Command:   python -m experiments.run --config=experiments/configs/bt_llama31_8b.py --multihost=auto \\
             --config.data.path=pairs.jsonl --config.train.checkpoints=gs://BUCKET/bt
Check:     python -m experiments.run --config=experiments/configs/bt_llama31_8b.py --aot=v5e:8x8   (on any laptop)
Data:      comparisons with human preferences, in any format that README.md lists
Hardware:  the smallest slices are in docs/training.md, from `--aot=fit:v5e`; larger ones are faster
Memory:    as `encore_llama31_8b`: one head instead of ten makes no difference
"""

from encore_jax.recipes.config import DataConfig, ExperimentConfig, ModelConfig, TrainConfig


def get_config() -> ExperimentConfig:
    """64 rows of 2,048 tokens a step, about 250 comparisons of HH-RLHF's length."""
    return ExperimentConfig(
        name="bt_llama31_8b",
        data=DataConfig(source="files", test_fraction=0.05),
        model=ModelConfig(
            path="hf://meta-llama/Llama-3.1-8B-Instruct",
            architecture="llama-3.1-8b",
            dtype="bfloat16",
            buckets=(512, 1024, 2048),
        ),
        train=TrainConfig(
            method="gradient", loss="bradley_terry", trainable="all", lr=2e-6, rows=64, length=2048,
            save_every=200, keep_best="accuracy", watch=256,
        ),
    )  # fmt: skip
