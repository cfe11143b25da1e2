"""PEFT's LoRA adapters: read into the weights they adapt, one tensor at a time, and written."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from encore_jax.checkpoints.adapter_config import CONFIG, read_adapter_config
from encore_jax.checkpoints.hf_folder import BASE, SCORE
from encore_jax.checkpoints.safetensors import HuggingFaceFolder, SafetensorsFile
from encore_jax.checkpoints.safetensors_writer import Stored, stored_params, whole, write_file
from encore_jax.checkpoints.text_part import text_name
from encore_jax.data.sources import local_folder, locate_named
from encore_jax.errors import InputError
from encore_jax.model.config import DecoderConfig
from encore_jax.model.lora import Lora, declare_lora
from encore_jax.model.params import declare

WEIGHTS, PREFIX = "adapter_model.safetensors", "base_model.model."


class AdaptedFolder(HuggingFaceFolder):
    """The tensors of a base model with an adapter's updates added in, ``W + s B A`` in fp32, when they are read.

    Args:
      folder: with ``adapter_config.json`` and ``adapter_model.safetensors``.
      base: the base model's folder.

    Raises:
      InputError: an adapter of another kind, tensors that do not fit the base or the configuration, a promised head
        that is not there, or pickled weights; naming them.
    """

    def __init__(self, folder: Path, base: Path):
        self.config = read_adapter_config(folder)
        super().__init__(base)
        self.where, self._base_shapes = str(folder), super().shapes()
        if not (folder / WEIGHTS).is_file():
            pickled = ", only a pickle, which can run code" if (folder / "adapter_model.bin").is_file() else ""
            raise InputError(f"there is no {WEIGHTS} here{pickled}", where=str(folder),
                             fix="save the adapter with save_pretrained(..., safe_serialization=True)")  # fmt: skip
        self._adapter = SafetensorsFile(folder / WEIGHTS)
        self._updates: dict[str, str] = {}
        self._take_score()
        self._take_updates()
        self._check_targets()

    def _take_score(self) -> None:
        """The head, if the adapter has one of its own."""
        key, own = PREFIX + SCORE, self.config.own_score
        present = key in self._adapter.entries
        if own and not present:
            raise InputError(
                f"there is no tensor {key!r}, and the adapter promises a head of its own",
                where=self._adapter.where,
                fix="save the adapter with its head (modules_to_save)",
            )
        if present and not own and SCORE in self._base_shapes:
            raise InputError(
                f"{key!r} and the base both have a head, and neither task_type nor modules_to_save says which counts",
                where=self._adapter.where,
                fix=f"set task_type to SEQ_CLS in {CONFIG} if it is the adapter's",
            )
        if present:
            self._place[SCORE] = self._adapter, key

    def _take_updates(self) -> None:
        """Finds out what every other tensor of the adapter is for."""
        entries, unknown, wrong, untargeted, twice = self._adapter.entries, [], [], [], []
        for key in sorted(entries.keys() - {PREFIX + SCORE}):
            module = key.removeprefix(PREFIX).removesuffix(".lora_A.weight").removesuffix(".lora_B.weight")
            weight = f"{module}.weight"
            spellings = (weight, weight.removeprefix(BASE), text_name(weight))
            target = next((name for name in spellings if name in self._base_shapes), None)
            stem = f"{PREFIX}{module}.lora_"
            if target is None or key not in (f"{stem}A.weight", f"{stem}B.weight"):
                unknown.append(key)
                continue
            pair = [tuple(entries.get(f"{stem}{part}.weight", {"shape": ()})["shape"]) for part in "AB"]
            shape = self._base_shapes[target]
            if [len(p) for p in pair] != [2, 2] or (pair[1][0], pair[0][1]) != shape or pair[0][0] != pair[1][1]:
                wrong.append(f"{key} (A {pair[0]}, B {pair[1]} for {target} {shape})")
            elif pair[0][0] not in self.config.ranks:
                wrong.append(f"{key} (rank {pair[0][0]}, not {' or '.join(map(str, sorted(self.config.ranks)))})")
            elif not self.config.adapts(module):
                untargeted.append(key)
            if self._updates.setdefault(target, stem) != stem:
                twice.append(f"{key} and those of {self._updates[target]}")
        faults = {
            "unexpected": unknown,
            "for one tensor under two names": twice,
            "wrong shape or half missing": wrong,
            f"not named by {CONFIG} (target_modules, exclude_modules, layers_to_transform)": untargeted,
        }
        listed = [f"{len(names)} {kind}: {', '.join(sorted(names)[:8])}" for kind, names in faults.items() if names]
        if listed:
            raise InputError("the adapter does not fit its base: " + "; ".join(listed), where=self._adapter.where,
                             fix="check that it belongs to this base model")  # fmt: skip

    def _check_targets(self) -> None:
        """Modules that the configuration names and that have no tensors stay as in the base, as with PEFT; told."""
        if self.config.targets is None:
            return
        absent = []
        for name in self._base_shapes.keys() - self._updates.keys():
            module = name.removesuffix(".weight")
            module = module if name.startswith(BASE) or name == SCORE else BASE + module
            if len(self._base_shapes[name]) == 2 and self.config.adapts(module):
                absent.append(module)
        told = f"{len(absent)} modules that {CONFIG} names have no tensors: {', '.join(sorted(absent)[:8])}"
        if absent and not self.config.starts_at_zero:
            problem = f"{told}; what they began with is not known"
            raise InputError(problem, where=self._adapter.where, fix="save the adapter again")
        if absent:
            logging.getLogger(__name__).warning("%s: %s; they stay as in the base", self._adapter.where, told)

    def read(self, name: str) -> np.ndarray:
        """One tensor, adapted."""
        tensor = super().read(name)
        stem = self._updates.get(name)
        if stem is None:
            return tensor
        a, b = (self._adapter.read(f"{stem}{part}.weight").astype(np.float32) for part in "AB")
        return tensor.astype(np.float32) + np.float32(self.config.scale(a.shape[0])) * (b @ a)


def base_folder(folder: Path, *, offline: bool = False, fetch: bool = False) -> Path:
    """Where an adapter's base model is: a folder beside it, a local path, or the hub.

    Args:
      folder: the adapter's.
      offline: fetch nothing.
      fetch: see `encore_jax.data.sources.locate_named`.

    Raises:
      InputError: it says none, or it cannot be had, or a local one cannot be told to be the revision it names.
    """
    config = read_adapter_config(folder)
    where = f"{config.where}, field 'base_model_name_or_path'"
    for path in (local_folder(folder / config.base), local_folder(config.base)):
        if path is not None and (path / "config.json").is_file():
            if config.revision not in (None, "main", path.resolve().name):
                raise InputError(
                    f"is {config.revision[:100]!r}, and {path} does not say of which revision it is",
                    where=f"{config.where}, field 'revision'",
                    fix="name the base on the hub, or remove the field if this is the right one",
                )
            return path
    uri = config.base if "://" in config.base or Path(config.base).is_absolute() else f"hf://{config.base}"
    revision = config.revision if uri.startswith("hf://") else None
    return locate_named(uri, where=where, offline=offline, fetch=fetch, revision=revision)


def write_adapter(
    folder: Path, cfg: DecoderConfig, lora: Lora, updates: Mapping[str, Any], score: np.ndarray, base: str
) -> None:
    """Writes an adapter that PEFT loads as a classifier's: low-rank updates, and the heads whole.

    Args:
      folder: exists.
      cfg, lora, updates: the backbone and its trained updates.
      score: heads as they are stored, fp32 ``[K, D]``.
      base: folder or hub name (``org/name[@revision]``) of the model that they are updates of.
    """
    from encore_jax.checkpoints.fused import fuse_updates, fused_modules

    declared = declare_lora(cfg, lora)
    tensors: list[Stored] = stored_params(declared, {name: updates[name] for name in declared}, np.float32)
    tensors, ranks = fuse_updates(tensors, cfg, lora.rank, PREFIX)
    write_file(folder / WEIGHTS, [*tensors, whole(PREFIX + SCORE, score)])
    modules = [declare(cfg)["layers"][name].hf.split(".")[-2] for name in lora.targets]
    name, _, revision = (base, "", "") if Path(base).is_absolute() else base.partition("@")
    config = {
        "peft_type": "LORA",
        "task_type": "SEQ_CLS",
        "base_model_name_or_path": name,
        "revision": revision or None,
        "r": lora.rank,
        "lora_alpha": lora.scale * lora.rank,
        "lora_dropout": 0.0,
        **({"rank_pattern": ranks} if ranks else {}),
        "target_modules": fused_modules(modules, cfg),
        "modules_to_save": [SCORE.removesuffix(".weight")],
        "bias": "none",
        "fan_in_fan_out": False,
        "inference_mode": True,
    }
    (folder / CONFIG).write_text(json.dumps(config, indent=1))
