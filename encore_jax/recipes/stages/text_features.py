"""Features: every text that heads, baselines and the probe read, through the frozen backbone once."""

from __future__ import annotations

import functools
import shutil
from pathlib import Path

from encore_jax.parallel.mesh import MeshSettings
from encore_jax.recipes.outside import ModelFiles, Probe
from encore_jax.recipes.stages.extract import Extracted, extract
from encore_jax.recipes.stages.ingest import Ingested
from encore_jax.recipes.stages.rate import Ratings
from encore_jax.recipes.stages.texts import Split, compared_prompts, texts_of
from encore_jax.recipes.stages.tokenized import record_name
from encore_jax.recipes.stages.usable import require_usable


def text_features(
    model: ModelFiles,
    data: Ingested,
    probe: Probe,
    ratings: Ratings,
    split: Split,
    mesh: MeshSettings,
    folder: Path,
) -> Extracted:
    """Features of the run's texts, of the compared prompts and of the over-refusal probe.

    They depend on the texts and the model alone. Ratings and split only decide whether there is a use in it: a run
    that would end for want of data ends before the model is loaded. The mesh says how devices share the model.
    """
    texts = texts_of(data, split)
    batches = folder / "batches"
    extracted = extract(
        model.model,
        texts.texts,
        lambda i: record_name(texts.texts[i], data.rated, data.comparisons),
        batches,
        prompts=compared_prompts(data.comparisons)[0],
        mesh=mesh,
        check=functools.partial(
            require_usable, texts, ratings.targets, data.pool.names, split=split, longest=max(model.model.buckets)
        ),
    )
    shutil.rmtree(batches)
    return extracted
