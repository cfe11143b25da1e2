"""Human ratings from a file as a judge: PyRIT's severity, refusal and objective ratings, without any model.

Command:   encore run rate_table
Hardware:  2 CPU cores, 4 GiB of memory
Time:      under a minute after downloading 11 MB (one wheel, pinned by hash)
Data:      human ratings of ten rules shipped with PyRIT, and the comparisons of two responses to one prompt
Expected:  651 human ratings of the compared responses; the 5,859 questions that nobody answered count as "not in the
           table", and stay masked
"""

from encore_jax.judge.settings import RetryPolicy
from encore_jax.recipes.rating_config import JudgeConfig, RatingConfig


def get_config() -> RatingConfig:
    """Each question once: a table does not change its mind."""
    return RatingConfig(name="rate_table", judge=JudgeConfig(kind="table", policy=RetryPolicy(failed=1)))
