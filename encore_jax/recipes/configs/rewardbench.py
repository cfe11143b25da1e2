"""A saved reward model on RewardBench, RewardBench 2, RM-Bench, or any file of labelled comparisons.

Command:   encore run rewardbench \\
             --config.model=runs/quickstart/compose --config.data=filtered.parquet --as=rewardbench
Data:      a file in the benchmark's native schema, or hf://datasets/allenai/reward-bench/FILE (RewardBench 2:
           allenai/reward-bench-2, RM-Bench: THU-KEG/RM-Bench); the format is recognised
Hardware:  that of the model; SmolLM2-135M on 2 CPU cores needs 4 GiB of memory
Time:      as long as the model takes to read the texts once, twice with a peer; a killed run continues
Expected:  official/eval-set/NAME.json and official/eval-set-scores/NAME.json as the leaderboard's tools read them.
           Conversations longer than the model's rows are dropped and counted, and the score is then marked incomplete:
           give --config.buckets="(512,1024,2048)" to have none.
"""

from encore_jax.recipes.benchmark_config import BenchmarkConfig


def get_config() -> BenchmarkConfig:
    """Model and data are given on the command line."""
    return BenchmarkConfig(name="rewardbench")
