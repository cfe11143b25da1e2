"""A trained multi-head reward model as the judge: its heads' scores are the ratings, always called model-rated.

Command:   encore run rate_model --config.data.path=pairs.jsonl \\
             --config.model.path=runs/quickstart/compose --config.data.pool=pyrit_10
Data:      comparisons in any format this project reads; the rules' names must be those of the heads
Hardware:  2 CPU cores, 4 GiB of memory with SmolLM2-135M; every device of this machine that there is
Time:      one pass over every conversation, whatever the number of rules; the run says how long is left
Expected:  as rate_server.py: runs/rate_model/report.html, and rated data in runs/rate_model/rate/, called model-rated.
           Rules without a head and conversations longer than the model takes count as failed, and stay masked
"""

from encore_jax.judge.settings import RetryPolicy
from encore_jax.recipes.config import DataConfig
from encore_jax.recipes.rating_config import JudgeConfig, RatingConfig


def get_config() -> RatingConfig:
    """Each question once: heads do not change their mind."""
    return RatingConfig(
        name="rate_model",
        data=DataConfig(source="files", pool="safety_10"),
        judge=JudgeConfig(kind="model", policy=RetryPolicy(failed=1)),
    )
