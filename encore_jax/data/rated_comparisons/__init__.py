"""Comparisons as a TFDS data set: written once as ArrayRecord, read back at random places, no TensorFlow.

    config = dataclasses.replace(CONFIGS["files"], path="rated.jsonl", pool=RulePool.shipped("safety_10"))
    builder = prepare(config, "~/data")
    train = RatedComparisons(builder, "train")  # a sequence of Comparison
    batches = grain.MapDataset.source(train).shuffle(seed=0)

or, on the command line::

    python -m encore_jax.data.rated_comparisons --config=hh_rlhf --path=train.jsonl.gz --data_dir=~/data

TFDS itself is imported when a data set is prepared or read, not before.
"""

from encore_jax.data.rated_comparisons.config import CONFIGS, DatasetConfig
from encore_jax.data.rated_comparisons.prepare import prepare
from encore_jax.data.rated_comparisons.sequence import RatedComparisons

__all__ = ["CONFIGS", "DatasetConfig", "RatedComparisons", "prepare"]
