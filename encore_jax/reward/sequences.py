"""From texts to pooled features: token sequences, prefix trees, and the jitted map over a batch of them."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from absl import logging

from encore_jax.data.comparison import Message, prompt_key
from encore_jax.data.prefix_tree import PrefixTree, TreeBatch, make_trees
from encore_jax.errors import InputError
from encore_jax.model.config import DecoderConfig
from encore_jax.model.decoder import Backbone
from encore_jax.model.pooling import pool_ends, pool_index
from encore_jax.text.rendering import render_each, whole
from encore_jax.text.tokenizer import TemplateRefusal

Text = tuple[tuple[Message, ...], str]
"""A prompt and one response to it."""
_AT_ONCE = 64
"""Texts that the tokenizer is given together, which is quicker."""


def token_sequences(
    tokenizer,
    texts: Sequence[Text],
    pooling: str,
    pad_id: int | None,
    refused: dict[int, str] | None = None,
    hidden: dict[int, str] | None = None,
) -> list[np.ndarray | None]:
    """Token ids of each conversation up to the token that is pooled (nothing after it can matter).

    Args:
      tokenizer: with a chat template.
      texts: the conversations.
      pooling, pad_id: decide which token is pooled.
      refused: collects the texts that the chat template refuses, by their number, with the reason; their sequence is
        None, which `fits` nowhere. Without it the first refusal is raised.
      hidden: collects the texts of which the chat template does not print every message, by their number, with what is
        missing. Without it their number and the first of them are logged.

    Raises:
      TemplateRefusal: the template refuses a text, whose number it names.
    """
    noted = {} if hidden is None else hidden

    def refuse(i: int, error: TemplateRefusal) -> None:
        if refused is None:
            raise TemplateRefusal(error.problem, where=f"text {i}", fix=error.fix) from None
        refused[i] = error.problem

    sequences: list[np.ndarray | None] = []
    for start in range(0, len(texts), _AT_ONCE):
        chats = [whole(prompt, response) for prompt, response in texts[start : start + _AT_ONCE]]
        for i, tokens in enumerate(render_each(tokenizer, chats, start, refuse), start):
            if tokens is None:
                sequences.append(None)
                continue
            end = pool_index(tokens.ids, pooling, pad_id) + 1
            sequences.append(np.asarray(tokens.ids[:end], np.int32))
            if tokens.hidden:
                noted[i] = tokens.hidden
    if noted and hidden is None:
        i, missing = next(iter(noted.items()))
        share = f"parts of {len(noted)} of {len(texts)} texts are not scored"
        logging.warning("%s; the first, text %d: %s", share, i, missing)
    return sequences


def fits(sequence: np.ndarray | None, max_length: int) -> bool:
    """Whether a text can go through the model: the template takes it, and it is not too long."""
    return sequence is not None and len(sequence) <= max_length


def prompt_trees(
    texts: Sequence[Text], sequences: Sequence[np.ndarray | None], max_length: int, rows: Iterable[int] | None = None
) -> list[PrefixTree]:
    """Trees that hold all sequences of one prompt together, keys = positions in `texts`.

    Sequences that do not fit `max_length` are left out: compare the keys with the positions to count them.

    Args:
      texts, sequences: conversations and their token ids.
      max_length: of a tree, in tokens.
      rows: the positions that are wanted, e.g. of the sequences that differ (`encore_jax.data.distinct`); all if left
        out.
    """
    groups: dict[str, list[int]] = {}
    for i in range(len(texts)) if rows is None else rows:
        if fits(sequences[i], max_length):
            groups.setdefault(prompt_key(texts[i][0]), []).append(i)
    trees = []
    for members in groups.values():
        trees.extend(make_trees([sequences[i] for i in members], members, max_length))
    return trees


def check_finite(values: np.ndarray, keys: np.ndarray, what: str) -> None:
    """Makes sure of what a batch gave, one row for each of these keys.

    Raises:
      InputError: a row is not finite.
    """
    bad = np.flatnonzero(~np.isfinite(values).all(1))
    if bad.size:
        raise InputError(
            f"the {what} of {bad.size} texts in a batch are not finite",
            where=f"text {keys[bad[0]]}",
            fix="check the model's weights; if they are sound, compute in float32",
        )


@functools.lru_cache(maxsize=4)
def feature_function(
    cfg: DecoderConfig, dtype: Any, sharding: jax.sharding.Sharding | None = None
) -> Callable[[Any, TreeBatch], jax.Array]:
    """The jitted map from parameters and a batch to pooled fp32 features ``[M, D]``; the same one for the same model.

    Args:
      cfg, dtype: the backbone and its compute type.
      sharding: where the features shall lie; by default where the parameters' computation leaves them.
    """
    backbone = Backbone(cfg, dtype=dtype)

    def features(params, batch: TreeBatch):
        hidden = backbone.apply({"params": params}, batch.tokens, batch.tree, batch.branch, batch.position)
        return pool_ends(hidden, batch.end_row, batch.end_index).astype(jnp.float32)

    return jax.jit(features) if sharding is None else jax.jit(features, out_shardings=sharding)
