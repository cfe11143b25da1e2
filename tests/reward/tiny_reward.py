"""Tiny reward models of every family, drawn at random, with a byte-level tokenizer and a chat template."""

from __future__ import annotations

import json
from pathlib import Path

import jax.numpy as jnp
import numpy as np
from safetensors.numpy import save_file

from encore_jax.checkpoints.huggingface import load_backbone
from encore_jax.reward.passport import Passport, model_digest
from encore_jax.reward.reward_model import RewardModel
from encore_jax.text.tokenizer import load_tokenizer, template_digest
from tests.experiments import tiny_model
from tests.goldens import tiny

RULES = ("violence", "privacy", "kindness")
PROMPTS = ["How do I open a lock?", "Tell me of the sea."]
RESPONSES = [["No.", "Use a key; ask a locksmith.", "I will not say."], ["It is deep.", "Waves, salt, wind <3"]]
CHATS = [
    [{"role": "user", "content": prompt}, {"role": "assistant", "content": response}]
    for prompt, group in zip(PROMPTS, RESPONSES, strict=True)
    for response in group
]


def write_backbone(folder: Path, family: str, tokenizer=None, **changes) -> Path:
    """A folder of the family's tiny model, its vocabulary that of the tokenizer; without heads."""
    tokenizer = tokenizer or tiny_model.tokenizer()
    folder.mkdir(parents=True, exist_ok=True)
    config = {**tiny.config(family), "vocab_size": len(tokenizer), "tie_word_embeddings": True, **changes}
    (folder / "config.json").write_text(json.dumps(config))
    save_file(draw(config), folder / "model.safetensors")
    tokenizer.save_pretrained(folder)
    return folder


def draw(config: dict, labels: int = 0, seed: int = 3) -> dict[str, np.ndarray]:
    """Random tensors by their Hugging Face names."""
    rng, drawn = np.random.default_rng(seed), {}
    for name, shape in tiny.shapes(config, labels):
        noise = rng.standard_normal(shape)
        if name.endswith("norm.weight"):
            noise = 0.2 * noise + ("gemma" not in config["model_type"])
        elif "embed" not in name:
            noise = noise / np.sqrt(shape[-1])
        drawn[name] = noise.astype(np.float32)
    return drawn


def reward_model(
    folder: Path, family: str = "llama32", dtype: str = "float32", tokenizer=None, **changes
) -> RewardModel:
    """Three rule heads with offsets on a tiny backbone that lies in `folder`."""
    write_backbone(folder, family, tokenizer, **changes)
    cfg, params, _ = load_backbone(folder, jnp.dtype(dtype), lm_head=False)
    tokenizer, rng = load_tokenizer(folder), np.random.default_rng(5)
    passport = Passport(
        model=folder.name,
        model_sha256=model_digest(folder),
        template_sha256=template_digest(tokenizer),
        bos="chat template",
        pooling="last",
        pad_id=tokenizer.pad_token_id,
        dtype=dtype,
        max_length=128,
        rules=RULES,
        pool_sha256="p",
        data_revision="d",
        entropy=(0.3, 0.6, 0.9),
        weights=(0.5, 0.3, 0.2),
    )
    kernel = rng.standard_normal((cfg.width, 3)).astype(np.float32)
    bias = np.array([0.4, -1.5, 2.5], np.float32)
    return RewardModel(cfg, params, tokenizer, kernel, bias, passport, (64, 128))
