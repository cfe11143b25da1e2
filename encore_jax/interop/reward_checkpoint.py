"""Reward models as others save them: ...ForSequenceClassification folders, ArmoRM, PEFT adapters, and our exports."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np

from encore_jax.errors import InputError
from encore_jax.interop import armorm
from encore_jax.interop.adapters import CONFIG as ADAPTER
from encore_jax.interop.adapters import AdaptedFolder, base_folder
from encore_jax.interop.assemble import Extras
from encore_jax.interop.hf_folder import architecture, labels, load_folder, load_tensors, read_config
from encore_jax.interop.passport import PASSPORT, Passport, model_digest, read_passport
from encore_jax.interop.safetensors import read_json
from encore_jax.interop.tokenizer import load_tokenizer, template_digest
from encore_jax.model.config import DecoderConfig
from encore_jax.model.gating import Gate

OURS = "encore_jax"
"""The field of an exported ``config.json`` that holds what transformers has no field for."""
BUCKETS = (512, 1024, 2048, 4096)
"""Row lengths for a model that does not say what it was trained on."""
REWARD = "reward"
"""Name of the head of a model that has only one."""


class Loaded(NamedTuple):
    """The fields of a `RewardModel`."""

    cfg: DecoderConfig
    params: Any
    tokenizer: Any
    kernel: np.ndarray
    bias: np.ndarray
    passport: Passport
    buckets: tuple[int, ...]
    gate: Gate | None


def is_checkpoint(folder: Path) -> bool:
    """Whether this is a folder of transformers or of PEFT; a run's folder has a config.json of another kind."""
    config = folder / "config.json"
    if (folder / ADAPTER).is_file():
        return True
    return config.is_file() and bool({"model_type", "architectures"} & read_json(config).keys())


def load_checkpoint(
    folder: Path, *, dtype: str | None = None, offline: bool = False, allow_mismatch: bool = False
) -> Loaded:
    """Loads a checkpoint's backbone, heads and tokenizer.

    Args:
      folder: with ``config.json``, or with ``adapter_config.json``.
      dtype: of weights and computation; by default the passport's, else the checkpoint's own (fp32 for fp16).
      offline: fetch no base model.
      allow_mismatch: see `Passport.checked`.

    Raises:
      InputError: no heads, missing, unknown or damaged tensors, or something that the passport contradicts.
    """
    passport = read_passport(folder) if (folder / PASSPORT).is_file() else None
    base = base_folder(folder, offline=offline) if (folder / ADAPTER).is_file() else folder
    cfg, config = read_config(base)
    dtype = dtype or (passport.dtype if passport else _own_dtype(config))
    if base is folder:
        _, params, extras = load_folder(folder, jnp.dtype(dtype), lm_head=False)
    else:
        source = AdaptedFolder(folder, base)
        _, params, extras = load_tensors(source, cfg, _without_labels(config), jnp.dtype(dtype), lm_head=False)
    kernel, gate = _heads(extras, config, folder)
    tokenizer = _tokenizer(folder, base, config, cfg.vocab_size)
    ours = config.get(OURS, {}) if base is folder else _adapters_own(folder)
    bias = np.asarray(ours.get("offset", [0.0] * kernel.shape[1]), np.float32)
    buckets = tuple(ours.get("buckets") or [n for n in BUCKETS if n <= cfg.max_positions] or [cfg.max_positions])
    found = {
        "model_sha256": model_digest(folder),
        "template_sha256": template_digest(tokenizer),
        "pad_id": -1 if tokenizer.pad_token_id is None else tokenizer.pad_token_id,
        "dtype": dtype,
    }
    if base is folder and OURS in config:
        found["rules"] = _label_names(config, kernel.shape[1])
    if passport is None:
        passport = _new_passport(folder, config, kernel.shape[1], found, max(buckets), gate)
    else:
        passport = passport.checked(found, str(folder), allow=allow_mismatch)
    if not len(passport.rules) == len(bias) == kernel.shape[1]:
        raise InputError(
            f"{kernel.shape[1]} heads, {len(passport.rules)} names and {len(bias)} offsets",
            where=str(folder),
            fix="heads and passport must belong together",
        )
    return Loaded(cfg, params, tokenizer, kernel, bias, passport, buckets, gate)


def _heads(extras: Extras, config: Mapping[str, Any], folder: Path) -> tuple[np.ndarray, Gate | None]:
    if extras.heads:
        return extras.heads[armorm.REGRESSION].T, armorm.gate_of(extras.heads, config)
    if extras.score is None:
        raise InputError(
            f"there is no tensor 'score.weight': {architecture(config) or 'it'} is no reward model",
            where=str(folder),
            fix="load it with load_backbone and train heads, or name a ...ForSequenceClassification checkpoint",
        )
    return np.asarray(extras.score), None


def _own_dtype(config: Mapping[str, Any]) -> str:
    own = config.get("dtype") or config.get("torch_dtype")
    return own if own == "bfloat16" else "float32"


def _without_labels(config: Mapping[str, Any]) -> dict[str, Any]:
    """A base model's configuration as an adapter with heads of its own uses it."""
    return {name: value for name, value in config.items() if name not in ("id2label", "num_labels", "architectures")}


def _adapters_own(folder: Path) -> dict[str, Any]:
    path = folder / f"{OURS}.json"  # PEFT warns of fields that it does not know, so it is a file of its own
    return read_json(path) if path.is_file() else {}


def _tokenizer(folder: Path, base: Path, config: Mapping[str, Any], rows: int):
    """The tokenizer, its padding token that of the configuration, which transformers pools by.

    Raises:
      InputError: see `load_tokenizer`; or the padding token of the configuration is none.
    """
    own = any((folder / name).is_file() for name in ("tokenizer.json", "tokenizer_config.json"))
    pad = _padding(config, rows, base)
    tokenizer = load_tokenizer(folder if own else base, rows=rows)
    if folder != base and own and tokenizer.pad_token_id is not None:
        pad = tokenizer.pad_token_id  # adapters leave the base's configuration alone
    if tokenizer.pad_token_id != pad:
        tokenizer.pad_token = None if pad is None else tokenizer.convert_ids_to_tokens(pad)
    return tokenizer


def _padding(config: Mapping[str, Any], rows: int, folder: Path) -> int | None:
    """The padding token's number in a configuration; -1 stands for none, as in early Llama checkpoints."""
    pad = config.get("pad_token_id", 0 if config["model_type"] == "gemma2" else None)
    if pad is None or (type(pad) is int and pad == -1):
        return None
    if type(pad) is not int or not 0 <= pad < rows:
        raise InputError(
            f"field 'pad_token_id' is {pad!r}; it must be a token's number, 0 to {rows - 1}, or null",
            where=str(folder / "config.json"),
            fix="correct it; null (or -1) says that there is no padding token",
        )
    return pad


def _new_passport(
    folder: Path, config: Mapping[str, Any], count: int, found: Mapping[str, Any], longest: int, gate: Gate | None
) -> Passport:
    """What can be said of a checkpoint that came without a passport."""
    if gate is not None:
        rules: tuple[str, ...] = armorm.head_names(config)
    elif count == 1:
        rules = (REWARD,)
    else:
        rules = _label_names(config, count)
    # ArmoRM pools before the first padding token, which is the last token of a conversation that has none.
    return Passport(
        model=folder.name,
        bos="chat template",
        pooling="last" if gate is not None or found["pad_id"] < 0 else "hf",
        max_length=longest,
        rules=rules,
        pool_sha256="",
        data_revision="",
        weights=(1.0,) if count == 1 else (),
        **{name: value for name, value in found.items() if name != "rules"},
    )


def _label_names(config: Mapping[str, Any], count: int) -> tuple[str, ...]:
    names = config.get("id2label") if labels(config) == count else None
    return tuple(str((names or {}).get(str(i), f"LABEL_{i}")) for i in range(count))
