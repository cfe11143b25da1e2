"""Labels of every arm: whose preference a reward model learns, comparison by comparison."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import jax
import numpy as np

from encore_jax.composition import critical_rules, entropy_weights, label_from_rules, random_rules, top_rules
from encore_jax.errors import InputError
from encore_jax.evaluation.rule_agreement import loading_scale
from encore_jax.recipes.ramo_config import WITHOUT_R, RamoConfig
from encore_jax.recipes.stages import adapter, rule_ratings
from encore_jax.recipes.stages.adapter import Predictions
from encore_jax.recipes.stages.presented import Presented
from encore_jax.recipes.stages.rule_ratings import RuleRatings

BY_LOADING = ("oracle+loading", "adapter+loading")
"""Arms that weigh rules by loading / spread; the first selects by the weighted discrepancy, too."""


class Cell(NamedTuple):
    """One kind of labels.

    Attributes:
      arm: of `ARMS`.
      r: selected rules; 0 for arms that select nothing.
    """

    arm: str
    r: int

    @property
    def key(self) -> str:
        return f"{self.arm}.r{self.r}"


def cells(config: RamoConfig) -> Iterator[Cell]:
    """Every arm at every r, `select.r` first; the untouched model has no labels."""
    for arm in config.train.arms:
        if arm == "initial":
            continue
        rs = (0,) if arm in WITHOUT_R else dict.fromkeys((config.select.r, *config.train.rs))
        yield from (Cell(arm, r) for r in rs)


def label(config: RamoConfig, shown: Presented, rated: Path, predicted: Path, folder: Path) -> None:
    """Writes labels.npz: for every cell int8 ``[S, N]``, by seed (one row where no seed matters): 0 for A, 1 for B, -1
    for a dropped tie, -2 where there is nothing to label by; and counts.json. Arms by loading are left out, and counted
    with the reason, where what the rules have in common justifies no loadings.

    Raises:
      InputError: r exceeds the rules, a selected rating is missing, or arm "human" meets an unlabelled comparison.
    """
    ratings, predictions = rule_ratings.load(rated), adapter.load(predicted)
    known = predictions.known & ratings.usable.any(1)
    found, refused, loading = {}, {}, None
    if any(cell.arm in BY_LOADING for cell in cells(config)):
        loading, why = _loading(ratings, shown, config.seed)
    for cell in cells(config):
        if cell.arm in BY_LOADING and loading is None:
            refused[cell.arm] = why
            continue
        seeds = config.train.seeds if cell.arm == "random" else 1
        rows = [_labels(config, cell, seed, shown, ratings, predictions, known, loading) for seed in range(seeds)]
        found[cell.key] = np.stack(rows).astype(np.int8)
    np.savez(folder / "labels.npz", **found)
    counts: dict = {"comparisons_labelled": int((known & (shown.part == "reward") & ~predictions.trained).sum())}
    counts |= {"arms_refused": refused} if refused else {}
    (folder / "counts.json").write_text(json.dumps(counts, indent=1))


def load(folder: Path) -> dict[str, np.ndarray]:
    """What `label` wrote."""
    with np.load(folder / "labels.npz") as stored:
        return dict(stored)


def _labels(
    config: RamoConfig,
    cell: Cell,
    seed: int,
    shown: Presented,
    ratings: RuleRatings,
    said: Predictions,
    known: np.ndarray,
    loading: np.ndarray | None,
) -> np.ndarray:
    if cell.arm == "human":
        for n in np.flatnonzero(known & (shown.human < 0) & (shown.part == "reward")):
            raise InputError(
                "people did not label it", where=f"comparison {shown.comparisons[n].id or n}",
                fix="leave arm 'human' out of --config.train.arms, or label it",
            )  # fmt: skip
        return np.where(known, shown.human, -2)
    chosen = ratings._replace(**{f: getattr(ratings, f)[known] for f in ("ratings", "rated", "relevance")})
    rules = _rules(config, cell, seed, chosen, said, known, loading)
    missing = (rules >= 0) & ~np.take_along_axis(chosen.usable, np.maximum(rules, 0), 1)
    for row, slot in np.argwhere(missing)[:1]:
        n = np.flatnonzero(known)[row]
        raise InputError(
            f"arm {cell.arm!r} labels by rule {rules[row, slot]}, which is not rated for both responses "
            f"({int(missing.any(1).sum())} comparisons lack a selected rating)",
            where=f"comparison {shown.comparisons[n].id or n}",
            fix="have the judge rate it, take its ratings out altogether, or leave the arm out",
        )
    weights = loading if cell.arm in BY_LOADING else _weights(config, cell.arm, chosen, said, known)
    made = label_from_rules(chosen.ratings, rules, weights=weights, where=chosen.rated, ties=config.select.ties)
    labels = np.full(len(known), -2)
    labels[known] = np.asarray(made.preferred)
    return labels


def _loading(ratings: RuleRatings, shown: Presented, seed: int) -> tuple[np.ndarray | None, str]:
    """Loading over spread ``[K]``, 1 on average, of the ratings of comparisons that are not held out; or why not."""
    own = (shown.part != "test") & ratings.usable.any(1)
    rules = tuple(f"rule {k}" for k in range(ratings.ratings.shape[2]))
    if not own.any():
        return None, "no comparison is rated"
    return loading_scale(ratings.ratings[own], rules, where=ratings.rated[own], prompt=shown.cluster[own], seed=seed)


def _rules(
    config: RamoConfig, cell: Cell, seed: int, ratings: RuleRatings, said: Predictions, known, loading=None
) -> np.ndarray:
    """The rules that a cell labels by, int ``[N, r]``; arms without r use every rated rule."""
    k = ratings.ratings.shape[2]
    how = cell.arm.split("+")[0]
    if how in ("all", "entropy", "adapter_weights"):
        return np.asarray(top_rules(np.zeros(ratings.usable.shape), k, ratings.usable))
    if cell.r > k:
        raise InputError(f"{cell.r} of {k} rules", where="config.train.rs", fix=f"choose at most {k}")
    if how == "random":
        key = jax.random.fold_in(jax.random.key(config.seed), seed)
        return np.asarray(random_rules(key, ratings.usable, cell.r))
    if how == "oracle":
        relevance, select = ratings.given_relevance, config.select
        scaled = ratings.ratings * loading if cell.arm in BY_LOADING else ratings.ratings
        return np.asarray(critical_rules(scaled, relevance, cell.r, where=ratings.rated, half=select.half))
    if how == "fixed":
        return np.broadcast_to(np.asarray(top_rules(said.train_share, cell.r)), (len(ratings.ratings), cell.r))
    return np.asarray(top_rules(said.probability.mean(0)[known], cell.r))


def _weights(config: RamoConfig, arm: str, ratings: RuleRatings, said: Predictions, known) -> np.ndarray | None:
    if arm in ("entropy", "oracle+entropy", "adapter+entropy"):
        return np.asarray(entropy_weights(ratings.entropy, config.select.tau))
    if arm in ("adapter_weights", "adapter+weights"):
        return said.probability.mean(0)[known]
    return None
