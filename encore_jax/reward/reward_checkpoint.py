"""Reward models as others save them: ...ForSequenceClassification folders, ArmoRM, PEFT adapters, and our exports."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, NamedTuple, TypedDict

import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh
from msgspec import Meta

from encore_jax.checkpoints import armorm
from encore_jax.checkpoints.adapter_config import CONFIG as ADAPTER
from encore_jax.checkpoints.adapters import AdaptedFolder, base_folder
from encore_jax.checkpoints.assemble import Extras
from encore_jax.checkpoints.hf_folder import architecture, labels, load_folder, load_tensors, read_config
from encore_jax.checkpoints.safetensors import read_json
from encore_jax.errors import InputError
from encore_jax.json_shape import check_shape
from encore_jax.model.config import DecoderConfig
from encore_jax.model.config_files import GEMMA, text_fields
from encore_jax.model.gating import Gate
from encore_jax.parallel.placement import backbone_shardings
from encore_jax.reward.calibration import Calibration, kept_calibration
from encore_jax.reward.passport import PASSPORT, Passport, model_digest, read_passport
from encore_jax.reward.saved_model import Buckets
from encore_jax.text.tokenizer import load_tokenizer, template_digest

OURS = "encore_jax"
"""The field of an exported ``config.json`` that holds what transformers has no field for."""
BUCKETS = (512, 1024, 2048, 4096)
"""Row lengths for a model that does not say what it was trained on."""
REWARD = "reward"
"""Name of the head of a model that has only one."""


class _Ours(TypedDict):
    """What an export says besides, in `OURS`."""

    offset: Annotated[list[Annotated[float, Meta(ge=-3e38, le=3e38)]], Meta(max_length=65536)]
    buckets: Buckets


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
    mesh: Mesh | None
    calibration: Calibration | None


def is_checkpoint(folder: Path) -> bool:
    """Whether this is a folder of transformers or of PEFT; a run's folder has a config.json of another kind."""
    config = folder / "config.json"
    if (folder / ADAPTER).is_file():
        return True
    return config.is_file() and bool({"model_type", "architectures"} & read_json(config).keys())


def load_checkpoint(
    folder: Path,
    *,
    dtype: str | None = None,
    offline: bool = False,
    allow_mismatch: bool = False,
    fetch: bool = False,
    mesh: Mesh | None = None,
) -> Loaded:
    """Loads a checkpoint's backbone, heads and tokenizer.

    Args:
      folder: with ``config.json``, or with ``adapter_config.json``.
      dtype: of weights and computation; by default the passport's, else the checkpoint's own (fp32 for fp16).
      offline: fetch no base model.
      allow_mismatch: see `Passport.checked`.
      fetch: fetch an adapter's base model, wherever it is.
      mesh: of devices that share the backbone; this process reads only what its own devices hold.

    Raises:
      InputError: no heads, missing, unknown or damaged tensors, or something that the passport contradicts.
    """
    passport = read_passport(folder) if (folder / PASSPORT).is_file() else None
    base = base_of(folder, offline=offline, fetch=fetch)
    cfg, config = read_config(base)
    dtype = dtype or (passport.dtype if passport else _own_dtype(config))
    ours = _ours(folder, base, config, needed=passport is not None)
    shardings = None if mesh is None else backbone_shardings(cfg, mesh)
    if base is folder:
        _, params, extras = load_folder(folder, jnp.dtype(dtype), shardings, lm_head=False)
    else:
        source, plain = AdaptedFolder(folder, base), _without_labels(config)
        _, params, extras = load_tensors(source, cfg, plain, jnp.dtype(dtype), shardings, lm_head=False)
    kernel, gate = _heads(extras, config, folder)
    count = kernel.shape[1]
    labelled = gate is None and (count > 1 or (base is folder and OURS in config))
    names = _label_names(base, config, count) if labelled else (REWARD,)
    tokenizer = _tokenizer(folder, base, config, cfg.vocab_size)
    bias = np.asarray(ours["offset"] if ours else [0.0] * count, np.float32)
    lengths = [n for n in BUCKETS if n <= cfg.longest_path] or [cfg.longest_path]
    buckets = tuple(ours["buckets"] if ours else lengths)
    found = {
        "model_sha256": checkpoint_digest(folder, base),
        "template_sha256": template_digest(tokenizer),
        "pad_id": -1 if tokenizer.pad_token_id is None else tokenizer.pad_token_id,
        "dtype": dtype,
    }
    if base is folder and OURS in config:
        found["rules"] = names
    calibration = None
    if passport is None:
        rules = armorm.head_names(config) if gate is not None else names
        passport = _new_passport(folder, rules, found, max(buckets), gate)
    else:
        stored, passport = passport, passport.checked(found, str(folder), allow=allow_mismatch)
        calibration = kept_calibration(folder, stored, passport)
    if not len(passport.rules) == len(bias) == count:
        raise InputError(
            f"{count} heads, {len(passport.rules)} names and {len(bias)} offsets",
            where=str(folder),
            fix="heads and passport must belong together",
        )
    return Loaded(cfg, params, tokenizer, kernel, bias, passport, buckets, gate, mesh, calibration)


def base_of(folder: Path, *, offline: bool = False, fetch: bool = False) -> Path:
    """The folder of an adapter's base model; of any other checkpoint the folder itself."""
    return base_folder(folder, offline=offline, fetch=fetch) if (folder / ADAPTER).is_file() else folder


def checkpoint_digest(folder: Path, base: Path) -> str:
    """One hash over all files that a checkpoint's scores depend on; of an adapter those of its base too."""
    own = model_digest(folder)
    return own if base == folder else adapted_digest(own, model_digest(base))


def adapted_digest(own: str, base: str) -> str:
    """The hash of an adapter and its base, from those of both folders."""
    return hashlib.sha256(f"{own}\n{base}".encode()).hexdigest()


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
    own = (config.get("dtype") or config.get("torch_dtype") or "").removeprefix("torch.")
    return own if own == "bfloat16" else "float32"


def _without_labels(config: Mapping[str, Any]) -> dict[str, Any]:
    """A base model's configuration as an adapter with heads of its own uses it."""
    return {name: value for name, value in config.items() if name not in ("id2label", "num_labels", "architectures")}


def _ours(folder: Path, base: Path, config: Mapping[str, Any], needed: bool) -> _Ours | None:
    """What an export says besides; None of a checkpoint that is somebody else's.

    Raises:
      InputError: it is not there, though it is an export (it has a passport): the heads' offsets would be lost.
    """
    # PEFT warns of fields that it does not know, so an adapter has a file of its own.
    path = folder / (f"{OURS}.json" if base is not folder else "config.json")
    where = str(path) if base is not folder else f"{path}, field {OURS!r}"
    if base is folder:
        found = config.get(OURS)
    else:
        found = read_json(path) if path.is_file() else None
    if found is None:
        if needed:
            raise InputError("is missing, and with it the heads' offsets", where=where, fix="export the model again")
        return None
    ours = check_shape(found, _Ours, where=where, fix="export the model again")
    if ours["buckets"] != sorted(set(ours["buckets"])):
        raise InputError(f"{ours['buckets'][:8]} do not increase", where=f"{where}, 'buckets'", fix="export it again")
    return ours


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
    fields = text_fields(config)
    pad = fields.get("pad_token_id", 0 if fields["model_type"] in GEMMA else None)
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
    folder: Path, rules: tuple[str, ...], found: Mapping[str, Any], longest: int, gate: Gate | None
) -> Passport:
    """What can be said of a checkpoint that came without a passport."""
    # ArmoRM pools before the first padding token, which is the last token of a conversation that has none.
    return Passport(
        model=folder.name,
        bos="chat template",
        pooling="last" if gate is not None or found["pad_id"] < 0 else "hf",
        max_length=longest,
        rules=rules,
        pool_sha256="",
        data_revision="",
        weights=(1.0,) if len(rules) == 1 else (),
        **{name: value for name, value in found.items() if name != "rules"},
    )


def _label_names(folder: Path, config: Mapping[str, Any], count: int) -> tuple[str, ...]:
    names = config.get("id2label") if labels(config) == count else None
    if not names:
        return tuple(f"LABEL_{i}" for i in range(count))
    numbers = [str(i) for i in range(count)]
    if names.keys() != set(numbers) or len(set(names.values())) < count:
        raise InputError(
            f"does not give each of 0 to {count - 1} a name of its own",
            where=f"{folder / 'config.json'}, field 'id2label'",
            fix="number the labels from 0, and name each once",
        )
    return tuple(names[i] for i in numbers)
