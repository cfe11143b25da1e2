"""Ratings of every response on a pool of rules, by a language model behind any OpenAI-compatible endpoint.

Command:   encore run rate_server --config.data.path=pairs.jsonl \\
             --config.judge.model=NAME --config.judge.server.urls=http://HOST:8000
Data:      comparisons in any format this project reads; the rules are the shipped pool safety_10 unless
           --config.judge.pool names another one. A hosted interface needs its key in an environment variable, and
           --config.judge.server.key_variable=THAT_VARIABLE; the key is written nowhere.
Hardware:  2 CPU cores for the client; whatever serves the model
Time:      the client asks at least 1,000 questions a second of a server that answers at once, on the 2 cores that the
           server uses as well; the run says before it starts how many requests and tokens there are, and while it runs
           how long is left
Expected:  runs/rate_server/report.html: what became of every question, and entropy and spread of every rule's ratings.
           Killed, the same command resumes, and asks nothing again that was answered.
           runs/rate_server/rate/ has comparisons.jsonl and rated.jsonl, ready for the training configs: format encore.
"""

from encore_jax.recipes.config import DataConfig
from encore_jax.recipes.rating_config import JudgeConfig, RatingConfig


def get_config() -> RatingConfig:
    """P(Yes) - P(No) from the first token's log-probabilities, and relevance from P(Irrelevant)."""
    return RatingConfig(
        name="rate_server",
        data=DataConfig(source="files", pool="safety_10"),
        judge=JudgeConfig(kind="server", prompt="yes_no_irrelevant.1"),
    )
