"""What the tests of prepared data sets share."""

from __future__ import annotations

from encore_jax.data import Comparison
from encore_jax.data.rated_comparisons import DatasetConfig, RatedComparisons
from encore_jax.rules.rule import Rule, RulePool

POOL = RulePool(tuple(Rule(f"rule_{k}", "Some text.", direction=1 - 2 * (k % 2)) for k in range(3)), name="three")
FILES = {
    "arena": "arena/votes.jsonl",
    "helpsteer_pairs": "helpsteer_pairs/helpsteer2.jsonl",
    "encore": "encore/comparisons.jsonl",
    "hh_rlhf": "hh_rlhf/native.jsonl",
    "pairs": "pairs/texts.jsonl",
    "pku_saferlhf": "pku_saferlhf/rows.jsonl",
    "rewardbench": "rewardbench/filtered.json",
    "rewardbench2": "rewardbench2/rows.jsonl",
    "rm_bench": "rm_bench/total_dataset.json",
}


def whole(path, **changes) -> DatasetConfig:
    """A file all of whose rows are for training, unless `changes` say otherwise."""
    return DatasetConfig(path=path, **({"test_fraction": 0.0} | changes))


def read_all(builder) -> dict[str, list[Comparison]]:
    """Every split."""
    return {split: list(RatedComparisons(builder, split)) for split in builder.info.splits}
