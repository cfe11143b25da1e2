"""What goes into the model next: waiting texts, packed into one batch of a static shape."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from encore_jax.data.prefix_tree import PrefixTree
from encore_jax.reward.scorer import Shape, grouped_trees

WINDOW = 3
"""So many batches' worth of waiting tokens, shared prefixes counted once, are looked at; who comes later waits."""


class Batch(NamedTuple):
    """Rows of trees; their keys are positions in the queue."""

    shape: Shape
    rows: list[list[PrefixTree]]


def next_batch(
    sequences: Sequence[np.ndarray], groups: Sequence[str], shapes: Sequence[Shape], lengths: Sequence[int]
) -> Batch:
    """The smallest batch that holds everything that waits; else the largest, filled in order of arrival.

    Texts of one group share their prefix, whoever asked. The text that has waited longest is always in the batch, so
    nobody waits for ever; a later one goes first only where an earlier one does not fit.

    Args:
      sequences: token ids of the waiting texts, the one that came first in front; at least one, none longer than the
        longest row.
      groups: equal for texts of the same prompt.
      shapes: of the batches, the smallest first.
      lengths: tokens of each sequence.
    """
    longest = max(shape.length for shape in shapes)
    enough = WINDOW * shapes[-1].tokens
    seen = max(1, int(np.searchsorted(np.cumsum(lengths), enough, side="right")))
    while True:
        trees = grouped_trees(sequences[:seen], groups[:seen], range(seen), longest)
        total = sum(map(len, trees))
        if seen == len(sequences) or total > enough:
            break
        seen = min(2 * seen, len(sequences))
    if seen == len(sequences):
        by_size = sorted(trees, key=len, reverse=True)
        for shape in shapes:
            if shape.tokens >= total:
                rows, placed = _first_fit(by_size, shape)
                if placed == len(trees):
                    return Batch(shape, rows)
    largest = max((shape for shape in shapes if shape.length == longest), key=lambda shape: shape.rows)
    return Batch(largest, _first_fit(trees, largest)[0])


def _first_fit(trees: Sequence[PrefixTree], shape: Shape) -> tuple[list[list[PrefixTree]], int]:
    """Rows of trees in the given order, and how many trees found room."""
    rows: list[list[PrefixTree]] = []
    room = np.full(shape.rows, shape.length)
    placed = 0
    for tree in trees:
        fits = room >= len(tree)
        if not fits.any():
            continue
        row = int(fits.argmax())
        if row == len(rows):
            rows.append([])
        rows[row].append(tree)
        room[row] -= len(tree)
        placed += 1
    return rows, placed
