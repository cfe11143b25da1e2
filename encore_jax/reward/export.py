"""Exporting a reward model as a folder that transformers, TRL, vLLM, OpenRLHF and RewardBench load on their own.

A model of K heads becomes a ...ForSequenceClassification with K named labels; *folded*, with its heads composed into
one (heads are linear, so ``φ = Σ_k w_k (W_k h + b_k)`` is one linear head too), the ordinary one-score reward model.

Those classes have no bias. Nothing in their weights could stand for one exactly: what the head reads has just been
normed and has no constant coordinate. So the heads are exported without their offsets, and the offsets, one number
per label, are in ``config.json`` under ``encore_jax``: our scores are ``logits + offset``. A constant changes no
comparison, no best-of-n and no advantage. Loaded here again, scores are those before, offsets included.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np
from absl import logging

from encore_jax.checkpoints.adapters import write_adapter
from encore_jax.checkpoints.assemble import Progress
from encore_jax.checkpoints.fused import fuse
from encore_jax.checkpoints.hf_folder import CLASSIFIER, SCORE
from encore_jax.checkpoints.safetensors_writer import SHARD_BYTES, stored_params, whole, write_tensors
from encore_jax.data.outputs import new_folder
from encore_jax.errors import InputError
from encore_jax.json_shape import read_json
from encore_jax.model.config import DecoderConfig
from encore_jax.model.config_json import class_name, hf_config
from encore_jax.model.lora import Lora
from encore_jax.model.params import declare
from encore_jax.reward.calibration import Calibration
from encore_jax.reward.intervals import folded_calibration
from encore_jax.reward.model_card import model_card
from encore_jax.reward.padding import exported_tokenizer
from encore_jax.reward.passport import PASSPORT, Passport, model_digest, read_passport
from encore_jax.reward.reward_checkpoint import OURS, REWARD, adapted_digest
from encore_jax.reward.reward_model import RewardModel
from encore_jax.text.tokenizer import load_tokenizer, template_digest


def fold(model: RewardModel) -> RewardModel:
    """The model with its heads composed into one, which gives its rewards.

    Raises:
      InputError: its weights depend on the prompt, or are not known; or it has a rule graph.
    """
    if model.passport.graph:
        fix = (
            "without folded=True (--folded) the K heads are exported, which encore serve --model=FOLDER composes under "
            "the graph; model.with_graph(None).export(folder, folded=True) leaves the graph out"
        )
        problem = f"one linear head cannot say its rule graph ({model.passport.graph})"
        raise InputError(problem, where=model.passport.model, fix=fix)
    weights = model.weights.astype(np.float64)
    passport = dataclasses.replace(
        model.passport, rules=(REWARD,), entropy=(), weights=(1.0,), loading=(), agreement=()
    )
    kernel = (model.kernel.astype(np.float64) @ weights)[:, None].astype(np.float32)
    bias = (model.bias.astype(np.float64) @ weights)[None].astype(np.float32)
    folded = None if model.calibration is None else folded_calibration(model.calibration, model.weights)
    return dataclasses.replace(model, kernel=kernel, bias=bias, passport=passport, calibration=folded)


MARKS = (PASSPORT, "README.md")
"""Files by which an export is known; a run's stages have no README."""
SOURCE = "made_from"
"""Field of what an export says of itself that says what it was made from."""


def is_exported_from(folder: Path, source: str) -> bool:
    """Whether a folder holds a whole export that was made from this; never of an adapter, of which no hash is kept.

    Args:
      folder: of an export, or anything else.
      source: as `export` was told it.
    """
    try:
        ours = read_json(folder / "config.json", dict[str, object]).get(OURS)
        if not isinstance(ours, dict) or ours.get(SOURCE) != source or not (folder / MARKS[1]).is_file():
            return False
        passport = read_passport(folder)
        if passport.intervals is not None:
            Calibration.load(folder)
        return model_digest(folder) == passport.model_sha256
    except InputError:
        return False


def export(
    model: RewardModel,
    folder: str | Path,
    *,
    folded: bool = False,
    dtype: Any = None,
    shard_bytes: int = SHARD_BYTES,
    about: Mapping[str, str] | None = None,
    progress: Progress | None = None,
    overwrite: bool = False,
    source: str = "",
) -> Path:
    """Writes weights, config, tokenizer with its chat template, passport and model card.

    Weights go from their devices to the files tensor by tensor. The folder appears whole or not at all.

    Args:
      model: its parameters may be split over the devices of this process.
      folder: does not exist, or is empty.
      folded: one score, the composed reward, instead of K.
      dtype: of the stored backbone; by default the model's (`Passport.dtype`). Heads are always stored in fp32.
      shard_bytes: size of a weight file.
      about: further sections of the model card, title -> Markdown.
      progress: called with bytes written and bytes to write.
      overwrite: the folder may hold an earlier export, which is replaced.
      source: what it is made from, noted for `is_exported_from`.

    Raises:
      InputError: the folder is in use, or the model cannot be said in those classes.
    """
    if model.gate is not None:
        raise InputError(
            "its weights depend on the prompt, which no ...ForSequenceClassification can say",
            where=model.passport.model,
            fix="use the published checkpoint",
        )
    out = fold(model) if folded else model
    tokenizer = exported_tokenizer(model.tokenizer, model.passport, model.cfg.vocab_size)
    ours = _ours(out) | ({SOURCE: source} if source else {})
    if folded:
        names = ("rules", "entropy", "weights")
        ours["folded"] = {name: model.passport.to_dict()[name] for name in names}
    if out.passport.graph:
        ours["graph"] = out.passport.to_dict()["graph"]
    stored = jnp.dtype(out.passport.dtype if dtype is None else dtype)
    with new_folder(Path(folder), overwrite=overwrite, marks=MARKS) as made:
        config = _config(out.cfg, tokenizer, stored) | _labels(out) | {OURS: ours}
        (made / "config.json").write_text(json.dumps(config, indent=1))
        tensors = fuse(stored_params(declare(out.cfg), out.params, stored), out.cfg)
        head = np.ascontiguousarray(out.kernel.T, np.float32)
        write_tensors(made, [*tensors, whole(SCORE, head)], shard_bytes, progress)
        logging.info("writing tokenizer, passport and model card; the weights are hashed")
        tokenizer.save_pretrained(made)
        if out.calibration is not None:
            out.calibration.save(made)
        passport = dataclasses.replace(out.passport, dtype=stored.name)
        passport = _write_passport(made, passport)
        (made / "README.md").write_text(model_card(model, passport, config, folded, about or {}), "utf-8")
    return Path(folder)


def export_adapter(
    model: RewardModel,
    lora: Lora,
    updates: Mapping[str, Any],
    base: str | None,
    folder: str | Path,
    *,
    folded: bool = False,
    about: Mapping[str, str] | None = None,
    progress: Progress | None = None,
    overwrite: bool = False,
    source: str = "",
) -> Path:
    """Writes a PEFT adapter: low-rank updates and heads, with tokenizer, passport and model card.

    Args:
      model: whose parameters are those of the base, and whose passport has the base's hash.
      lora, updates: what was trained beside them.
      base: folder or hub name of the base; None: the base is written into the folder, as ``base``.
      folder, folded, about, progress, overwrite, source: as for `export`.
    """
    out = fold(model) if folded else model
    tokenizer = exported_tokenizer(model.tokenizer, model.passport, model.cfg.vocab_size)
    with new_folder(Path(folder), overwrite=overwrite, marks=MARKS) as made:
        if base is None:
            more, where = _labels(out), made / "base"
            write_backbone(where, model.cfg, model.params, tokenizer, model.passport.dtype, progress, more)
        head = np.ascontiguousarray(out.kernel.T, np.float32)
        # PEFT knows no place relative to the adapter, so the path is that of the finished folder.
        write_adapter(made, model.cfg, lora, updates, head, base or str(Path(folder).resolve() / "base"))
        ours = _ours(out) | ({SOURCE: source} if source else {})
        (made / f"{OURS}.json").write_text(json.dumps(ours, indent=1))
        tokenizer.save_pretrained(made)
        if out.calibration is not None:
            out.calibration.save(made)
        local = made / "base" if base is None else Path(base)
        base_sha256 = model_digest(local) if local.is_dir() else model.passport.model_sha256
        passport = _write_passport(made, out.passport, base_sha256)
        card = model_card(model, passport, {OURS: ours, "architectures": ["LoRA adapter"]}, folded, about or {})
        (made / "README.md").write_text(card, "utf-8")
    return Path(folder)


def write_backbone(
    folder: Path,
    cfg: DecoderConfig,
    params: Any,
    tokenizer,
    dtype: Any,
    progress: Progress | None = None,
    more: Mapping[str, Any] | None = None,
) -> None:
    """Writes a backbone without heads, and its tokenizer, as a Hugging Face folder.

    Args:
      more: further fields of ``config.json``.
    """
    folder.mkdir(parents=True, exist_ok=True)
    config = _config(cfg, tokenizer, jnp.dtype(dtype)) | dict(more or {})
    config["architectures"] = [class_name(cfg.family, "ForCausalLM" if cfg.tie_embeddings else "Model")]
    (folder / "config.json").write_text(json.dumps(config, indent=1))
    write_tensors(folder, fuse(stored_params(declare(cfg), params, dtype), cfg), progress=progress)
    tokenizer.save_pretrained(folder)


def _config(cfg: DecoderConfig, tokenizer, dtype: np.dtype) -> dict[str, Any]:
    ids = {f"{name}_token_id": getattr(tokenizer, f"{name}_token_id") for name in ("pad", "bos", "eos")}
    return {"architectures": [class_name(cfg.family, CLASSIFIER)]} | hf_config(cfg) | ids | {"torch_dtype": dtype.name}


def _ours(model: RewardModel) -> dict[str, Any]:
    """What transformers has no field for: offsets, row lengths, and of a calibrated model its intervals."""
    ours: dict[str, Any] = {"offset": model.bias.tolist(), "buckets": list(model.buckets)}
    if model.calibration is not None and len(model.passport.weights) == len(model.rules):
        ours["intervals"] = model.intervals.facts()
    return ours


def _labels(model: RewardModel) -> dict[str, Any]:
    return {
        "id2label": {str(i): rule for i, rule in enumerate(model.rules)},
        "label2id": {rule: i for i, rule in enumerate(model.rules)},
        "problem_type": "regression",  # so that transformers' pipeline applies no sigmoid and no softmax
    }


def _write_passport(folder: Path, passport: Passport, base_sha256: str = "") -> Passport:
    """Writes what is true of the folder; its weights are others' files now, with a hash of their own."""
    tokenizer, own = load_tokenizer(folder), model_digest(folder)
    made = dataclasses.replace(
        passport,
        model_sha256=adapted_digest(own, base_sha256) if base_sha256 else own,
        template_sha256=template_digest(tokenizer),
        pad_id=-1 if tokenizer.pad_token_id is None else tokenizer.pad_token_id,
    )
    (folder / PASSPORT).write_text(json.dumps(made.to_dict(), indent=1))
    return made
