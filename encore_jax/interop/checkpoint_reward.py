"""A published ...ForSequenceClassification checkpoint as a reward model, as it is: the untouched backbone."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path

import jax.numpy as jnp
import numpy as np

from encore_jax.errors import InputError
from encore_jax.interop.huggingface import load_backbone
from encore_jax.interop.passport import Passport
from encore_jax.interop.reward_model import RewardModel
from encore_jax.interop.tokenizer import load_tokenizer, template_digest

SUFFIXES = (".safetensors", ".json", ".jinja", ".model")


def checkpoint_files(folder: Path) -> list[Path]:
    """What a checkpoint's scores depend on."""
    return sorted(path for path in folder.iterdir() if path.suffix in SUFFIXES)


def reward_model_of_checkpoint(folder: str | Path, dtype: str, buckets: Sequence[int], sha256: str) -> RewardModel:
    """The checkpoint's own head on its own backbone, pooled as transformers pools it.

    Args:
      folder: with config.json, safetensors and tokenizer.
      dtype: of weights and computation; the head is float32.
      buckets: row lengths in tokens.
      sha256: one hash over its files, for the passport.

    Raises:
      InputError: the checkpoint has no head, or one with several outputs, which nothing here says how to weigh.
    """
    cfg, params, extras = load_backbone(folder, jnp.dtype(dtype))
    if extras.score is None or extras.score.shape[1] != 1:
        outputs = 0 if extras.score is None else extras.score.shape[1]
        raise InputError(
            f"its reward head has {outputs} outputs",
            where=str(folder),
            fix="name a checkpoint with one output (score.weight), or a saved reward model's folder",
        )
    tokenizer = load_tokenizer(folder)
    passport = Passport(
        model=Path(folder).name,
        model_sha256=sha256,
        template_sha256=template_digest(tokenizer),
        bos="chat template",
        pooling="hf",
        pad_id=-1 if tokenizer.pad_token_id is None else tokenizer.pad_token_id,
        dtype=dtype,
        max_length=max(buckets),
        rules=("reward",),
        pool_sha256=hashlib.sha256(b"").hexdigest(),
        data_revision="",
        weights=(1.0,),
    )
    kernel = np.asarray(extras.score, np.float32)
    return RewardModel(cfg, params, tokenizer, kernel, np.zeros(1, np.float32), passport, tuple(buckets))
