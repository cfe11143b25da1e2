"""Rule heads: how they are kept, and how they are fitted in closed form on cached features."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from absl import logging

from encore_jax.data.distinct import distinct, on_distinct_rows
from encore_jax.train.ridge import fit_ridge


class Heads(NamedTuple):
    """Trained heads; scores are ``features @ kernel + bias``.

    Attributes:
      kernel, bias: ``[D, K]``, ``[K]``.
      texts: int ``[R]``, texts the heads were trained on whose held-out scores are known; may be empty.
      held_out_scores: ``[R, K]``, by heads that saw no text of the same prompt.
    """

    kernel: np.ndarray
    bias: np.ndarray
    texts: np.ndarray
    held_out_scores: np.ndarray

    def save(self, path: Path) -> None:
        np.savez(path, **self._asdict())

    @classmethod
    def load(cls, path: Path) -> Heads:
        with np.load(path) as stored:
            return cls(**{name: stored[name] for name in cls._fields})

    def plain_scores(self, features: np.ndarray) -> np.ndarray:
        """Scores ``[N, K]`` of any features ``[N, D]``, of which equal ones have equal scores."""
        return on_distinct_rows(lambda rows: rows @ self.kernel + self.bias, features).astype(np.float32)

    def scores(self, features: np.ndarray) -> np.ndarray:
        """Scores ``[T, K]`` of all texts; those trained on get their held-out scores where there are any.

        Texts of equal features (and, if trained on, of one fold) have equal scores.
        """
        scores = self.plain_scores(features)
        scores[self.texts] = self.held_out_scores
        return scores


class Fit(NamedTuple):
    """Heads, and what they score.

    Attributes:
      heads: as trained on some ratings.
      features: ``[T, D]`` of every text, by the backbone that the heads belong to.
      probe: ``[2 Q, D]`` of the over-refusal probe's texts; None where it was not run.
      counts: of texts and training.
    """

    heads: Heads
    features: np.ndarray
    probe: np.ndarray | None
    counts: dict[str, Any]


def ridge_heads(
    alphas: Sequence[float], features: np.ndarray, ratings: np.ndarray, rated: np.ndarray, texts, fold
) -> tuple[Heads, np.ndarray]:
    """Closed form on the features of the texts ``[R]`` with ratings ``[R, K]``, and the penalties ``[K]``; see
    `fit_ridge`."""
    fitted = fit_ridge(features[texts], ratings, rated, fold[texts], tuple(alphas))
    penalties = ", ".join(f"{alpha:g}" for alpha in fitted.alpha)
    logging.info("ridge penalties of the rules, chosen by cross-validation: %s", penalties)
    same = distinct(np.append(row, f) for row, f in zip(features[texts], fold[texts], strict=True)).representative
    return Heads(fitted.kernel, fitted.bias, texts, fitted.held_out_scores[same]), fitted.alpha


def without_held_out(kernel: np.ndarray, bias: np.ndarray) -> Heads:
    """Heads trained by gradient: no training text has a held-out score."""
    return Heads(kernel, bias, np.zeros(0, np.int64), np.zeros((0, len(bias)), np.float32))
