"""Joint training of a preference head and rule heads on SmolLM2-135M, beside each alone. Model-rated.

Command:   encore run joint_smollm2 --from=runs/judged
Data:      comparisons with people's preferences, of which a judge has rated some: here a finished rating run, whose
           ratings are model-rated. Comparisons without ratings train the preference head alone. Of several files that
           were joined, each is a domain: --config.train.train_on="('hh-rlhf.jsonl',)" trains on one, and tests on all
Hardware:  2 CPU cores, 8 GiB of memory
Time:      about 6 minutes for each arm with 74 comparisons seen once and 188 judged, on two busy cores
Expected:  docs/joint.md shows a run: at this size nothing tells joint training from preferences alone
"""

from encore_jax.recipes.config import DataConfig, ModelConfig
from encore_jax.recipes.joint_config import JointConfig, JointTrainConfig


def get_config() -> JointConfig:
    """Low-rank updates of the backbone; rows of 512 tokens, two of them a step: about four comparisons."""
    return JointConfig(
        name="joint_smollm2",
        data=DataConfig(source="files"),
        model=ModelConfig(dtype="bfloat16"),
        train=JointTrainConfig(
            trainable="lora", lr=5e-4, rows=2, length=512, epochs=2, remat="dots_and_attention", watch=0, keep_best="",
        ),
    )  # fmt: skip
