"""The Rule Adapter alone, on HH-RLHF-format comparisons, on a laptop. Model-rated.

Command:   encore run rule_adapter_smollm2 \\
             --config.data.path=pairs.jsonl --config.data.ratings_path=rbr_gold_train.jsonl
Data:      as `ramo_smollm2`: comparisons, and rated responses that stand for a judge
Hardware:  2 CPU cores, 8 GiB of memory
Time:      under 45 minutes for 1,782 comparisons, nearly all of it features of the frozen backbone
Trains:    23 logits on the frozen backbone's feature of prompt, response A and response B; fine-tuning is
           --config.train.method=gradient --config.train.trainable=lora (or all), an hour or more of two cores
Expected:  recall@5 well above 5 of 23 at random; whether above the most frequent rules, the report says with intervals
"""

from encore_jax.recipes.configs import ramo_smollm2
from encore_jax.recipes.ramo_config import AdapterConfig


def get_config() -> AdapterConfig:
    """The data and the model of `ramo_smollm2`; all prompts that are not held out are for the adapter."""
    shared = ramo_smollm2.get_config()
    return AdapterConfig(name="rule_adapter_smollm2", data=shared.data, model=shared.model)
