"""What the settings of an ablation choose from, computed once: entropies, margins, resamples, subsets of the rules.

Letters: H draws, E ways of measuring entropies, N comparisons, R replicates, M subsets, P values of agreement, K rules,
T rated responses, D features.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from encore_jax.composition import margin_tolerances, margins
from encore_jax.composition.ties import rule_tolerance
from encore_jax.data.npz import read_npz
from encore_jax.errors import InputError
from encore_jax.evaluation.ablation_axes import Draws, Entropies
from encore_jax.evaluation.ablation_tables import entropy_table, refitted_margins, resampling_times, training_draws
from encore_jax.evaluation.rule_agreement import rule_agreement
from encore_jax.evaluation.view import View
from encore_jax.progress import track
from encore_jax.train.feature_scale import feature_scale
from encore_jax.train.ridge import ALPHAS, fit_ridge


class Features(NamedTuple):
    """Of the texts of a view, from which heads are fitted again on every draw.

    Attributes:
      rated: ``[T, D]``, of the rated responses.
      test: ``[N, 2, D]``, of the comparisons that are decided.
      where: the file that they come from.
    """

    rated: np.ndarray
    test: np.ndarray
    where: str = "features"


class AblationInputs(NamedTuple):
    """What settings choose from.

    Attributes:
      entropy: ``[H, E, K]``.
      margin, tolerance: of the comparisons, and how far rounding may have moved them: ``[H, N, K]``, or ``[1, N, K]``
        where all draws have the same heads.
      times: how often each replicate draws each comparison ``[R, N]``.
      subset: bool ``[M, K]``.
      prior: factors of the weights ``[P, K]``.
      rules: K names.
    """

    entropy: np.ndarray
    margin: np.ndarray
    tolerance: np.ndarray
    times: np.ndarray
    subset: np.ndarray
    prior: np.ndarray
    rules: tuple[str, ...]

    def save(self, folder: Path) -> None:
        """Writes tables.npz; and subsets.parquet: each subset's rules."""
        np.savez(folder / "tables.npz", **self._replace(rules=np.array(self.rules))._asdict())
        named = [[self.rules[k] for k in np.flatnonzero(row)] for row in self.subset]
        table = pa.table({"subset": np.arange(len(self.subset), dtype=np.int32), "rules": named})
        pq.write_table(table, folder / "subsets.parquet", compression="zstd")

    @classmethod
    def load(cls, folder: Path) -> AblationInputs:
        """What `save` wrote."""
        arrays = read_npz(folder / "tables.npz")
        return cls(**arrays | {"rules": tuple(arrays["rules"].tolist())})


def ablation_inputs(
    view: View,
    draws: Draws,
    entropies: Entropies,
    subset: np.ndarray,
    *,
    features: Features | None = None,
    agreement: Sequence[str] = ("no",),
    replicates: int = 0,
    scale: tuple[float, float] = (0.0, 1.0),
    alphas: Sequence[float] = ALPHAS,
    folds: int = 5,
    seed: int = 0,
) -> AblationInputs:
    """Everything that settings of these axes choose from.

    Args:
      view: scored comparisons, and the ratings that entropies come from.
      draws: of the training prompts.
      entropies: how they are measured.
      subset: of the rules, bool ``[M, K]``.
      features: heads are fitted again from them on every draw; without, the view's scores stay as they are.
      agreement: for each of "no" and "yes", whether weights are multiplied by agreement's.
      replicates: bootstrap replicates of the comparisons, by prompt.
      scale: lowest and highest possible rating.
      alphas: ridge penalties to choose from, once, on all of the training prompts (with features).
      folds: of that choice.
      seed: of the resampling, the folds and agreement.

    Raises:
      InputError: a rule without ratings in a draw, features of other texts, or agreement is refused.
    """
    draw = training_draws(view.rating_cluster, *draws)
    entropy = np.stack([entropy_table(view.ratings, view.rated & row[:, None], entropies.axes, scale) for row in draw])
    prompts, cluster = np.unique(view.test.cluster, return_inverse=True)
    times = resampling_times(jnp.asarray(cluster), len(prompts), jax.random.key(seed), replicates=replicates + 1)
    if features:
        margin = _refitted(view, features, draw, alphas, folds, seed)
        tolerance = rule_tolerance(margin)
    else:
        margin = np.asarray(margins(view.test.scores, view.test.preferred))[None]
        tolerance = np.asarray(margin_tolerances(view.test.scores))[None]
    prior = _priors(view, agreement, seed)
    return AblationInputs(entropy, margin, tolerance, np.asarray(times), subset, prior, tuple(view.rules))


def _priors(view: View, agreement: Sequence[str], seed: int) -> np.ndarray:
    """What entropy weights are multiplied by, ``[P, K]``: 1, or agreement's weights."""
    rows = []
    for choice in agreement:
        found = rule_agreement(view.train, view.rules, seed=seed) if choice == "yes" else None
        if found is not None and (found.weights is None or found.by_labels):
            why = found.refused or "only labels say which part of the pool is about quality"
            raise InputError(f"agreement is refused: {why}", where="config.agreement", fix="use no")
        rows.append(np.ones(len(view.rules), np.float32) if found is None else found.weights)
    return np.stack(rows)


def _refitted(
    view: View, features: Features, draws: np.ndarray, alphas: Sequence[float], folds: int, seed: int
) -> np.ndarray:
    """Margins ``[H, N, K]`` by heads fitted on each draw."""
    rated, test = features.rated, features.test
    if rated.shape[0] != len(view.ratings) or test.shape[:2] != (len(view.test), 2):
        raise InputError(
            f"features {rated.shape} and {test.shape} for {len(view.ratings)} rated responses and "
            f"{len(view.test)} comparisons",
            where=features.where,
            fix="give the features.npz that stands beside the view",
        )
    scale = feature_scale(rated)
    prompts, position = np.unique(view.rating_cluster, return_inverse=True)
    fold = np.random.default_rng(seed).permutation(len(prompts))[position] % folds
    alpha = fit_ridge(rated, view.ratings, view.rated, fold, tuple(alphas)).alpha
    pair = np.arange(len(test))
    difference = (test[pair, view.test.preferred] - test[pair, 1 - view.test.preferred]) / scale
    ratings = np.where(view.rated, view.ratings, 0)
    fits = track(draws, float(len(draws)), "heads")
    return np.stack([refitted_margins(rated / scale, ratings, view.rated, draw, alpha, difference) for draw in fits])
