"""Features: every text that heads, baselines and the probe read, through the frozen backbone once."""

from __future__ import annotations

import functools
import shutil
from pathlib import Path

from encore_jax.recipes.config import ExperimentConfig
from encore_jax.recipes.stages import ingest, rate
from encore_jax.recipes.stages.extract import extract, save
from encore_jax.recipes.stages.texts import compared_prompts, texts_of
from encore_jax.recipes.stages.tokenized import record_name
from encore_jax.recipes.stages.usable import require_usable
from encore_jax.rules import RulePool


def text_features(config: ExperimentConfig, ingested: Path, rated: Path, folder: Path) -> None:
    """Writes the features of the run's texts, of the compared prompts and of the over-refusal probe.

    What is written depends on the texts and the model alone. The ratings of stage `rate` and the split only decide
    whether there is a use in it: a run that would end for want of data ends before the model is loaded.
    """
    _, records, comparisons = ingest.load(ingested)
    texts, pool = texts_of(config, ingested), RulePool.from_yaml(ingested / "pool.yaml")
    batches = folder / "batches"
    extracted = extract(
        config.model,
        texts.texts,
        lambda i: record_name(texts.texts[i], records, comparisons),
        batches,
        prompts=compared_prompts(comparisons)[0],
        check=functools.partial(require_usable, config, texts, rate.load(rated).targets, pool.names),
    )
    save(extracted, folder)
    shutil.rmtree(batches)
