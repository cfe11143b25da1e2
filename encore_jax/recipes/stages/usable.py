"""Whether the texts that the model can read suffice to train heads on and to judge them by; if not, why."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from encore_jax.data.left_out import Reason, require_some
from encore_jax.errors import InputError
from encore_jax.recipes.stages.extract import Readable
from encore_jax.recipes.stages.sides import on_either_side
from encore_jax.recipes.stages.texts import Split, Texts


def require_usable(
    texts: Texts,
    targets: Mapping[str, tuple[np.ndarray, np.ndarray]],
    rules: Sequence[str],
    readable: Readable,
    *,
    split: Split,
    longest: int,
    folds: bool = True,
) -> None:
    """Raises InputError where comparisons or ratings are lacking.

    Args:
      texts: of the run.
      targets: ratings and mask ``[R, K]``, by whose they are.
      rules: names of the columns of the ratings by people.
      readable: of the texts.
      split: that the texts were split by.
      longest: tokens of a row.
      folds: whether training crosses folds.

    Raises:
      InputError: a side of the split has no comparison, or a rule no rating; says how many which reason took.
    """
    at = texts.compared
    sides = texts.test[at[:, 0]], texts.cluster[at[:, 0]]
    on_either_side(len(at), _reasons(longest, readable, at), *sides, split.test_fraction)
    for name, (_, mask) in targets.items():
        common = _reasons(longest, readable, texts.rated)
        _require_ratings(common, texts, mask, rules if name == "human" else (), split.folds if folds else 0)


def _reasons(longest: int, readable: Readable, texts: np.ndarray) -> list[Reason]:
    """Why the model cannot score rows of some texts ``[N, ...]``."""
    rows = texts.reshape(len(texts), -1)
    return [
        Reason(
            "are refused by the chat template",
            readable.refused[rows].any(1),
            "use a model whose template takes them",
        ),
        Reason(
            f"are longer than the {longest} tokens of a row",
            ~readable.fits[rows].all(1),
            "raise --config.model.buckets (and --config.train.length with it)",
        ),
    ]


def _require_ratings(
    common: Sequence[Reason], texts: Texts, mask: np.ndarray, names: Sequence[str], folds: int
) -> None:
    """Raises InputError unless every rule has ratings to train on, on prompts of two folds, saying why it has none."""
    out, fold = texts.test[texts.rated], texts.fold[texts.rated]
    for k in range(mask.shape[1]):
        where = f"rule {names[k]!r}" if names else f"judge {k}"
        unrated = Reason("are not rated on it", ~mask[:, k], "rate more responses on it, or use a pool without it")
        held_out = Reason("are on held-out prompts", out, "hold out fewer by --config.data.test_fraction")
        options = {"what": "rated responses", "purpose": "to train on", "where": where}
        left = require_some(len(out), [unrated, *common, held_out], **options)
        if folds and len(np.unique(fold[left])) < 2:
            raise InputError(
                f"its {int(left.sum())} ratings to train on are in one of the {folds} cross-validation "
                "folds, which never split a prompt",
                where=where,
                fix="rate responses to more prompts, or use a pool without it",
            )
