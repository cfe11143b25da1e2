"""Backbone weights from GGUF files, dequantised."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np

from encore_jax.checkpoints.assemble import Extras, Progress, assemble, check, counter, stored_names
from encore_jax.checkpoints.gguf_file import GGUFFile
from encore_jax.errors import InputError
from encore_jax.model.config import DecoderConfig
from encore_jax.model.params import declare, declare_lm_head

# Architectures whose query and key rows llama.cpp stores with each rotary pair adjacent.
INTERLEAVED = ("llama", "mistral")
ROPE = "rope_freqs.weight"


def load_gguf(
    path: str | Path,
    dtype: Any = jnp.float32,
    shardings: Any = None,
    *,
    lm_head: bool = True,
    progress: Progress | None = None,
) -> tuple[DecoderConfig, dict[str, Any], Extras]:
    """Loads a GGUF file into the backbone's parameters.

    Args:
      path: the file; its tensors are F32, F16, BF16, Q8_0, Q4_0, Q4_1, Q5_0, Q5_1, Q2_K, Q3_K, Q4_K, Q5_K, Q6_K,
        IQ4_NL or IQ4_XS.
      dtype: of the parameters.
      shardings: a pytree of shardings like the parameters; None: the default device.
      lm_head: whether to load an untied LM head at all.
      progress: called with bytes read and bytes to read, as they are once dequantised.

    Returns:
      Configuration, parameters, and extras (metadata, LM head if untied).

    Raises:
      InputError: a damaged or truncated file, an unsupported model, or tensors that do not fit.
    """
    file = GGUFFile(Path(path))
    cfg = config_of(file)
    source = _AsInFolders(file, cfg)
    declared, head = declare(cfg), declare_lm_head(cfg)
    leaves = [declared["embed"], declared["final_norm"], *declared["layers"].values()]
    if not cfg.tie_embeddings:
        leaves.append(head)
    expected = {name: p.stored_shape(p.gguf) for p in leaves for name in stored_names(p, p.gguf)}
    check(source, expected, ignored=(ROPE,))
    if not lm_head:
        leaves = [p for p in leaves if p is not head]
    total = sum(4 * math.prod(p.shape) for p in leaves)
    seen = counter(progress, total)
    params = assemble(source, declared, lambda p: p.gguf, dtype, shardings, seen)
    untied = None
    if lm_head and not cfg.tie_embeddings:
        sharding = None if shardings is None else shardings["embed"]
        untied = assemble(source, head, lambda p: p.gguf, dtype, sharding, seen)
    return cfg, params, Extras(config=file.metadata, lm_head=untied)


def config_of(file: GGUFFile) -> DecoderConfig:
    """The configuration of an open GGUF file."""
    factors = ()
    if ROPE in file.tensors:
        found = file.read(ROPE).astype(np.float32)
        if found.ndim != 1 or found.size > 4096 or not (np.isfinite(found) & (found > 0)).all():
            raise InputError("is no list of positive numbers", where=f"{file.where}, tensor {ROPE!r}")
        factors = tuple(found.tolist())
    tied = "output.weight" not in file.tensors
    try:
        return DecoderConfig.from_gguf(file.metadata, tie_embeddings=tied, rope_factors=factors)
    except InputError as error:
        raise InputError(error.problem, where=f"{file.where}, {error.where}", fix=error.fix) from None


class _AsInFolders:
    """A GGUF file with its tensors as Hugging Face stores them.

    Query and key rows are put back into its rotary order, and norms' scales are again what they differ from 1 by, in
    models that store them so (Gemma).
    """

    def __init__(self, file: GGUFFile, cfg: DecoderConfig):
        self.file, self.where = file, file.where
        counts = {"attn_q": cfg.heads, "attn_k": cfg.kv_heads}
        self.heads = counts if file.arch in INTERLEAVED else {}
        self.norm_offset = np.float32(cfg.norm_offset)

    def shapes(self):
        return self.file.shapes()

    def release(self, name: str) -> None:
        """Nothing to give back: quantised tensors are small, and dequantised into arrays of their own."""

    def read(self, name: str) -> np.ndarray:
        tensor, kind = self.file.read(name), name.split(".")[-2]
        if kind.endswith("norm"):
            return tensor - self.norm_offset if self.norm_offset else tensor
        heads = self.heads.get(kind)
        if heads is None:
            return tensor
        pairs = tensor.reshape(heads, tensor.shape[0] // heads // 2, 2, -1)
        return pairs.swapaxes(1, 2).reshape(tensor.shape)
