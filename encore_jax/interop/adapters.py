"""PEFT's LoRA adapters: read into the weights they adapt, one tensor at a time, and written."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from encore_jax.data.sources import locate
from encore_jax.errors import InputError
from encore_jax.interop.hf_folder import BASE, SCORE
from encore_jax.interop.safetensors import HuggingFaceFolder, SafetensorsFile, read_json
from encore_jax.interop.safetensors_writer import Stored, stored_params, whole, write_file
from encore_jax.model.config import DecoderConfig
from encore_jax.model.lora import Lora, declare_lora
from encore_jax.model.params import declare

CONFIG, WEIGHTS, PREFIX = "adapter_config.json", "adapter_model.safetensors", "base_model.model."
# Fields that change what an adapter computes, with the only values computed here.
_REQUIRED = {
    "peft_type": ("LORA",), "bias": ("none", None), "use_dora": (False, None), "fan_in_fan_out": (False, None),
    "alpha_pattern": ({}, None), "layer_replication": (None,), "lora_bias": (False, None),
}  # fmt: skip


class AdaptedFolder(HuggingFaceFolder):
    """The tensors of a base model with an adapter's updates added in, ``W + s B A`` in fp32, when they are read.

    Args:
      folder: with ``adapter_config.json`` and ``adapter_model.safetensors``.
      base: the base model's folder.

    Raises:
      InputError: an adapter of another kind, tensors that do not fit the base, or pickled weights; naming them.
    """

    def __init__(self, folder: Path, base: Path):
        super().__init__(base)
        self.where, config = str(folder), read_json(folder / CONFIG)
        for name, allowed in _REQUIRED.items():
            if config.get(name, allowed[0]) not in allowed:
                known = f"an adapter where it is {allowed[0]!r}"
                raise InputError(f"{config[name]!r} is not supported", where=f"{folder / CONFIG}, field {name!r}",
                                 fix=f"use {known}, or merge it with PEFT first")  # fmt: skip
        self._alpha, self._rslora = float(config.get("lora_alpha", 8)), bool(config.get("use_rslora"))
        if not (folder / WEIGHTS).is_file():
            pickled = ", only a pickle, which can run code" if (folder / "adapter_model.bin").is_file() else ""
            raise InputError(f"there is no {WEIGHTS} here{pickled}", where=str(folder),
                             fix="save the adapter with save_pretrained(..., safe_serialization=True)")  # fmt: skip
        self._adapter = SafetensorsFile(folder / WEIGHTS)
        self._updates: dict[str, str] = {}
        self._take(set(super().shapes()))

    def _take(self, base: set[str]) -> None:
        """Finds out what every tensor of the adapter is for."""
        entries, unknown, wrong = self._adapter.entries, [], []
        for key in entries:
            module = key.removeprefix(PREFIX).removesuffix(".lora_A.weight").removesuffix(".lora_B.weight")
            if key == PREFIX + SCORE:
                self._file_of[SCORE] = _Renamed(self._adapter, key)
                continue
            target = next((name for name in (f"{module}.weight", f"{module}.weight".removeprefix(BASE))
                           if name in base), None)  # fmt: skip
            stem = f"{PREFIX}{module}.lora_"
            if target is None or key not in (f"{stem}A.weight", f"{stem}B.weight"):
                unknown.append(key)
                continue
            pair = [tuple(entries.get(f"{stem}{part}.weight", {"shape": ()})["shape"]) for part in "AB"]
            shape = super().shapes()[target]
            if [len(p) for p in pair] != [2, 2] or (pair[1][0], pair[0][1]) != shape or pair[0][0] != pair[1][1]:
                wrong.append(f"{key} (A {pair[0]}, B {pair[1]} for {target} {shape})")
            self._updates[target] = stem
        faults = {"unexpected": sorted(unknown), "wrong shape or half missing": sorted(wrong)}
        listed = [f"{len(names)} {kind}: {', '.join(names[:8])}" for kind, names in faults.items() if names]
        if listed:
            raise InputError("the adapter does not fit its base: " + "; ".join(listed), where=self._adapter.where,
                             fix="check that it belongs to this base model")  # fmt: skip

    def read(self, name: str) -> np.ndarray:
        """One tensor, adapted."""
        tensor = super().read(name)
        stem = self._updates.get(name)
        if stem is None:
            return tensor
        a, b = (self._adapter.read(f"{stem}{part}.weight").astype(np.float32) for part in "AB")
        rank = a.shape[0]
        scale = self._alpha / (math.sqrt(rank) if self._rslora else rank)
        return tensor.astype(np.float32) + np.float32(scale) * (b @ a)


class _Renamed:
    """One tensor of a file under another name."""

    def __init__(self, file: SafetensorsFile, key: str):
        self._file, self._key, self.where = file, key, file.where
        self.entries = {SCORE: file.entries[key]}

    def read(self, name: str) -> np.ndarray:
        return self._file.read(self._key)

    def release(self, name: str) -> None:
        self._file.release(self._key)


def base_folder(folder: Path, *, offline: bool = False) -> Path:
    """Where an adapter's base model is: a folder beside it, a local path, or the hub.

    Raises:
      InputError: it says none, or it cannot be had.
    """
    name = read_json(folder / CONFIG).get("base_model_name_or_path")
    if not name:
        raise InputError("there is no base model", where=f"{folder / CONFIG}, field 'base_model_name_or_path'",
                         fix="put the base model's folder or hub name there")  # fmt: skip
    for path in (folder / name, Path(name)):
        if path.is_dir():
            return path
    return locate(name if "://" in name or Path(name).is_absolute() else f"hf://{name}", offline=offline)


def write_adapter(
    folder: Path, cfg: DecoderConfig, lora: Lora, updates: Mapping[str, Any], score: np.ndarray, base: str
) -> None:
    """Writes an adapter that PEFT loads as a classifier's: low-rank updates, and the heads whole.

    Args:
      folder: exists.
      cfg, lora, updates: the backbone and its trained updates.
      score: heads as they are stored, fp32 ``[K, D]``.
      base: folder or hub name of the model that they are updates of.
    """
    declared = declare_lora(cfg, lora)
    tensors: list[Stored] = stored_params(declared, {name: updates[name] for name in declared}, np.float32)
    write_file(folder / WEIGHTS, [*tensors, whole(PREFIX + SCORE, score)])
    modules = [declare(cfg)["layers"][name].hf.split(".")[-2] for name in lora.targets]
    config = {
        "peft_type": "LORA",
        "task_type": "SEQ_CLS",
        "base_model_name_or_path": base,
        "r": lora.rank,
        "lora_alpha": lora.scale * lora.rank,
        "lora_dropout": 0.0,
        "target_modules": modules,
        "modules_to_save": [SCORE.removesuffix(".weight")],
        "bias": "none",
        "fan_in_fan_out": False,
        "inference_mode": True,
    }
    (folder / CONFIG).write_text(json.dumps(config, indent=1))
