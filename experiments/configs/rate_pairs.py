"""LLM-as-a-judge: which of two responses is better, by a model behind any OpenAI-compatible endpoint.

Command:   python -m experiments.run --config=experiments/configs/rate_pairs.py --config.data.path=pairs.jsonl \\
             --config.judge.model=NAME "--config.judge.server.urls=('http://HOST:8000',)"
Data:      labelled pairs in any format this project reads
Hardware:  2 CPU cores for the client; whatever serves the model
Time:      the server's; one verdict of at most 256 tokens per pair, or two with --config.judge.both_orders=true
Expected:  agreement with the labels beside rule-free heuristics, with 95 % intervals; a tie or an answer without a
           verdict counts half. runs/rate_pairs/rate/verdicts.jsonl has every verdict.
"""

from experiments.config import DataConfig
from experiments.rating_config import PAIRS, JudgeConfig, RatingConfig


def get_config() -> RatingConfig:
    """The order shown is random by seed and content."""
    return RatingConfig(
        name="rate_pairs", data=DataConfig(source="files", pool="safety_10"), judge=JudgeConfig(prompt=PAIRS)
    )
