"""SmolLM2-135M as the judge of a few responses: a rating run from beginning to end, on a laptop.

Command:   encore run rate_smollm2
Hardware:  2 CPU cores, 4 GiB of memory
Time:      under 3 minutes after downloading 104 MB (two wheels, pinned by hash)
Data:      responses that people rated with PyRIT's ten rules, 24 comparisons of them; another sample by
           --config.data.limit=N, other texts by --config.data.source=files --config.data.path=pairs.jsonl
Expected:  480 ratings by a judge too weak to be used: on average 82 % of the probability is on none of the offered
           answers, so that with the usual --config.judge.most_other=0.5 the run would end; ratings hardly differ, and
           eight of ten rules agree with people on fewer than half of the 24 pairs.
           runs/rate_smollm2/report.html shows it, and runs/rate_smollm2/rate/ is what any other judge would leave
"""

from encore_jax.judge.devices.local import BUCKETS
from encore_jax.recipes.config import DataConfig, ModelConfig
from encore_jax.recipes.rating_config import JudgeConfig, RatingConfig


def get_config() -> RatingConfig:
    """In float32, in steps that suit a CPU; unlikely answers count, so that there is something to see."""
    return RatingConfig(
        name="rate_smollm2",
        data=DataConfig(limit=24),
        model=ModelConfig(buckets=BUCKETS, tokens_per_batch=1024),
        judge=JudgeConfig(kind="local", prompt="yes_no_irrelevant.1", most_other=1.0),
    )
