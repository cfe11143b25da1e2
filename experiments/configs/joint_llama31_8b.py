"""Joint training of a preference head and ten rule heads on Llama-3.1-8B, full fine-tuning.

Command:   python -m experiments.run --config=experiments/configs/joint_llama31_8b.py --multihost=auto \\
             --config.data.path=pairs.jsonl --config.data.ratings_path=rated.jsonl --config.train.checkpoints=gs://BUCKET/joint
Check:     python -m experiments.run --config=experiments/configs/joint_llama31_8b.py --aot=v5e:8x8   (on any laptop)
Data:      comparisons with people's preferences, and rated responses on the ten rules of the pool safety_10, in this
           project's JSONL; they need not be the same responses. --config.train.train_on trains on one source alone
Hardware:  as `encore_llama31_8b`
Memory:    as `encore_llama31_8b`: one more head makes no difference
Trains:    backbone and heads, one arm after the other, from the same initial values
"""

from encore_jax.recipes.config import DataConfig, ModelConfig
from encore_jax.recipes.joint_config import JointConfig, JointTrainConfig


def get_config() -> JointConfig:
    """64 rows of 2,048 tokens a step, about 250 comparisons of HH-RLHF's length."""
    return JointConfig(
        name="joint_llama31_8b",
        data=DataConfig(source="files", pool="safety_10", test_fraction=0.1),
        model=ModelConfig(
            path="hf://meta-llama/Llama-3.1-8B-Instruct",
            architecture="llama-3.1-8b",
            dtype="bfloat16",
        ),
        train=JointTrainConfig(trainable="all", lr=2e-6, rows=64, length=2048, save_every=200),
    )
