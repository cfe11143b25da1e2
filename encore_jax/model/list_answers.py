"""A list of K answers written after a prompt, each chosen among a few and fed back before the next one is read.

The text between the answers is given (``{"A": "``, ``", "B": "``, ...); only the answers are the model's. Keys and
values of all tokens so far are kept, so an answer costs the few tokens from the last answer to the next one. The
probabilities are those of the whole text so far, run alone.

Letters: C rows, S tokens of a prompt, K answers, B tokens before each, A offered answers, V tokens of the longest, P0
tokens of the root, W = P0 + S + K (V + B) keys kept, I tokens that stand for answers, T tokens of a step, L layers, G
key-value heads, H head dimension.
"""

from __future__ import annotations

from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float

from encore_jax.model.branching import FAR, Root, attend_by_position, layer_windows
from encore_jax.model.config import DecoderConfig
from encore_jax.model.decoder import after_attention, apply_matrix, embedded, layer_norm, lm_logits, rotated_heads
from encore_jax.model.rope import of_layer, rotations


class Template(NamedTuple):
    """What stands around K answers, as token ids; right-aligned parts, left-aligned values.

    Attributes:
      before, before_mask: ``[K, B]``, what is written before each answer.
      values, value_mask: ``[A, V]``, each offered answer as it is fed back.
      ids, owner: ``[I]``, the tokens that stand for an answer when it begins, and the answer's index.
    """

    before: np.ndarray
    before_mask: np.ndarray
    values: np.ndarray
    value_mask: np.ndarray
    ids: np.ndarray
    owner: np.ndarray


class PromptRows(NamedTuple):
    """C prompts.

    Attributes:
      tokens: ``[C, S]``, what follows the root's tokens, padded on the right.
      length: ``[C]``, how many of them are tokens.
      root: ``[C]``, how many of the root's tokens the prompt begins with.
    """

    tokens: Array
    length: Array
    root: Array


class _Cache(NamedTuple):
    """Keys and values ``[L, C, W, G, H]`` and the keys' positions ``[C, W]``, `FAR` where nobody may look."""

    k: Array
    v: Array
    position: Array


def answer_list(
    cfg: DecoderConfig, params: Any, head: Array, root: Root, rows: PromptRows, template: Template, dtype: Any
) -> Float[Array, "C K I"]:
    """Log-probabilities of the answers' tokens at the beginning of each answer, fp32.

    After each of them the offered answer with the highest sum of probabilities is written, then the next part.

    Args:
      params: the backbone's.
      head: the LM head.
      root: of the tokens that all prompts may begin with, see `encore_jax.model.branching.run_root`.
      rows: the prompts.
      template: the text around the answers.
      dtype: compute type.
    """
    (c, s), (k, b), (a, v) = rows.tokens.shape, template.before.shape, template.values.shape
    shared, width = root.k.shape[1], root.k.shape[1] + s + k * (v + b)
    empty = [jnp.zeros((cfg.layers, c, width, *part.shape[2:]), dtype) for part in root]
    kept = [
        lax.dynamic_update_slice(one, jnp.broadcast_to(part[:, None], (cfg.layers, c, *part.shape[1:])), (0,) * 5)
        for one, part in zip(empty, root, strict=True)
    ]
    place = jnp.arange(width, dtype=jnp.int32)[None]
    cache = _Cache(*kept, jnp.where(place < jnp.minimum(rows.root, shared)[:, None], place, FAR))
    mask = jnp.arange(s)[None] < rows.length[:, None]
    _, cache = _extend(cfg, params, cache, rows.tokens, mask, rows.root, shared, dtype)
    owner = jax.nn.one_hot(template.owner, a, dtype=jnp.float32)
    values, value_mask = jnp.asarray(template.values), jnp.asarray(template.value_mask)

    def step(carry, one):
        cache, position, last = carry
        index, before, before_mask = one
        written = jnp.where(index > 0, value_mask[last], False)
        tokens = jnp.concatenate([values[last], jnp.broadcast_to(before, (c, b))], axis=1)
        mask = jnp.concatenate([written, jnp.broadcast_to(before_mask, (c, b))], axis=1)
        start = shared + s + index * (v + b)
        hidden, cache = _extend(cfg, params, cache, tokens, mask, position, start, dtype)
        logits = lm_logits(cfg, params, hidden[:, -1], head)
        logprobs = jnp.take(logits, template.ids, axis=-1) - jax.nn.logsumexp(logits, axis=-1, keepdims=True)
        best = jnp.argmax(jnp.exp(logprobs) @ owner, axis=-1).astype(jnp.int32)
        return (cache, position + mask.sum(1, dtype=jnp.int32), best), logprobs

    first = (cache, rows.root + rows.length, jnp.zeros(c, jnp.int32))
    steps = (jnp.arange(k, dtype=jnp.int32), jnp.asarray(template.before), jnp.asarray(template.before_mask))
    return jnp.moveaxis(lax.scan(step, first, steps)[1], 0, 1)


def _extend(cfg, params, cache: _Cache, tokens_CT, mask_CT, position_C, start, dtype) -> tuple[Array, _Cache]:
    """Hidden states of further tokens after the final norm, and the cache with them from `start` on.

    Masked tokens are seen by nobody; the others have the positions from `position_C` on.
    """
    position = jnp.where(mask_CT, position_C[:, None] + jnp.cumsum(mask_CT, axis=1, dtype=jnp.int32) - 1, 0)
    keys = lax.dynamic_update_slice(cache.position, jnp.where(mask_CT, position, FAR), (0, start))
    turns = rotations(position, cfg)

    def layer(x, one):
        weights, window, k, v = one
        apply = partial(apply_matrix, weights, 0.0)
        y = layer_norm(cfg, weights, "attn_norm", x)
        q, *new = rotated_heads(cfg, weights, apply, y, *of_layer(turns, window))
        k, v = (lax.dynamic_update_slice(old, part, (0, start, 0, 0)) for old, part in zip((k, v), new, strict=True))
        out = attend_by_position(cfg, q, k, v, keys, position, window)
        return after_attention(cfg, weights, apply, x, out), (k, v)

    x = embedded(cfg, params, tokens_CT, dtype)
    x, kept = lax.scan(layer, x, (params["layers"], layer_windows(cfg), cache.k, cache.v))
    return layer_norm(cfg, params, "final_norm", x), _Cache(*kept, keys)
