"""Evaluation: accuracy of every method with intervals, the premise check, and what drives the gain."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import jax
import numpy as np

from encore_jax.composition.settings import CompositionSettings
from encore_jax.evaluation.methods import margins_by_method
from encore_jax.evaluation.noise_study import noise_study
from encore_jax.evaluation.results import evaluate_view, finite
from encore_jax.recipes.config import EvaluateConfig, SemiSyntheticConfig
from encore_jax.recipes.manifest import versions
from encore_jax.recipes.stages.baselines import Baselines
from encore_jax.recipes.stages.compose import Composed
from encore_jax.recipes.stages.ingest import Ingested
from encore_jax.recipes.stages.intervals import held_out_coverage
from encore_jax.recipes.stages.probe import probe_results
from encore_jax.recipes.stages.rate import Ratings
from encore_jax.recipes.stages.score import Scored
from encore_jax.recipes.stages.texts import Split, texts_of
from encore_jax.recipes.stages.train import TrainedHeads


def evaluate(
    settings: EvaluateConfig,
    composition: CompositionSettings,
    synthetic: SemiSyntheticConfig,
    data: Ingested,
    split: Split,
    ratings: Ratings,
    trained: TrainedHeads,
    scored: Scored,
    composed: Composed,
    compared_with: Baselines,
    config: Mapping[str, Any],
) -> dict[str, Any]:
    """Everything that the report says; `config` is the whole configuration, for the record."""
    main, seed = scored.main, split.seed
    chosen = composed.views[main.name]
    found = held_out_coverage(data, split, ratings, trained, composed)
    results = {
        "name": config["name"],
        "views": [
            evaluate_view(view, composed.views[view.name], composition, seed, settings.replicates)
            for view in scored.views
        ],
        "over_refusal": probe_results(
            trained.probe,
            main.rules,
            lambda scores: margins_by_method(scores, chosen.methods),
            chosen.chosen,
            seed,
        ),
        "coverage": found and found.to_json(),
        "noise_study": _noise_study(synthetic, data, split, ratings, trained),
        "counts": {"ingest": data.counts, "train": trained.counts, "baselines": compared_with.counts},
        "passport": composed.passport.to_dict(),
        "config": dict(config),
        "seeds": {"seed": seed},
        "versions": versions(),
        "device": f"{jax.device_count()} x {jax.devices()[0].device_kind}",
    }
    return finite(results)


def _noise_study(
    synthetic: SemiSyntheticConfig, data: Ingested, split: Split, ratings: Ratings, trained: TrainedHeads
) -> dict | None:
    """The semi-synthetic study on the run's own comparisons and split; None without simulated judges."""
    if not synthetic.judges:
        return None
    texts = texts_of(data, split)
    short = np.isfinite(trained.scores["human"]).all(1)
    row_of_text = np.full(len(texts.texts), -1)
    row_of_text[texts.rated] = np.arange(len(texts.rated))
    usable = np.isfinite(ratings.quality) & short[texts.rated]
    tested = short[texts.compared].all(1) & texts.test[texts.compared[:, 0]]
    pairs = row_of_text[texts.compared[tested]]
    preferred = np.array([c.preferred for c in data.comparisons])[tested]
    return noise_study(
        np.nan_to_num(ratings.quality),
        usable & ~texts.test[texts.rated],
        np.take_along_axis(pairs, np.stack([preferred, 1 - preferred], 1), 1),
        judges=synthetic.judges,
        best=synthetic.best,
        levels=synthetic.levels,
        draws=synthetic.draws,
        seed=split.seed,
    )
