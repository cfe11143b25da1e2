"""Frozen-backbone features: every text run once, in packed prefix trees, kept on disk batch by batch."""

from __future__ import annotations

import contextlib
import hashlib
import math
import os
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jax.sharding import Mesh

from encore_jax.data.atomic import atomic_path
from encore_jax.data.distinct import distinct
from encore_jax.data.prefix_tree import TreeBatch, tree_batches
from encore_jax.files import open_file
from encore_jax.model.config import DecoderConfig
from encore_jax.parallel.mesh import activate, batch_shards, replicated, spans_processes
from encore_jax.parallel.processes import on_every_process
from encore_jax.reward.sequences import Text, check_finite, feature_function, fits, prompt_trees


def extract_features(
    cfg: DecoderConfig,
    params: Any,
    texts: Sequence[Text],
    sequences: Sequence[np.ndarray],
    *,
    dtype: Any,
    buckets: Sequence[int],
    tokens_per_batch: int,
    cache: Path | None = None,
    track: Callable[[Iterable[TreeBatch], float], Iterable[TreeBatch]] = lambda batches, total: batches,
    mesh: Mesh | None = None,
) -> tuple[np.ndarray, dict[str, int]]:
    """Features ``[N, D]`` of N texts; rows of texts that are too long for the longest bucket are NaN.

    Texts of equal tokens are run once and have equal features, to the last bit.

    Args:
      cfg, params: the backbone.
      texts, sequences: the conversations and their token ids, as from `token_sequences`.
      dtype: compute type.
      buckets: row lengths.
      tokens_per_batch: about how many tokens, padding included, go through the model at once.
      cache: folder of finished batches; a killed run continues from there. Its files are trusted only if they are of
        the very same tokens, and undamaged. Without it nothing is kept.
      track: wraps the batches to show progress, given the total number of tokens; by default it is not shown.
      mesh: on which the parameters lie; its devices share the rows of a batch, and every process has all features.

    Returns:
      The features, and counts: texts, dropped (too long), tokens (processed), useful (not padding), separate (what
      running every text alone without padding would process).

    Raises:
      InputError: a feature is not finite.
    """
    if cache is not None:
        cache.mkdir(parents=True, exist_ok=True)
    first, place = distinct(sequences)
    trees = prompt_trees(texts, sequences, max(buckets), first.tolist())
    batches = list(tree_batches(trees, buckets, tokens_per_batch, 1 if mesh is None else batch_shards(mesh)))
    compute = feature_function(cfg, dtype, None if mesh is None else replicated(mesh))
    result = np.full((len(texts), cfg.width), np.nan, np.float32)
    for i, batch in enumerate(track(batches, float(sum(b.tokens.size for b in batches)))):
        path, real = None if cache is None else cache / f"{i:05d}-{_batch_digest(batch)}.f32", batch.key >= 0
        features = None if path is None else _load(path, (len(batch.key), cfg.width))
        # On a mesh a batch is computed by all processes, or by none.
        known = features is not None
        if mesh is not None and spans_processes(mesh):
            known = on_every_process(known).all()
        if not known:
            with contextlib.nullcontext() if mesh is None else activate(mesh):
                features = np.asarray(compute(params, batch))
            check_finite(features[real], batch.key[real], "features")
            if path is not None:
                _save(path, features)
        result[batch.key[real]] = features[real]
    kept = [i for i, sequence in enumerate(sequences) if fits(sequence, max(buckets))]
    return result if len(first) == len(texts) else result[first[place]], {
        "texts": len(texts),
        "dropped": len(texts) - len(kept),
        "tokens": int(sum(batch.tokens.size for batch in batches)),
        "useful": sum(map(len, trees)),
        "separate": int(sum(len(sequences[i]) for i in kept)),
    }


def _batch_digest(batch: TreeBatch) -> str:
    digest = hashlib.sha256()
    for array in batch:
        digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()[:16]


def _save(path: Path, features: np.ndarray) -> None:
    """Writes SHA-256 and then raw fp32 values, so that no damage goes unnoticed."""
    content = features.astype("<f4").tobytes()
    with atomic_path(path) as temporary:
        temporary.write_bytes(hashlib.sha256(content).digest() + content)


def _load(path: Path, shape: tuple[int, int]) -> np.ndarray | None:
    """What `_save` wrote; `None` if it is missing, damaged, or of another shape.

    Raises:
      InputError: something is there that is no regular file, or cannot be read.
    """
    if not os.path.lexists(path):
        return None
    with open_file(path, fix="delete it") as file:
        stored = file.read(32 + 4 * math.prod(shape) + 1)
    digest, content = stored[:32], stored[32:]
    if hashlib.sha256(content).digest() != digest or len(content) != 4 * math.prod(shape):
        return None
    return np.frombuffer(content, "<f4").reshape(shape)
