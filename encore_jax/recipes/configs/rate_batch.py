"""Ratings through OpenAI batch files: for `vllm run-batch` and hosted batch interfaces.

Command:   encore run rate_batch --config.data.path=pairs.jsonl \\
             --config.judge.model=NAME
Data:      comparisons in any format this project reads; rules as in rate_server.py
Hardware:  2 CPU cores; whatever runs the batch
Time:      writing and ingesting take minutes for a million questions
Expected:  the first run writes runs/rate_batch/batch/requests-*.jsonl, says how to run them, and exits with status 75.
           With result and error files under runs/rate_batch/batch/results/, in any order and in parts, the same
           command ingests what is there, writes requests for what is missing, and reports once nothing is.
"""

from encore_jax.recipes.config import DataConfig
from encore_jax.recipes.rating_config import JudgeConfig, RatingConfig


def get_config() -> RatingConfig:
    """As rate_server.py, in files."""
    return RatingConfig(
        name="rate_batch",
        data=DataConfig(source="files", pool="safety_10"),
        judge=JudgeConfig(kind="batch", prompt="yes_no_irrelevant.1"),
    )
