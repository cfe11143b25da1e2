"""Prefix trees: one prefix and its branches laid in one row, several trees packed into a row.

The layout of every batch. A tree is a prompt with its responses (or a conversation with its rule questions): the
prefix is stored, and run, once. In a row of S tokens

    tree[s]      which tree token s belongs to, from 1; 0 is padding
    branch[s]    0 in the prefix, 1..n in the branches
    position[s]  distance from the root along the token's own path

and token q may attend to token k iff they share the tree, ``k <= q``, and k is in the prefix or in q's branch. So
the end of a branch sees exactly what it would see if prefix + branch were run alone.

The prefix is the longest common prefix of the *finished* token sequences, so nothing is assumed about where a chat
template puts the boundary between prompt and response.

Letters: B rows, S tokens in a row, M branch ends in a batch.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np

from encore_jax.data.distinct import distinct
from encore_jax.errors import InputError

ENDS_MULTIPLE = 8
"""Branch ends are padded to a multiple of this many per batch."""


@dataclasses.dataclass(frozen=True, eq=False)
class PrefixTree:
    """Token sequences that share a beginning.

    Attributes:
      prefix: int32 tokens shared by all sequences.
      branches: what follows in each sequence; at least one token each.
      keys: the caller's identifier of each sequence, in the order of `branches`.
    """

    prefix: np.ndarray
    branches: tuple[np.ndarray, ...]
    keys: tuple[int, ...]

    def __len__(self) -> int:
        return len(self.prefix) + sum(map(len, self.branches))


class TreeBatch(NamedTuple):
    """Packed rows as the model takes them; int32 NumPy arrays.

    `end_row`, `end_index` ``[M]`` say where each branch ends and `key` ``[M]`` whose sequence that is; entries that
    only pad M have key -1 and point at row 0, token 0.
    """

    tokens: np.ndarray
    tree: np.ndarray
    branch: np.ndarray
    position: np.ndarray
    end_row: np.ndarray
    end_index: np.ndarray
    key: np.ndarray


def common_prefix_length(sequences: Sequence[np.ndarray]) -> int:
    """Length of the longest common prefix that leaves every sequence at least one token of its own.

    >>> common_prefix_length([np.array([1, 2, 3]), np.array([1, 2, 4, 5])])
    2
    >>> common_prefix_length([np.array([1, 2, 3])])
    2
    """
    shortest = min(map(len, sequences)) - 1
    stacked = np.stack([sequence[:shortest] for sequence in sequences])
    differs = (stacked != stacked[:1]).any(0)
    return int(differs.argmax()) if differs.any() else shortest


def make_trees(sequences: Sequence[Sequence[int]], keys: Sequence[int], max_length: int) -> list[PrefixTree]:
    """Trees of at most `max_length` tokens that hold the sequences (in order), usually one.

    Sequences that together are too long for one tree are spread over several, each with its own copy of the prefix.

    Raises:
      InputError: a sequence alone is longer than `max_length` or empty; drop it before, whole.
    """
    sequences = [np.asarray(sequence, np.int32) for sequence in sequences]
    for key, sequence in zip(keys, sequences, strict=True):
        if not 0 < len(sequence) <= max_length:
            raise InputError(
                f"{len(sequence)} tokens do not fit a row of {max_length}",
                where=f"sequence {key}",
                fix="drop it whole, or raise the row length",
            )
    trees, start = [], 0
    for stop in range(1, len(sequences) + 1):
        if stop < len(sequences) and _tree_length(sequences[start : stop + 1]) <= max_length:
            continue
        trees.append(_tree(sequences[start:stop], tuple(keys[start:stop])))
        start = stop
    return trees


def _tree_length(sequences: Sequence[np.ndarray]) -> int:
    return sum(map(len, sequences)) - (len(sequences) - 1) * common_prefix_length(sequences)


def _tree(sequences, keys) -> PrefixTree:
    shared = common_prefix_length(sequences)
    return PrefixTree(sequences[0][:shared], tuple(sequence[shared:] for sequence in sequences), keys)


def without_repeats(trees: Sequence[PrefixTree]) -> tuple[list[PrefixTree], dict[int, int]]:
    """The trees without sequences that stand in them already, and of every key the key whose sequence equals its own.

    >>> trees = make_trees([[1, 2], [1, 3], [1, 2]], (7, 8, 9), 10)
    >>> kept, stands_in = without_repeats(trees)
    >>> [tree.keys for tree in kept], stands_in
    ([(7, 8)], {7: 7, 8: 8, 9: 7})
    """
    keys = [key for tree in trees for key in tree.keys]
    found = distinct(np.concatenate([tree.prefix, branch]) for tree in trees for branch in tree.branches)
    stands_in = {key: keys[i] for key, i in zip(keys, found.representative.tolist(), strict=True)}
    kept = []
    for tree in trees:
        own = [i for i, key in enumerate(tree.keys) if stands_in[key] == key]
        if own:
            branches, names = (tuple(part[i] for i in own) for part in (tree.branches, tree.keys))
            kept.append(PrefixTree(tree.prefix, branches, names))
    return kept, stands_in


@dataclasses.dataclass
class _Row:
    length: int
    trees: list[PrefixTree] = dataclasses.field(default_factory=list)


def pack_rows(trees: Sequence[PrefixTree], buckets: Sequence[int]) -> list[list[list[PrefixTree]]]:
    """First-fit decreasing: the rows of each bucket, each row a list of trees.

    The longest trees go first; a tree goes into the first open row with room, else opens a row of the shortest
    bucket that holds it. Deterministic; independent of the order of `trees` up to ties in length.

    Raises:
      InputError: a tree is longer than the longest bucket.
    """
    buckets = sorted(set(buckets))
    rows: list[_Row] = []
    room = np.zeros(len(trees), np.int64)
    for tree in sorted(trees, key=len, reverse=True):
        size = len(tree)
        fits = room[: len(rows)] >= size
        if fits.any():
            slot = int(fits.argmax())
        else:
            bucket = next((length for length in buckets if length >= size), None)
            if bucket is None:
                raise InputError(f"a tree of {size} tokens does not fit the longest bucket", where=f"buckets {buckets}")
            slot = len(rows)
            rows.append(_Row(bucket))
            room[slot] = bucket
        rows[slot].trees.append(tree)
        room[slot] -= size
    return [[row.trees for row in rows if row.length == length] for length in buckets]


def lay_out(rows: Sequence[Sequence[PrefixTree]], length: int, num_rows: int, num_ends: int) -> TreeBatch:
    """Writes rows of trees into one batch ``[num_rows, length]``, padding rows and ends that are missing.

    Raises:
      InputError: there are more rows, tokens in a row, or branch ends than the batch has room for.
    """
    needed = {
        "rows": (len(rows), num_rows),
        "tokens in a row": (max((sum(map(len, trees)) for trees in rows), default=0), length),
        "ends": (sum(len(tree.branches) for trees in rows for tree in trees), num_ends),
    }
    for what, (count, room) in needed.items():
        if count > room:
            raise InputError(f"{count} {what} in a batch of at most {room}", where="lay_out", fix="pack them first")
    grid = {name: np.zeros((num_rows, length), np.int32) for name in ("tokens", "tree", "branch", "position")}
    ends: list[tuple[int, int, int]] = []
    for b, trees in enumerate(rows):
        cursor = 0
        for t, tree in enumerate(trees, start=1):
            parts = [(0, 0, tree.prefix), *((i, len(tree.prefix), br) for i, br in enumerate(tree.branches, start=1))]
            for branch, root_distance, tokens in parts:
                span = slice(cursor, cursor + len(tokens))
                grid["tokens"][b, span] = tokens
                grid["tree"][b, span] = t
                grid["branch"][b, span] = branch
                grid["position"][b, span] = root_distance + np.arange(len(tokens))
                cursor = span.stop
                if branch:
                    ends.append((b, cursor - 1, tree.keys[branch - 1]))
    padding = [(0, 0, -1)] * (num_ends - len(ends))
    end_row, end_index, key = np.array(ends + padding, np.int32).T
    return TreeBatch(**grid, end_row=end_row, end_index=end_index, key=key)


def tree_batches(
    trees: Sequence[PrefixTree], buckets: Sequence[int], tokens_per_batch: int, multiple: int = 1
) -> Iterator[TreeBatch]:
    """All trees as batches of static shape: about `tokens_per_batch` tokens each, one shape per bucket.

    Args:
      trees: no longer than the longest bucket.
      buckets: row lengths.
      tokens_per_batch: padding included.
      multiple: of which every batch's rows are one, e.g. the devices that share them.
    """
    for length, rows in zip(sorted(set(buckets)), pack_rows(trees, buckets), strict=True):
        num_rows = -(-max(1, tokens_per_batch // length) // multiple) * multiple
        groups = [rows[i : i + num_rows] for i in range(0, len(rows), num_rows)]
        most = max((sum(len(tree.branches) for row in group for tree in row) for group in groups), default=0)
        num_ends = -(-most // ENDS_MULTIPLE) * ENDS_MULTIPLE
        for group in groups:
            yield lay_out(group, length, num_rows, num_ends)
