"""Stage evaluate: accuracy of every method with intervals, the premise check, and what drives the gain."""

from __future__ import annotations

import json
from pathlib import Path

import jax
import numpy as np

from encore_jax.evaluation.methods import margins_by_method
from encore_jax.evaluation.noise_study import noise_study
from encore_jax.evaluation.results import evaluate_view, finite
from encore_jax.recipes.config import ExperimentConfig, to_dict
from encore_jax.recipes.manifest import versions
from encore_jax.recipes.stages import compose, ingest, rate, train
from encore_jax.recipes.stages.probe import probe_results
from encore_jax.recipes.stages.score import load_views
from encore_jax.recipes.stages.texts import texts_of
from encore_jax.reward.reward_model import PASSPORT


def evaluate(
    config: ExperimentConfig,
    ingested: Path,
    rated: Path,
    trained: Path,
    scored: Path,
    composed: Path,
    compared: Path,
    folder: Path,
) -> None:
    """Writes results.json; `compared` is the folder of the baselines stage."""
    views = load_views(scored)
    compositions = {view.name: compose.load(composed, view.name) for view in views}
    replicates = config.evaluate.replicates
    results = {
        "name": config.name,
        "views": [
            evaluate_view(view, compositions[view.name], config.compose, config.seed, replicates) for view in views
        ],
        "over_refusal": probe_results(
            trained,
            views[0].rules,
            lambda scores: margins_by_method(scores, compositions[views[0].name].methods),
            compositions[views[0].name].chosen,
            config.seed,
        ),
        "noise_study": _noise_study(config, ingested, rated, trained),
        "counts": {
            "ingest": json.loads((ingested / "counts.json").read_text()),
            "train": json.loads((trained / "counts.json").read_text()),
            "baselines": json.loads((compared / "counts.json").read_text()),
        },
        "passport": json.loads((composed / PASSPORT).read_text()),
        "config": to_dict(config),
        "seeds": {"seed": config.seed},
        "versions": versions(),
        "device": f"{jax.device_count()} x {jax.devices()[0].device_kind}",
    }
    (folder / "results.json").write_text(json.dumps(finite(results), indent=1, allow_nan=False))


def _noise_study(config: ExperimentConfig, ingested: Path, rated: Path, trained: Path) -> dict | None:
    """The semi-synthetic study on the run's own comparisons and split; None without simulated judges."""
    synthetic = config.semi_synthetic
    if not synthetic.judges:
        return None
    _, _, comparisons = ingest.load(ingested)
    ratings, texts = rate.load(rated), texts_of(config, ingested)
    short = np.isfinite(train.load_scores(trained, "human")).all(1)
    row_of_text = np.full(len(texts.texts), -1)
    row_of_text[texts.rated] = np.arange(len(texts.rated))
    usable = np.isfinite(ratings.quality) & short[texts.rated]
    tested = short[texts.compared].all(1) & texts.test[texts.compared[:, 0]]
    pairs = row_of_text[texts.compared[tested]]
    preferred = np.array([c.preferred for c in comparisons])[tested]
    return noise_study(
        np.nan_to_num(ratings.quality),
        usable & ~texts.test[texts.rated],
        np.take_along_axis(pairs, np.stack([preferred, 1 - preferred], 1), 1),
        judges=synthetic.judges,
        best=synthetic.best,
        levels=synthetic.levels,
        draws=synthetic.draws,
        seed=config.seed,
    )
