"""Loading what `RewardModel.save` wrote: heads and calibration from the folder, the backbone from where it lies."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh

from encore_jax.checkpoints.huggingface import load_backbone, load_config
from encore_jax.data.sources import locate_named
from encore_jax.errors import InputError
from encore_jax.model.config import DecoderConfig
from encore_jax.parallel.placement import backbone_shardings
from encore_jax.reward.calibration import Calibration, kept_calibration
from encore_jax.reward.passport import Passport, model_digest
from encore_jax.reward.saved_model import BACKBONE, HEADS, read_saved
from encore_jax.text.tokenizer import load_tokenizer, template_digest


class LoadedModel(NamedTuple):
    """Fields of a `RewardModel`."""

    cfg: DecoderConfig
    params: Any
    tokenizer: Any
    kernel: np.ndarray
    bias: np.ndarray
    passport: Passport
    buckets: tuple[int, ...]
    origin: str
    mesh: Mesh | None
    calibration: Calibration | None


def load_saved(
    folder: Path, dtype: str | None, offline: bool, allow_mismatch: bool, fetch: bool, mesh: Mesh | None
) -> LoadedModel:
    """What `RewardModel.save` wrote."""
    saved = read_saved(folder)
    where = f"{folder / BACKBONE}, field 'path'"
    path, dtype = locate_named(saved.backbone, where=where, offline=offline, fetch=fetch), dtype or saved.passport.dtype
    if not path.is_dir() and path.suffix != ".gguf":
        fix = "name a Hugging Face folder (config.json, *.safetensors) or a .gguf file"
        raise InputError(f"{str(path)[:200]!r} is not a folder and not a .gguf file", where=where, fix=fix)
    cfg = load_config(path)
    if saved.kernel.shape[0] != cfg.width:
        raise InputError(
            f"shape {saved.kernel.shape}, not ({cfg.width}, {len(saved.passport.rules)})",
            where=f"{folder / HEADS}, tensor 'kernel'",
            fix="heads and backbone must belong together",
        )
    tokenizer = load_tokenizer(path)
    found = {"model_sha256": model_digest(path), "template_sha256": template_digest(tokenizer), "dtype": dtype}
    passport = saved.passport.checked(found, str(path), allow=allow_mismatch, changed=saved.changed)
    shardings = None if mesh is None else backbone_shardings(cfg, mesh)
    _, params, _ = load_backbone(path, jnp.dtype(dtype), shardings, lm_head=False)
    calibration = kept_calibration(folder, saved.passport, passport)
    model = (cfg, params, tokenizer, saved.kernel, saved.bias, passport, saved.buckets)
    return LoadedModel(*model, saved.backbone, mesh, calibration)


def no_model(folder: Path) -> InputError:
    """What to say of a place where there is no reward model."""
    if folder.is_file():
        problem = "is a file; reward models are folders (a GGUF file holds a backbone without heads)"
        return InputError(problem, where=str(folder), fix="name a saved reward model's folder, or a checkpoint's")
    inside = sorted(path.parent for path in folder.glob(f"*/{BACKBONE}"))
    if inside:
        fix = f"name {inside[0]}"
    elif (folder / "results.json").is_file():  # a run that trained the backbone too, so that no heads alone were saved
        fix = f"encore export --workdir={folder} --out=FOLDER writes one, if this run trained one"
    else:
        fix = "name a saved reward model's folder, or that of a checkpoint with config.json and safetensors"
    files = f"neither {BACKBONE}, nor a model's config.json, nor adapter_config.json"
    return InputError(f"no reward model is here: {files}", where=str(folder), fix=fix)
