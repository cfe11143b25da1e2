"""Which keys a query may see in rows of packed prefix trees: the rule that every attention implements.

Shape letters: B rows, S positions.
"""

from __future__ import annotations

import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Bool, Int


def visible(
    tree: Int[Array, "B S"],
    branch: Int[Array, "B S"],
    position: Int[Array, "B S"],
    window: Int[Array, ""] | int | None = None,
    *,
    queries: slice = slice(None),
    keys: slice = slice(None),
) -> Bool[Array, "B q k"]:
    """Which keys each query sees in rows of packed prefix trees.

    A query sees a key of its own tree that lies no later in the row and is on its path: in the
    prefix (branch 0) or in its own branch; with a window, also less than ``window`` positions back
    along the path. Padding (tree 0) sees padding only, itself included, so no row is empty.

    Args:
      tree: which tree each token belongs to, 0 for padding.
      branch: which branch of it, 0 for the prefix.
      position: distance from the root along the path.
      window: sliding window in tokens; 0 or None: none.
      queries, keys: the parts of the row wanted.

    >>> rows = [jnp.array([r]) for r in ([1, 1, 1], [0, 1, 2], [0, 1, 1])]
    >>> visible(*rows)[0].astype(int).tolist()
    [[1, 0, 0], [1, 1, 0], [1, 0, 1]]
    """
    at = jnp.arange(tree.shape[1])
    q_tree, q_branch = tree[:, queries, None], branch[:, queries, None]
    k_tree, k_branch = tree[:, None, keys], branch[:, None, keys]
    seen = (q_tree == k_tree) & ((k_branch == 0) | (k_branch == q_branch))
    seen &= at[None, None, keys] <= at[None, queries, None]
    if window is None:
        return seen
    back = position[:, queries, None] - position[:, None, keys]
    return seen & ((back < window) | (jnp.asarray(window) == 0))


def reach(tree: Int[Array, "B S"]) -> Int[Array, "B S"]:
    """No token sees a key before this place in its row: the first token of its tree, or 0 where ids are out of order.

    >>> reach(jnp.array([[1, 1, 2, 2, 0, 0], [2, 2, 1, 1, 0, 0]])).tolist()
    [[0, 0, 2, 2, 4, 4], [0, 0, 0, 0, 0, 0]]
    """
    at = jnp.arange(tree.shape[1])[None]
    before = jnp.pad(tree[:, :-1], ((0, 0), (1, 0)), constant_values=-1)
    begins = tree != before
    highest = lax.cummax(before, axis=1)
    in_order = (~begins | (tree > highest) | (tree == 0)).all(1, keepdims=True)
    return jnp.where(in_order, lax.cummax(jnp.where(begins, at, 0), axis=1), 0)
