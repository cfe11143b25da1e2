"""Hugging Face folders and adapted folders: from named tensors to the backbone's parameters and what lies beside."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np

from encore_jax.checkpoints import armorm
from encore_jax.checkpoints.assemble import Extras, Progress, assemble, check, counter, stored_names
from encore_jax.checkpoints.finite import check_weights
from encore_jax.checkpoints.safetensors import HuggingFaceFolder, read_json
from encore_jax.errors import InputError
from encore_jax.json_shape import check_shape
from encore_jax.model.config import DecoderConfig
from encore_jax.model.config_files import FUSED, MULTIMODAL
from encore_jax.model.config_shape import Classifier
from encore_jax.model.params import Param, declare, declare_lm_head

BASE = "model."
SCORE, CLASSIFIER = "score.weight", "ForSequenceClassification"


def read_config(folder: Path) -> tuple[DecoderConfig, dict[str, Any]]:
    """The architecture, and the ``config.json`` it was read from.

    Raises:
      InputError: a model that is not computed here, named by field and value.
    """
    path = folder / "config.json"
    config = read_json(path)
    check_shape(config, Classifier, where=str(path), fix="use the model's own config.json")
    try:
        return DecoderConfig.from_hf(config), config
    except InputError as error:
        where = f"{folder}/{error.where}" if error.where.startswith("config.json") else f"{path}, {error.where}"
        raise InputError(error.problem, where=where, fix=error.fix) from None


def reads_pictures(path: Path) -> bool:
    """Whether this is the folder of a model of which only a part reads text."""
    config = path / "config.json"
    return config.is_file() and str(read_json(config).get("model_type")) in MULTIMODAL


def architecture(config: Mapping[str, Any]) -> str:
    """The class that the checkpoint was saved from, or ""."""
    return (config.get("architectures") or [""])[0]


def labels(config: Mapping[str, Any]) -> int | None:
    """How many scores a classification checkpoint has; None if its configuration does not say."""
    names = config.get("id2label")
    return len(names) if names else config.get("num_labels")


def load_folder(
    folder: str | Path,
    dtype: Any = jnp.float32,
    shardings: Any = None,
    *,
    lm_head: bool = True,
    progress: Progress | None = None,
) -> tuple[DecoderConfig, dict[str, Any], Extras]:
    """Loads a Hugging Face folder into the backbone's parameters.

    Base models, ...ForCausalLM, ...ForSequenceClassification and ArmoRM checkpoints all load; a
    classification head comes back as ``extras.score``, ArmoRM's as ``extras.heads``, an untied LM head as
    ``extras.lm_head``.

    Args:
      folder: with ``config.json`` and safetensors weights.
      dtype: of the parameters.
      shardings: a pytree of shardings like the parameters; None: the default device.
      lm_head: whether to load an untied LM head at all.
      progress: called with bytes read and bytes to read.

    Raises:
      InputError: an unsupported model, damaged files, tensors that do not fit, or weights that are not finite.
    """
    folder = Path(folder)
    cfg, config = read_config(folder)
    return load_tensors(HuggingFaceFolder(folder), cfg, config, dtype, shardings, lm_head=lm_head, progress=progress)


def load_tensors(
    source: HuggingFaceFolder,
    cfg: DecoderConfig,
    config: Mapping[str, Any],
    dtype: Any,
    shardings: Any = None,
    *,
    lm_head: bool = True,
    progress: Progress | None = None,
) -> tuple[DecoderConfig, dict[str, Any], Extras]:
    """`load_folder` from tensors that have their names, wherever they are."""
    if source.left_out:
        logging.getLogger(__name__).warning(
            "%s: tensors that take no part in reading text are left out: %s", source.where, source.left_out
        )
    if cfg.family in FUSED:
        from encore_jax.checkpoints.fused import Apart

        source = Apart(source, cfg)
    found = source.shapes()
    base = BASE if any(name.startswith(BASE) for name in found) else ""
    declared, head = declare(cfg), declare_lm_head(cfg)

    def name_of(p: Param) -> str:
        return base + p.hf.removeprefix(BASE) if p.hf.startswith(BASE) else p.hf

    leaves = [declared["embed"], declared["final_norm"], *declared["layers"].values()]
    expected = {n: p.stored_shape(name_of(p)) for p in leaves for n in stored_names(p, name_of(p))}
    if head.hf in found:
        expected[head.hf] = head.file_shape
    heads = _heads(config, found, cfg.width)
    # Older llama checkpoints also store the rotary frequencies, which follow from the config.
    ignored = [n for n in found if n.endswith(".rotary_emb.inv_freq")]
    check(source, expected | heads, ignored)

    needed = [*leaves, *([head] if lm_head and head.hf in found and not cfg.tie_embeddings else [])]
    seen = counter(progress, sum(source.size(name) for p in needed for name in stored_names(p, name_of(p))))
    params = assemble(source, declared, name_of, dtype, shardings, seen)
    untied = None
    if head.hf in found:
        if cfg.tie_embeddings:
            _check_tied(source, head.hf, name_of(declared["embed"]))
        elif lm_head:
            sharding = None if shardings is None else shardings["embed"]
            untied = assemble(source, head, name_of, dtype, sharding, seen)
    read = {name: source.read(name).astype(np.float32) for name in heads}
    for name, tensor in read.items():
        check_weights(tensor, f"{source.where}, tensor {name!r}")
    score = jnp.asarray(read.pop(SCORE).T) if SCORE in read else None
    return cfg, params, Extras(config=config, score=score, lm_head=untied, heads=read)


def _heads(config: Mapping[str, Any], found: Mapping[str, tuple], width: int) -> dict[str, tuple[int, ...]]:
    """Names and shapes of the heads: what the configuration says must be there, or a score that is there anyway."""
    if architecture(config) == armorm.ARCHITECTURE:
        return armorm.head_shapes(config)
    promised = architecture(config).endswith(CLASSIFIER)
    if SCORE not in found and not promised:
        return {}
    stored = found.get(SCORE, (1,))[0]
    return {SCORE: ((labels(config) or stored) if promised else stored, width)}


def _check_tied(source: HuggingFaceFolder, head: str, embed: str) -> None:
    if not np.array_equal(source.read(head), source.read(embed)):
        raise InputError(
            f"tie_word_embeddings is true and {head!r} differs from {embed!r}",
            where=source.where,
            fix="set tie_word_embeddings to false in config.json, or remove the tensor",
        )
