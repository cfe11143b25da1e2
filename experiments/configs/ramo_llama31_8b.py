"""RAMO at the paper's size: a Bradley-Terry reward model on Llama-3.1-8B, from a published one, on rule labels.

Command:   python -m experiments.run --config=experiments/configs/ramo_llama31_8b.py --multihost=auto \\
             --config.data.path=rated.jsonl --config.adapter_from=runs/rule_adapter_llama32_3b \\
             --config.train.checkpoints=gs://BUCKET/ramo
Check:     python -m experiments.run --config=experiments/configs/ramo_llama31_8b.py --aot=v5e:8x8
Data:      comparisons in this project's JSONL, among those of the adapter's run, rated at least on the rules that it
           selects; the held-out ones need people's labels. A label by a rule that is not rated is refused
Hardware:  the smallest slices are in docs/training.md, from `--aot=fit:v5e`; larger ones are faster
Memory:    as `bt_llama31_8b`
Trains:    backbone and reward head, from the head of the checkpoint; one arm after the other. With
           --config.train.arms="('adapter','oracle','all','human')" the table has more rows, at the price of a training
           each; the oracle and "all" need every rule rated
"""

from encore_jax.recipes.config import DataConfig, ModelConfig
from encore_jax.recipes.ramo_config import RamoConfig, RateConfig, RewardTrainConfig, SelectConfig


def get_config() -> RamoConfig:
    """The paper's learning rate and epochs; 64 rows of 2,048 tokens a step."""
    return RamoConfig(
        name="ramo_llama31_8b",
        data=DataConfig(source="files", pool="safety_100", format="encore", test_fraction=0.05),
        model=ModelConfig(
            path="hf://Skywork/Skywork-Reward-Llama-3.1-8B-v0.2",
            architecture="llama-3.1-8b",
            dtype="bfloat16",
            pooling="hf",
            buckets=(1024, 2048),
        ),
        rate=RateConfig(source="comparisons"),
        select=SelectConfig(r=5, half=1.0),
        adapter_from="runs/rule_adapter_llama32_3b",
        train=RewardTrainConfig(
            method="gradient", trainable="all", lr=2e-5, epochs=2, rows=64, length=2048, save_every=100,
            keep_best="accuracy", watch=256, arms=("initial", "adapter"), rs=(), sizes=(), seeds=1,
        ),
    )  # fmt: skip
