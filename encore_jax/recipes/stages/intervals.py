"""Intervals of a run's heads: which of its ratings calibrate them, and how often they hold those that are held out.

Letters: R rated responses, K rules, T texts.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from encore_jax.data import prompt_key
from encore_jax.data.split import is_test
from encore_jax.evaluation.coverage import Coverage, coverage_of
from encore_jax.recipes.stages.ingest import Ingested
from encore_jax.recipes.stages.rate import Ratings
from encore_jax.recipes.stages.texts import Split, Texts, texts_of
from encore_jax.recipes.stages.train import TrainedHeads
from encore_jax.reward.calibration import HELD_OUT, OUT_OF_FOLD, Calibration
from encore_jax.reward.intervals import intervals_of
from encore_jax.reward.scored import compiled_graph

if TYPE_CHECKING:
    from encore_jax.recipes.stages.compose import Composed

HALF_SEED = 77
"""Added to the split's seed where held-out prompts are divided again."""


def calibration_split(texts: Texts, ratings: Ratings, trained: TrainedHeads) -> tuple[Calibration | None, np.ndarray]:
    """What calibrates the human-rated heads, and which rated responses ``[R]`` measure their coverage.

    Heads in closed form: the training ratings beside out-of-fold scores calibrate, all held-out prompts measure. Heads
    trained by gradient have no out-of-fold scores: half of the held-out prompts calibrate, the other half measures.

    Args:
      texts: of the run.
      ratings: of the rated responses.
      trained: heads.
    """
    heads, scores = trained.heads["human"], trained.scores["human"][texts.rated]
    values = np.where(ratings.rated, ratings.human, np.nan)
    known = np.isfinite(scores).all(1) & ratings.rated.any(1)
    held_out = known & texts.test[texts.rated]
    if len(heads.texts):
        chosen, by = known & np.isin(np.arange(len(known)), trained.rows), OUT_OF_FOLD
    else:
        half = is_test([prompt_key(texts.texts[i][0]) for i in texts.rated], 0.5, HALF_SEED)
        chosen, by = held_out & half, HELD_OUT
    measured = held_out & ~chosen
    if not chosen.any():
        return None, measured
    return Calibration(scores[chosen], values[chosen], texts.cluster[texts.rated[chosen]], by), measured


def held_out_coverage(
    data: Ingested, split: Split, ratings: Ratings, trained: TrainedHeads, composed: Composed
) -> Coverage | None:
    """How often the composed model's intervals hold the ratings of held-out prompts; None of a model without any."""
    if composed.calibration is None:
        return None
    texts = texts_of(data, split)
    _, measured = calibration_split(texts, ratings, trained)
    passport = composed.passport
    weights, graph = np.asarray(passport.weights, np.float32), compiled_graph(passport)
    records = [data.rated[i] for i in np.flatnonzero(measured)]
    return coverage_of(
        intervals_of(composed.calibration, passport.rules, weights, graph),
        trained.scores["human"][texts.rated[measured]],
        np.where(ratings.rated, ratings.human, np.nan)[measured],
        texts.cluster[texts.rated[measured]],
        np.array([record.subset or record.source or "all" for record in records], dtype=str),
        weights,
        graph,
    )
