"""Token sequences that begin alike, as rows of static shape: a prefix that all share, and a branch for each.

A local judge's questions about one conversation are such sequences; they differ from the rule on. Rows are laid out as
`encore_jax.model.branching` reads them; several go through the model in a step, and every step has one of few shapes,
so that programs are compiled once.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import numpy as np

from encore_jax.model.branching import BranchRows


class Shape(NamedTuple):
    """Static shape of a row: P tokens of prefix, then the branches' tokens, none longer than M, and E ends."""

    prefix: int
    branches: int
    longest: int
    ends: int

    @property
    def tokens(self) -> int:
        """Length of the row."""
        return self.prefix + self.branches


@dataclasses.dataclass(frozen=True, eq=False)
class BranchTree:
    """Sequences that begin alike, as token ids.

    Attributes:
      root: how many tokens they share with the root of all rows.
      prefix: what follows the root and begins every sequence.
      branches: what follows the prefix in each sequence, never empty.
      keys: the caller's names for the sequences.
    """

    root: int
    prefix: np.ndarray
    branches: tuple[np.ndarray, ...]
    keys: tuple[int, ...]


Steps = Iterator[tuple[list[BranchTree], Shape]]
"""What goes through the model together: trees, and the shape that all of them are laid out in."""


def make_tree(sequences: Sequence[Sequence[int]], keys: Sequence[int], root: Sequence[int]) -> BranchTree:
    """The tree of sequences that begin alike.

    >>> tree = make_tree([[1, 2, 3, 4, 5], [1, 2, 3, 6]], [0, 1], root=[1, 2, 9])
    >>> tree.root, tree.prefix.tolist(), [branch.tolist() for branch in tree.branches]
    (2, [3], [[4, 5], [6]])
    """
    arrays = [np.asarray(sequence, np.int32) for sequence in sequences]
    shared = min(functools.reduce(min, (agree(arrays[0], other) for other in arrays)), min(map(len, arrays)) - 1)
    common = min(agree(arrays[0], np.asarray(root, np.int32)), shared)
    return BranchTree(common, arrays[0][common:shared], tuple(a[shared:] for a in arrays), tuple(keys))


def agree(a: np.ndarray, b: np.ndarray) -> int:
    """How many tokens two sequences begin with in common.

    >>> agree(np.array([1, 2, 3]), np.array([1, 2, 4, 5]))
    2
    """
    n = min(len(a), len(b))
    differ = np.flatnonzero(a[:n] != b[:n])
    return int(differ[0]) if differ.size else n


def shape_of(tree: BranchTree, buckets: Sequence[int]) -> Shape | None:
    """The shape a tree is laid out in; None if its prefix is longer than the longest bucket."""
    prefix = next((size for size in sorted(buckets) if size >= len(tree.prefix)), None)
    if prefix is None:
        return None
    lengths = [len(branch) for branch in tree.branches]
    return Shape(prefix, round_up(sum(lengths)), round_up(max(lengths)), round_up(len(lengths)))


def round_up(count: int) -> int:
    """To five significant bits (from 16 up, a multiple of 16): few different numbers, little padding.

    >>> [round_up(n) for n in (1, 33, 250, 2428)]
    [16, 48, 256, 2432]
    """
    step = max(16, 1 << max(0, count.bit_length() - 5))
    return -(-count // step) * step


def lay_out(trees: Sequence[BranchTree], shape: Shape, rows: int) -> tuple[BranchRows, np.ndarray]:
    """So many rows of one shape, and the keys ``[C, E]`` of their ends, -1 where there is none.

    Rows without a tree are padding.
    """
    grid = {name: np.zeros((rows, shape.tokens), np.int32) for name in ("tokens", "position")}
    branch = np.full((rows, shape.tokens), -1, np.int32)
    root = np.zeros(rows, np.int32)
    ends = np.full((rows, shape.ends), shape.prefix, np.int32)
    keys = np.full((rows, shape.ends), -1, np.int64)

    def write(row, start, tokens, number, distance):
        span = slice(start, start + len(tokens))
        grid["tokens"][row, span] = tokens
        grid["position"][row, span] = distance + np.arange(len(tokens))
        branch[row, span] = number

    for c, tree in enumerate(trees):
        root[c] = tree.root
        write(c, 0, tree.prefix, 0, tree.root)
        cursor = shape.prefix
        for i, tokens in enumerate(tree.branches):
            write(c, cursor, tokens, i + 1, tree.root + len(tree.prefix))
            cursor += len(tokens)
            ends[c, i], keys[c, i] = cursor - 1, tree.keys[i]
    return BranchRows(grid["tokens"], branch, grid["position"], root, ends), keys


def full_steps(waiting: dict[Shape, list[BranchTree]], per_step: Callable[[Shape], int]) -> Steps:
    """Takes out of `waiting` what fills whole steps of `per_step` rows."""
    for shape, trees in waiting.items():
        while len(trees) >= (count := per_step(shape)):
            yield trees[:count], shape
            del trees[:count]


def last_steps(waiting: dict[Shape, list[BranchTree]], per_step: Callable[[Shape], int]) -> Steps:
    """Takes out all that is left, trees of shorter prefixes in the shape of longer ones with the same branches."""
    by_rest: dict[tuple, list[tuple[Shape, BranchTree]]] = {}
    for shape, trees in waiting.items():
        by_rest.setdefault(shape[1:], []).extend((shape, tree) for tree in trees)
        trees.clear()
    for pairs in by_rest.values():
        pairs.sort(key=lambda pair: -pair[0].prefix)
        while pairs:
            shape = pairs[0][0]
            count = per_step(shape)
            yield [tree for _, tree in pairs[:count]], shape
            del pairs[:count]
