"""The Rule Adapter at the paper's size: 100 logits on Llama-3.2-3B, full fine-tuning on rated comparisons.

Command:   python -m experiments.run --config=experiments/configs/rule_adapter_llama32_3b.py --multihost=auto \\
             --config.data.path=rated.jsonl --config.train.checkpoints=gs://BUCKET/adapter
Check:     python -m experiments.run --config=experiments/configs/rule_adapter_llama32_3b.py --aot=v5e:4x4
Data:      comparisons in this project's JSONL, rated on the 100 rules of the pool safety_100 with values from 0 to 1.
           Comparisons without ratings are new ones: the adapter predicts for them, and learns nothing from them
Hardware:  the smallest slices are in docs/training.md, from `--aot=fit:v5e`; larger ones are faster
Memory:    see "Will it fit?" in README.md: what the TPU compiler says of this very step
Trains:    backbone and logits, binary cross-entropy; the best checkpoint by recall@5 on validation prompts is used
"""

from encore_jax.recipes.config import DataConfig, ModelConfig
from encore_jax.recipes.ramo_config import AdapterConfig, AdapterTrainConfig, RateConfig, SelectConfig


def get_config() -> AdapterConfig:
    """The paper's learning rate, epochs and decay; ratings from 0 to 1, so half of its discrepancy factor is 1."""
    return AdapterConfig(
        name="rule_adapter_llama32_3b",
        data=DataConfig(source="files", pool="safety_100", format="encore", test_fraction=0.05),
        model=ModelConfig(
            path="hf://meta-llama/Llama-3.2-3B-Instruct",
            architecture="llama-3.2-3b",
            dtype="bfloat16",
            buckets=(1024, 2048),
        ),
        rate=RateConfig(source="comparisons"),
        select=SelectConfig(r=5, half=1.0),
        train=AdapterTrainConfig(
            method="gradient", trainable="all", lr=2e-5, weight_decay=0.01, epochs=3, rows=16, length=2048,
            save_every=100, watch=128, orders="both", validation=0.05,
        ),
    )  # fmt: skip
