"""Ratings of every response on a pool of rules, by a model on this machine's own devices, or on those of a pod.

Command:   encore run rate_local --config.data.path=pairs.jsonl \\
             --config.model.path=hf://org/name
Data:      comparisons in any format this project reads; the rules are the shipped pool safety_10 unless
           --config.judge.pool names another one
Hardware:  the devices of one machine, e.g. 8 TPU chips or GPUs, which share the model and the conversations (fsdp);
           --config.mesh.tensor=8 --config.mesh.fsdp=1 splits every layer instead. On a pod: the same command on every
           host with --multihost=auto; data and journal are the first host's, the others only need the model's files
Time:      one pass over each conversation for all rules, not one per rule; the run says how long is left;
           --config.judge.trial=1000 asks so many questions first, says how long the others will take, and stops
Expected:  as rate_server.py: runs/rate_local/report.html, and rated data in runs/rate_local/rate/. Killed, the same
           command goes on, and asks nothing again that was answered.
"""

from encore_jax.judge.devices.local import BUCKETS
from encore_jax.recipes.config import DataConfig, ModelConfig
from encore_jax.recipes.rating_config import JudgeConfig, RatingConfig


def get_config() -> RatingConfig:
    """An instruction-tuned model in bfloat16, in steps that fill an accelerator; SmolLM2 until another one is named."""
    return RatingConfig(
        name="rate_local",
        data=DataConfig(source="files", pool="safety_10"),
        model=ModelConfig(dtype="bfloat16", buckets=BUCKETS, tokens_per_batch=65536),
        judge=JudgeConfig(kind="local", prompt="yes_no_irrelevant.1"),
    )
