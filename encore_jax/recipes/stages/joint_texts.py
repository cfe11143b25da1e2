"""Texts of joint training: every comparison's two responses, then rated responses that no comparison has.

Letters: N comparisons, R further rated responses, T = 2 N + R texts, K rules, H = K + 1 heads.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from encore_jax.data import Comparison, RatedResponse, prompt_key
from encore_jax.data.prefix_tree import PrefixTree, make_trees
from encore_jax.data.split import is_test
from encore_jax.errors import InputError
from encore_jax.recipes.stages.ingest import Ingested
from encore_jax.recipes.stages.preferences import Laid, lay_comparisons
from encore_jax.reward.sequences import Text, fits
from encore_jax.train.batches import Targets

ALL = "all"
"""The domain of a training on every domain together, and of records that say none."""


class JointTexts(NamedTuple):
    """What is trained on and judged.

    Attributes:
      texts: T conversations; 2 n is the preferred response of comparison n, 2 n + 1 the other.
      names: what each is called in messages.
      ratings, rated: ``[T, H]``; of texts rated several times the mean; the last head, of preferences, has none.
      domain: ``[T]``.
      test: bool ``[T]``, whether the prompt is held out.
      comparisons: N.
    """

    texts: list[Text]
    names: list[str]
    ratings: np.ndarray
    rated: np.ndarray
    domain: np.ndarray
    test: np.ndarray
    comparisons: int

    @property
    def domains(self) -> list[str]:
        """Of the comparisons, sorted."""
        return sorted(set(self.domain[: 2 * self.comparisons].tolist()))


def domain_of(record: Comparison | RatedResponse, field: str) -> str:
    """Which distribution a record is of: its `source` or its `subset`."""
    return getattr(record, field) or ALL


def joint_texts(data: Ingested, field: str, test_fraction: float, seed: int) -> JointTexts:
    """Numbers the texts, and finds each one's ratings."""
    texts, names, domains = [], [], []
    for n, one in enumerate(data.comparisons):
        for side, words in ((one.preferred, "preferred"), (1 - one.preferred, "other")):
            texts.append((one.prompt, one.responses[side]))
            names.append(f"comparison {one.id or n}, {words}")
            domains.append(domain_of(one, field))
    sums: dict[Text, list[np.ndarray]] = {}
    compared = set(texts)
    for record in data.rated:
        text = (record.prompt, record.response)
        if text not in sums and text not in compared:
            texts.append(text)
            names.append(f"rated response {record.id or len(texts)}")
            domains.append(domain_of(record, field))
        total, count = sums.setdefault(text, [np.zeros(len(data.pool)), np.zeros(len(data.pool))])
        total += np.where(record.mask, record.ratings, 0)
        count += record.mask
    ratings, rated = (
        np.zeros((len(texts), len(data.pool) + 1), np.float32),
        np.zeros((len(texts), len(data.pool) + 1), bool),
    )
    for row, text in enumerate(texts):
        if text in sums:
            total, count = sums[text]
            ratings[row, :-1], rated[row, :-1] = total / np.maximum(count, 1), count > 0
    test = is_test([prompt_key(prompt) for prompt, _ in texts], test_fraction, seed)
    return JointTexts(texts, names, ratings, rated, np.array(domains), test, len(data.comparisons))


class JointTrees(NamedTuple):
    """Trees: one for each comparison that fits a row whole, one for each other rated response that does.

    Attributes:
      laid: of the comparisons.
      alone: of the other rated responses, by text.
    """

    laid: Laid
    alone: dict[int, PrefixTree]

    def chosen(self, texts: JointTexts, rows: np.ndarray) -> list[PrefixTree]:
        """Those of the texts ``[T]`` that `rows` holds for; a comparison has one domain and one side of the split."""
        compared = [tree for tree, n in zip(self.laid.trees, self.laid.kept, strict=True) if rows[2 * n]]
        return compared + [tree for text, tree in self.alone.items() if rows[text] and texts.rated[text].any()]


def joint_trees(texts: JointTexts, sequences: Sequence[np.ndarray | None], length: int) -> JointTrees:
    """Lays out every text that fits rows of `length` tokens."""
    pairs = 2 * texts.comparisons
    laid = lay_comparisons(sequences[:pairs], length)
    alone = {
        i: make_trees([sequences[i]], [i], length)[0]
        for i in range(pairs, len(sequences))
        if fits(sequences[i], length)
    }
    return JointTrees(laid, alone)


def joint_targets(texts: JointTexts, same: dict[int, int]) -> Targets:
    """Ratings of every text and the preference of every comparison."""
    numbers = np.arange(texts.comparisons)
    pairs = np.stack([2 * numbers, 2 * numbers + 1], 1)
    return Targets(texts.ratings, texts.rated, pairs, names=texts.names, same=same)


def rows_of(texts: JointTexts, domain: str) -> np.ndarray:
    """bool ``[T]``, the texts of a domain; of `ALL` every one.

    Raises:
      InputError: no comparison is of it.
    """
    if domain == ALL:
        return np.ones(len(texts.texts), bool)
    if domain not in texts.domains:
        fix = f"use some of {', '.join(texts.domains)}, or choose another config.domain"
        raise InputError(f"no comparison is of {domain!r}", where="config.train.train_on", fix=fix)
    return texts.domain == domain
