"""What a trainer may hand to `NnxReward`: shapes and dtypes, which hold inside ``jit`` too, and outside it the values.

Without this a mask that is added to logits would say that every token is padding, and a negative id would be counted
from the end of the vocabulary; both give a reward.

Shape letters: B batch, S sequence.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Int

from encore_jax.errors import InputError
from encore_jax.model.config import DecoderConfig

MOST_LOOKED_AT = 1 << 22
"""Entries of an array whose values are checked."""


class Rows(NamedTuple):
    """Token ids with what belongs to them, all on the shapes that `NnxReward.scores` says."""

    tokens: Int[Array, "B S"]
    positions: Int[Array, "B S"]
    mask: Bool[Array, "B S S"] | None
    segments: Int[Array, "B S"] | None


def checked_rows(tokens: Any, positions: Any, mask: Any, segments: Any, cfg: DecoderConfig, added: int = 0) -> Rows:
    """The arguments of a call, as arrays of int32 and bool.

    Args:
      tokens, positions, mask, segments: of the call; a mask may hold 0 and 1.
      cfg: of the backbone.
      added: tokens of an ending.

    Raises:
      InputError: another shape or kind of numbers; an empty batch; conversations longer than the model's positions; ids
        outside the vocabulary, negative segments, or a mask by which a token sees later ones, where values are known.
    """
    tokens = _whole("tokens", tokens, None)
    shape = tokens.shape
    if len(shape) != 2 or 0 in shape:
        raise InputError(f"have shape {shape}", where="tokens", fix="pass [B, S], with at least one row and one token")
    positions = _whole("positions", positions, shape)
    if segments is not None:
        segments = _whole("segment_ids", segments, shape, bools=True)
    if mask is not None:
        mask = _whole("attention_mask", mask, (*shape, shape[1]), bools=True) != 0
    if segments is None and shape[1] + added > cfg.max_positions:
        behind = f" and {added} of an ending" if added else ""
        problem = f"rows of {shape[1]} tokens{behind}, and the model's positions end at {cfg.max_positions}"
        raise InputError(problem, where="tokens", fix="let the trainer cut prompts and answers, or use another model")
    _check_values(tokens, mask, segments, cfg)
    return Rows(tokens, positions, mask, segments)


def _whole(name: str, value: Any, shape: tuple[int, ...] | None, bools: bool = False) -> Array:
    """An array of whole numbers as int32, or InputError."""
    kinds = "iub" if bools else "iu"
    if not isinstance(value, jax.Array | np.ndarray):
        raise InputError(f"got a {type(value).__name__}", where=name, fix="pass an array")
    if value.dtype.kind not in kinds:
        wanted = "true and false, or whole numbers" if bools else "whole numbers"
        raise InputError(f"are {value.dtype}", where=name, fix=f"pass {wanted}, e.g. of int32")
    if shape is not None and value.shape != shape:
        raise InputError(f"have shape {value.shape}", where=name, fix=f"pass {shape}, as the tokens")
    return jnp.asarray(value).astype(jnp.int32)


def _check_values(tokens: Array, mask: Array | None, segments: Array | None, cfg: DecoderConfig) -> None:
    """What can be said where values are known: inside ``jit`` they are not."""
    if not _known(tokens):
        return
    ids = np.asarray(tokens)
    for bad in ids[(ids < 0) | (ids >= cfg.vocab_size)][:1]:
        fix = "use the reward model's own tokenizer, also for padding"
        raise InputError(f"{bad} is no id: there are {cfg.vocab_size}", where="tokens", fix=fix)
    if _known(segments) and (np.asarray(segments) < 0).any():
        raise InputError("one is negative", where="segment_ids", fix="number conversations from 1; padding is 0")
    if _known(mask) and np.triu(np.asarray(mask), 1).any():
        raise InputError("a token sees a later one", where="attention_mask", fix="pass a causal mask")


def _known(array: Array | None) -> bool:
    """Whether values can be looked at without waiting for a large transfer, or for another process's devices."""
    if array is None or isinstance(array, jax.core.Tracer):
        return False
    return array.size <= MOST_LOOKED_AT and array.is_fully_addressable
