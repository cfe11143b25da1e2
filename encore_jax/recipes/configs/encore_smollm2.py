"""ENCORE on human ratings, the whole backbone trained by gradient: the quickstart's data, no closed form, a laptop.

Command:   encore run encore_smollm2
Data:      as `quickstart`: human severity, refusal and objective ratings shipped with PyRIT
Hardware:  2 CPU cores, 8 GiB of memory
Time:      about an hour: one epoch over the rated responses of the training prompts
Expected:  the same report as the quickstart's. Scores of training texts are not held out here, so methods that see
           training labels are flattered; held-out accuracies are comparable
"""

from encore_jax.recipes.config import ExperimentConfig, ModelConfig, SemiSyntheticConfig, TrainConfig


def get_config() -> ExperimentConfig:
    """Two rows of 1,024 tokens a step; heads start at the mean rating."""
    return ExperimentConfig(
        name="encore_smollm2",
        model=ModelConfig(dtype="bfloat16"),
        train=TrainConfig(method="gradient", trainable="all", lr=2e-5, epochs=1),
        semi_synthetic=SemiSyntheticConfig(judges=0),
    )
