"""LLM-as-a-judge: which of two responses is better, by a model behind a server, in batch files, or on this machine.

Command:   encore run rate_pairs --config.data.path=pairs.jsonl \\
             --config.judge.model=NAME --config.judge.server.urls=http://HOST:8000
           on this machine's devices, by the likelier of two letters: --config.judge.kind=local \\
             --config.judge.prompt=pair_letter.1 --config.model.path=hf://org/name
Data:      labelled pairs in any format this project reads
Hardware:  2 CPU cores for the client; whatever serves the model
Time:      the server's; one verdict of at most 256 tokens (pair_letter.1: one) per pair, or two with
           --config.judge.both_orders=true; --config.judge.trial=100 asks some, and says how long the others will take
Expected:  agreement with the labels beside rule-free heuristics, with 95 % intervals; a tie or an answer without a
           verdict counts half. runs/rate_pairs/rate/verdicts.jsonl has every verdict, and is what
           --config.baselines.verdicts of other runs on the same pairs takes.
"""

from encore_jax.judge.devices.local import BUCKETS
from encore_jax.judge.pairwise import SAFE_AND_HELPFUL
from encore_jax.recipes.config import DataConfig, ModelConfig
from encore_jax.recipes.rating_config import JudgeConfig, RatingConfig


def get_config() -> RatingConfig:
    """The order shown is random by seed and content."""
    return RatingConfig(
        name="rate_pairs",
        data=DataConfig(source="files", pool="safety_10"),
        model=ModelConfig(buckets=BUCKETS, tokens_per_batch=1024),
        judge=JudgeConfig(prompt=SAFE_AND_HELPFUL.name),
    )
