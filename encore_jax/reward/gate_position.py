"""Where ArmoRM's gate reads: the hidden state at the first token of the last generation prompt.

Llama 3: ``<|start_header_id|>`` of the assistant's header, which has seen the whole conversation and nothing of the
answer.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from encore_jax.data.prefix_tree import PrefixTree
from encore_jax.errors import InputError
from encore_jax.text.chat_template import render_texts
from encore_jax.text.tokenizer import token_ids


def generation_prompt(tokenizer) -> tuple[int, ...]:
    """The tokens with which the chat template begins an answer."""
    asked = [{"role": "user", "content": "?"}]
    without, begun = (
        token_ids(tokenizer, render_texts(tokenizer, [asked], generation=begin))[0] for begin in (False, True)
    )
    if begun[: len(without)] != without or len(begun) == len(without):
        raise InputError("the chat template has no generation prompt", where="tokenizer", fix="use the model's own")
    return tuple(begun[len(without) :])


def gate_position(tokens: Sequence[int], pattern: Sequence[int]) -> int:
    """Which token of a conversation the gate reads: the first of the last `pattern`.

    Raises:
      InputError: the pattern is not there.

    >>> gate_position([1, 8, 9, 2, 8, 9, 3], (8, 9))
    4
    """
    tokens, size = np.asarray(tokens, np.int32), len(pattern)
    if len(tokens) >= size:
        windows = np.lib.stride_tricks.sliding_window_view(tokens, size)
        found = np.flatnonzero((windows == np.asarray(pattern)[None]).all(1))
        if found.size:
            return int(found[-1])
    raise InputError(
        "no answer begins in it, so the gate has nothing to read",
        where="conversation",
        fix="render it with the model's own chat template, or send messages",
    )


def gate_places(rows: Sequence[Sequence[PrefixTree]], pattern: Sequence[int]) -> tuple[np.ndarray, np.ndarray]:
    """Row and column of the token that the gate reads for every branch, in the order of `lay_out`.

    It lies in the prefix that the branches share, unless an answer has the pattern in itself.

    >>> tree = PrefixTree(np.array([1, 8, 9]), (np.array([5]), np.array([6, 8, 9, 7])), (0, 1))
    >>> [place.tolist() for place in gate_places([[], [tree]], (8, 9))]
    [[1, 1], [1, 5]]
    """
    places = []
    for row, trees in enumerate(rows):
        start = 0
        for tree in trees:
            shared = len(tree.prefix)
            branch_start = start + shared
            for branch in tree.branches:
                at = gate_position(np.concatenate([tree.prefix, branch]), pattern)
                places.append((row, start + at if at < shared else branch_start + at - shared))
                branch_start += len(branch)
            start = branch_start
    row_column = np.array(places, np.int32).reshape(-1, 2)
    return row_column[:, 0], row_column[:, 1]
