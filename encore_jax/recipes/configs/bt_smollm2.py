"""Bradley-Terry reward model on HH-RLHF-format comparisons: full fine-tuning of SmolLM2-135M on a laptop.

Command:   encore run bt_smollm2 --config.data.path=pairs.jsonl
Data:      comparisons in the format of Anthropic's HH-RLHF (JSONL or .gz; a derived prompt/chosen/rejected file works
           as well); half of the prompts are held out
Hardware:  2 CPU cores, 8 GiB of memory
Time:      about 20 minutes for one epoch of 900 comparisons and as many held-out ones
Expected:  the README shows loss and held-out accuracy on 1,782 pairs of HH-RLHF's harmless-base test set
"""

from encore_jax.recipes.config import DataConfig, ExperimentConfig, ModelConfig, TrainConfig


def get_config() -> ExperimentConfig:
    """Rows of 1,024 tokens, two of them a step: about 8 comparisons, whose prompts are stored and run once."""
    return ExperimentConfig(
        name="bt_smollm2",
        data=DataConfig(source="files"),
        model=ModelConfig(dtype="bfloat16"),
        train=TrainConfig(
            method="gradient", loss="bradley_terry", trainable="all", lr=2e-5, remat="dots_and_attention", save_every=25
        ),
    )
