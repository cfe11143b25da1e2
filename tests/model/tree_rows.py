"""Rows of packed prefix trees made by hand, and the rule of who sees whom, for the tests of kernels and plans."""

import numpy as np

LENGTH, BLOCK = 384, 128


def row(*trees, length=LENGTH):
    """One row: trees given as (prefix length, branch lengths...), then padding; [3, length] tree, branch, position."""
    parts = []
    for t, (prefix, *branches) in enumerate(trees, start=1):
        parts.append(np.stack([np.full(prefix, t), np.zeros(prefix, int), np.arange(prefix)]))
        parts += [
            np.stack([np.full(size, t), np.full(size, b), prefix + np.arange(size)])
            for b, size in enumerate(branches, start=1)
        ]
    ids = np.concatenate(parts or [np.zeros((3, 0), int)], axis=1)[:, :length]
    return np.pad(ids, ((0, 0), (0, length - ids.shape[1]))).astype(np.int32)


ROWS = [
    row((100, 156, 128)),  # the third block, all of branch 2, sees nothing of the second, all of branch 1
    row((9, 20, 40, 5), (0, 30, 24), (60, 3, 7), (90, 15, 5)),  # many trees, one without prefix, then padding
    row((LENGTH,)),
    row(),
]


def visible_pairs(ids, window=0):
    """The rule of attention over prefix trees, without padding: [B, S, S]."""
    tree, branch, position = np.moveaxis(np.asarray(ids), 1, 0)
    seen = (tree[:, :, None] == tree[:, None]) & (tree[:, :, None] != 0)
    seen &= (branch[:, None] == 0) | (branch[:, :, None] == branch[:, None])
    if window:
        seen &= position[:, :, None] - position[:, None] < window
    return seen & np.tri(tree.shape[1], dtype=bool)
