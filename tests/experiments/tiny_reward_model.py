"""A saved reward model in miniature: three rules on the tiny random Llama, as a folder and in memory."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import jax
import numpy as np

from encore_jax.model.decoder import Backbone
from encore_jax.reward.passport import Passport, model_digest
from encore_jax.reward.reward_model import RewardModel
from encore_jax.reward.sequences import token_sequences
from encore_jax.text.tokenizer import template_digest
from tests.experiments import tiny_model

RULES = ("violence", "privacy", "kindness")
WEIGHTS = (0.5, 0.3, 0.2)
BUCKETS = (128, 256)


def passport(pooling: str = "last") -> Passport:
    """What the scores depend on."""
    return Passport(
        model="tiny",
        model_sha256="0" * 64,
        template_sha256=template_digest(tiny_model.tokenizer()),
        bos="template",
        pooling=pooling,
        pad_id=257,
        dtype="float32",
        max_length=max(BUCKETS),
        rules=RULES,
        pool_sha256="0" * 64,
        data_revision="tiny",
        entropy=(0.1, 0.2, 0.3),
        weights=WEIGHTS,
    )


def in_memory(seed: int = 0, pooling: str = "last", buckets: tuple[int, ...] = BUCKETS) -> RewardModel:
    """Random heads on random parameters."""
    rng, cfg = np.random.default_rng(seed), tiny_model.decoder_config()
    kernel = rng.standard_normal((cfg.width, len(RULES))).astype(np.float32)
    bias = rng.standard_normal(len(RULES)).astype(np.float32)
    return RewardModel(cfg, tiny_model.draw(seed), tiny_model.tokenizer(), kernel, bias, passport(pooling), buckets)


def write(folder: Path, seed: int = 0) -> Path:
    """The same, saved: the backbone in `folder`/backbone, the reward model in `folder`/model."""
    backbone, model = tiny_model.write(folder / "backbone", seed), in_memory(seed)
    digest = model_digest(backbone)
    named = dataclasses.replace(model, passport=dataclasses.replace(model.passport, model_sha256=digest))
    named.save(folder / "model", str(backbone))
    return folder / "model"


def scores_alone(model: RewardModel, texts) -> np.ndarray:
    """Scores ``[N, K]``, each text as a plain causal sequence in a row of its own; what follows it cannot matter."""
    sequences = token_sequences(model.tokenizer, texts, model.passport.pooling, model.tokenizer.pad_token_id)
    tokens = np.full((len(texts), max(map(len, sequences))), 7, np.int32)
    for row, sequence in zip(tokens, sequences, strict=True):
        row[: len(sequence)] = sequence
    position = np.tile(np.arange(tokens.shape[1], dtype=np.int32), (len(tokens), 1))
    apply = jax.jit(Backbone(model.cfg).apply)
    hidden = apply({"params": model.params}, tokens, np.ones_like(tokens), np.zeros_like(tokens), position)
    ends = np.asarray(hidden)[np.arange(len(tokens)), [len(sequence) - 1 for sequence in sequences]]
    return ends @ model.kernel + model.bias
