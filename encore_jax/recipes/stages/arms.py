"""Labels of every arm: whose preference a reward model learns, comparison by comparison."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

from encore_jax.composition import critical_rules, entropy_weights, label_from_rules, random_rules, top_rules
from encore_jax.data.manifest import FIX
from encore_jax.errors import InputError
from encore_jax.evaluation.rule_agreement import loading_scale
from encore_jax.json_shape import read_json
from encore_jax.recipes.ramo_config import SelectConfig
from encore_jax.recipes.ramo_runs import Cell
from encore_jax.recipes.stages.adapter import Adapter
from encore_jax.recipes.stages.ingest import Ingested
from encore_jax.recipes.stages.presented import PartSplit, Presented, present
from encore_jax.recipes.stages.rule_ratings import RuleRatings

BY_LOADING = ("oracle+loading", "adapter+loading")
"""Arms that weigh rules by loading / spread; the first selects by the weighted discrepancy, too."""


class Labels(NamedTuple):
    """Whose preference a reward model learns, comparison by comparison.

    Attributes:
      of: by `Cell.name` int8 ``[S, N]``, by seed (one row where no seed matters): 0 for A, 1 for B, -1 for a dropped
        tie, -2 where there is nothing to label by.
      counts: labelled comparisons; arms by loading that are left out, with the reason, where what the rules have in
        common justifies no loadings.
    """

    of: dict[str, np.ndarray]
    counts: dict[str, Any]

    def save(self, folder: Path) -> None:
        """Writes labels.npz and counts.json."""
        np.savez(folder / "labels.npz", **self.of)
        (folder / "counts.json").write_text(json.dumps(self.counts, indent=1))

    @classmethod
    def load(cls, folder: Path) -> Labels:
        """What `save` wrote."""
        with np.load(folder / "labels.npz") as stored:
            return cls(dict(stored), read_json(folder / "counts.json", dict[str, object], fix=FIX))


def label(
    cells: Sequence[Cell],
    seeds: int,
    data: Ingested,
    ratings: RuleRatings,
    adapter: Adapter,
    split: PartSplit,
    select: SelectConfig,
) -> Labels:
    """Labels of every cell.

    Args:
      cells: kinds of labels.
      seeds: repetitions of those by random rules.
      data: comparisons.
      ratings: of them.
      adapter: which rules it finds critical.
      split: into parts.
      select: which rules are critical, and what becomes of ties.

    Raises:
      InputError: r exceeds the rules, a selected rating is missing, or arm "human" meets an unlabelled comparison.
    """
    shown = present(data.comparisons, split)
    known = adapter.known & ratings.usable.any(1)
    found, refused, loading = {}, {}, None
    if any(cell.arm in BY_LOADING for cell in cells):
        loading, why = _loading(ratings, shown, split.seed)
    for cell in cells:
        if cell.arm in BY_LOADING and loading is None:
            refused[cell.arm] = why
            continue
        random = [
            jax.random.fold_in(jax.random.key(split.seed), n) for n in range(seeds if cell.arm == "random" else 1)
        ]
        rows = [_labels(cell, key, shown, ratings, adapter, known, select, loading) for key in random]
        found[cell.name] = np.stack(rows).astype(np.int8)
    counts: dict[str, Any] = {"comparisons_labelled": int((known & (shown.part == "reward") & ~adapter.trained).sum())}
    return Labels(found, counts | ({"arms_refused": refused} if refused else {}))


def _labels(
    cell: Cell,
    key: jax.Array,
    shown: Presented,
    ratings: RuleRatings,
    adapter: Adapter,
    known: np.ndarray,
    select: SelectConfig,
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
    probability = adapter.probability.mean(0)[known]
    rules = rules_of(cell, chosen, probability, adapter.train_share, select, key, loading)
    missing = (rules >= 0) & ~np.take_along_axis(chosen.usable, np.maximum(rules, 0), 1)
    for row, slot in np.argwhere(missing)[:1]:
        n = np.flatnonzero(known)[row]
        raise InputError(
            f"arm {cell.arm!r} labels by rule {rules[row, slot]}, which is not rated for both responses "
            f"({int(missing.any(1).sum())} comparisons lack a selected rating)",
            where=f"comparison {shown.comparisons[n].id or n}",
            fix="have the judge rate it, take its ratings out altogether, or leave the arm out",
        )
    weights = loading if cell.arm in BY_LOADING else _weights(cell.arm, chosen, probability, select.tau)
    made = label_from_rules(chosen.ratings, rules, weights=weights, where=chosen.rated, ties=select.ties)
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


def rules_of(
    cell: Cell,
    ratings: RuleRatings,
    probability: np.ndarray,
    train_share: np.ndarray,
    select: SelectConfig,
    key: jax.Array,
    loading: np.ndarray | None = None,
) -> np.ndarray:
    """The rules that a cell labels by, int ``[N, r]``; arms without r use every rated rule.

    Args:
      cell: whose labels.
      ratings: of N comparisons.
      probability: ``[N, K]`` that each rule is critical, by an adapter.
      train_share: ``[K]``, how often each was critical in the adapter's training.
      select: which rules are critical by ratings.
      key: of random rules.
      loading: ``[K]``, for arms by loading.
    """
    k = ratings.ratings.shape[2]
    how = cell.arm.split("+")[0]
    if how in ("all", "entropy", "adapter_weights"):
        return np.asarray(top_rules(np.zeros(ratings.usable.shape), k, ratings.usable))
    if cell.r > k:
        raise InputError(f"{cell.r} of {k} rules", where="config.train.rs", fix=f"choose at most {k}")
    if how == "random":
        return np.asarray(random_rules(key, ratings.usable, cell.r))
    if how == "oracle":
        scaled = ratings.ratings * loading if cell.arm in BY_LOADING else ratings.ratings
        relevance = ratings.given_relevance
        return np.asarray(critical_rules(scaled, relevance, cell.r, where=ratings.rated, half=select.half))
    if how == "fixed":
        return np.broadcast_to(np.asarray(top_rules(train_share, cell.r)), (len(ratings.ratings), cell.r))
    return np.asarray(top_rules(probability, cell.r))


def _weights(arm: str, ratings: RuleRatings, probability: np.ndarray, tau: float) -> np.ndarray | None:
    if arm in ("entropy", "oracle+entropy", "adapter+entropy"):
        return np.asarray(entropy_weights(ratings.entropy, tau))
    if arm in ("adapter_weights", "adapter+weights"):
        return probability
    return None
