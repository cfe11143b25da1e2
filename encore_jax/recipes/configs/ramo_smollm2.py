"""RAMO, the whole second paper, on HH-RLHF-format comparisons, on a laptop. Model-rated.

Command:   encore run ramo_smollm2 \\
             --config.data.path=pairs.jsonl --config.data.ratings_path=rbr_gold_train.jsonl
Data:      comparisons in the format of Anthropic's HH-RLHF; ratings: OpenAI's rule-based-rewards gold set, 23 human
           true/false rules per response
Hardware:  2 CPU cores, 8 GiB of memory
Time:      18 minutes for 1,782 comparisons on 2 cores shared with other work, nearly all of it features
Trains:    heads on the frozen backbone only. Rule heads (ridge) stand for a judge; the Rule Adapter is 23 logits on the
           feature of prompt, response A and response B; every reward model is one Bradley-Terry head, pulled towards an
           initial head that learnt people's labels of the adapter's comparisons, because SmolLM2 has no reward head
Expected:  a weak model on weak labels: recall@5 of the adapter 61 % beside 62 % for always the most frequent rules;
           reward models trained on rules' labels 56 to 62 % beside 62 % for the initial one, intervals 7 points wide.
           README.md shows the tables
"""

from encore_jax.recipes.config import DataConfig, ModelConfig
from encore_jax.recipes.ramo_config import RamoConfig


def get_config() -> RamoConfig:
    """Three parts by prompt: 35 % held out; of the rest 40 % for adapter and initial head, 60 % for the arms."""
    return RamoConfig(
        name="ramo_smollm2",
        data=DataConfig(
            source="files",
            pool="openai_rbr_23",
            test_fraction=0.35,
        ),
        model=ModelConfig(dtype="bfloat16", buckets=(256, 512, 1024)),
    )
