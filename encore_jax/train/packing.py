"""Which trees go into which row of which training step: a grain pipeline of tree numbers.

Global shuffle by seed, again each epoch; then rows are filled first-fit from a window of waiting trees, the one that
has waited longest first, so a step's rows are nearly full and no tree is put off for long. The plan is a pure function
of (sizes, settings, seed). Every process computes all of it, lays out all rows and transfers those of its devices.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import grain
import numpy as np

from encore_jax.data.prefix_tree import PrefixTree
from encore_jax.errors import InputError
from encore_jax.train.settings import BatchSettings

WINDOW = 3
"""Trees wait until they hold so many micro-batches' worth of tokens."""

Rows = list[list[int]]
"""The trees of each row of one micro-batch."""


class Shape(NamedTuple):
    """Static shape of a step: A micro-batches of B rows of S tokens with room for M ends."""

    micro_batches: int
    rows: int
    length: int
    ends: int


def step_shape(settings: BatchSettings) -> Shape:
    """The shape that the settings ask for.

    Raises:
      InputError: rows that do not divide into the micro-batches, or anything not positive.

    >>> step_shape(BatchSettings(rows=8, length=1024, accumulate=2))
    Shape(micro_batches=2, rows=4, length=1024, ends=128)
    """
    rows, parts = settings.rows, settings.accumulate
    if min(rows, parts, settings.length, settings.tokens_per_end) < 1 or rows % parts:
        raise InputError(
            f"{rows} rows of {settings.length} tokens in {parts} micro-batches, {settings.tokens_per_end} per end",
            where="training batch",
            fix="all positive, and rows a multiple of accumulate",
        )
    return Shape(
        parts, rows // parts, settings.length, max(1, rows // parts * settings.length // settings.tokens_per_end)
    )


class PackedSteps(grain.IterDataset):
    """Tree numbers in, steps out: for each step a list of at most A `Rows`.

    Args:
      parent: numbers of trees, every number once per epoch.
      sizes: tokens of each tree.
      branches: branch ends of each tree.
      shape: of a step.
    """

    def __init__(self, parent: grain.IterDataset, sizes: np.ndarray, branches: np.ndarray, shape: Shape):
        super().__init__(parent)
        self._arguments = sizes, branches, shape

    def __iter__(self) -> grain.DatasetIterator:
        return _Packer(self._parent.__iter__(), *self._arguments)


class _Packer(grain.DatasetIterator):
    def __init__(self, parent, sizes: np.ndarray, branches: np.ndarray, shape: Shape):
        super().__init__(parent)
        self._sizes, self._branches, self._shape = sizes, branches, shape
        self._waiting: list[int] = []
        self._drawn = 0

    def __next__(self) -> list[Rows]:
        step: list[Rows] = []
        while len(step) < self._shape.micro_batches and self._draw(begin_epoch=not step):
            step.append(self._pack())
        if not step:
            raise StopIteration
        return step

    def _draw(self, begin_epoch: bool) -> bool:
        """Fills the window from the current epoch; whether any tree is waiting then."""
        enough = WINDOW * self._shape.rows * self._shape.length
        tokens = int(self._sizes[self._waiting].sum()) if self._waiting else 0
        while tokens < enough:
            if self._drawn % len(self._sizes) == 0 and not (begin_epoch and not self._waiting):
                break  # the epoch is drawn; the next one begins with a step of its own
            try:
                tree = int(next(self._parent))
            except StopIteration:
                break
            self._waiting.append(tree)
            self._drawn += 1
            tokens += int(self._sizes[tree])
        return bool(self._waiting)

    def _pack(self) -> Rows:
        rows: Rows = [[] for _ in range(self._shape.rows)]
        room, ends, left = np.full(len(rows), self._shape.length), self._shape.ends, []
        for tree in self._waiting:
            fits = room >= self._sizes[tree]
            if self._branches[tree] <= ends and fits.any():
                row = int(fits.argmax())
                rows[row].append(tree)
                room[row] -= self._sizes[tree]
                ends -= self._branches[tree]
            else:
                left.append(tree)
        self._waiting = left
        return rows

    def get_state(self) -> dict[str, Any]:
        return {"parent": self._parent.get_state(), "waiting": list(self._waiting), "drawn": self._drawn}

    def set_state(self, state: dict[str, Any]) -> None:
        self._parent.set_state(state["parent"])
        self._waiting, self._drawn = list(state["waiting"]), state["drawn"]


def packed_steps(trees: Sequence[PrefixTree], shape: Shape, seed: int, epochs: int) -> PackedSteps:
    """The plan of all epochs.

    Raises:
      InputError: no tree at all, or one that fits no row or has too many branches.
    """
    if not trees:
        fix = "give texts that fit the tokens of a row"
        raise InputError("there is nothing to train on", where="training data", fix=fix)
    sizes, branches = np.array([len(t) for t in trees]), np.array([len(t.branches) for t in trees])
    for i in np.flatnonzero((sizes > shape.length) | (branches > shape.ends)):
        raise InputError(
            f"{sizes[i]} tokens and {branches[i]} branches do not fit rows of {shape.length} with {shape.ends} ends",
            where=f"tree {i}",
            fix="drop it whole, or raise train.length or lower train.tokens_per_end",
        )
    numbers = grain.MapDataset.range(len(trees)).shuffle(seed).repeat(epochs)
    return PackedSteps(numbers.to_iter_dataset(grain.ReadOptions(num_threads=0)), sizes, branches, shape)


def count_steps(plan: PackedSteps, most: int = 0) -> tuple[int, float]:
    """Number of steps, at most `most` if that is not 0; and packing efficiency, useful tokens per processed token."""
    sizes, _, shape = plan._arguments
    steps = useful = 0
    for step in _first(plan, most):
        steps += 1
        useful += sum(int(sizes[row].sum()) for rows in step for row in rows if row)
    return steps, useful / (steps * shape.micro_batches * shape.rows * shape.length)


def _first(plan: PackedSteps, most: int) -> Iterator[list[Rows]]:
    for i, step in enumerate(plan):
        if most and i == most:
            return
        yield step
