"""The reward model of a finished run, exported: its backbone and what was trained, read and written again."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from absl import logging

from encore_jax.checkpoints.hf_folder import reads_pictures
from encore_jax.checkpoints.huggingface import load_backbone
from encore_jax.checkpoints.safetensors_writer import updated
from encore_jax.cli.finished_run import Finished
from encore_jax.data import locate
from encore_jax.data.outputs import check_outputs, local_inputs
from encore_jax.errors import InputError
from encore_jax.model.config import DecoderConfig
from encore_jax.model.heads import init_heads
from encore_jax.model.lora import Lora, declare_lora
from encore_jax.model.params import abstract
from encore_jax.parallel.mesh import MeshSettings, make_mesh
from encore_jax.progress import Pace
from encore_jax.recipes.code_version import code_digest
from encore_jax.recipes.run import plan_of
from encore_jax.recipes.stages.gradient import backbone_config, checkpoint_folder
from encore_jax.reward.export import export, export_adapter
from encore_jax.reward.passport import model_digest
from encore_jax.reward.reward_model import RewardModel
from encore_jax.text.tokenizer import load_tokenizer, template_digest
from encore_jax.train.checkpoint import Checkpoints
from encore_jax.train.sharded import param_shardings, with_shardings


def restored(run: Finished, cfg: DecoderConfig, shardings: Any, lora: Lora | None) -> dict[str, Any]:
    """What a run trained, from its checkpoint, split over this host's devices; its optimizer state is left unread."""
    name, step = run.training
    heads = jax.eval_shape(lambda key: init_heads(key, cfg.width, len(run.bias)), jax.random.key(0))
    like: dict[str, Any] = {"heads": heads}
    if lora:
        declared = declare_lora(cfg, lora)
        like["lora"] = {key: jax.ShapeDtypeStruct(p.shape, jnp.float32) for key, p in declared.items()}
    else:
        like["backbone"] = abstract(cfg)
    like = with_shardings(like, {part: shardings[part] for part in like})
    where = checkpoint_folder(run.config.train, run.workdir / "train", name)
    plain = run.passport.to_dict()
    belongs = {key: plain[key] for key in ("model_sha256", "template_sha256", "data_revision", "rules")}
    with Checkpoints(where, {}) as checkpoints:
        return checkpoints.restore_trainable(like, step, belongs)


def export_run(
    run: Finished,
    out: Path,
    *,
    folded: bool,
    peft: bool,
    allow_mismatch: bool,
    shard_bytes: int,
    weights: str = "",
    overwrite: bool = False,
    source: str = "",
) -> Path:
    """Writes the export of a finished run.

    Args:
      run, out: what, and where to.
      folded: one score, the composed reward.
      peft: low-rank updates as an adapter.
      allow_mismatch: though the base model is another.
      shard_bytes: largest weight file.
      weights: how the heads compose, instead of the run's weights (`RewardModel.weighted`); "" for those.
      overwrite: replace an earlier export.
      source: what the export is made from, as `export_source` says it; noted in it.

    Raises:
      InputError: the base model is not the one it was trained from, --peft for a run without low-rank updates, or the
        folder is in use.
    """
    config, settings = run.config, run.config.train
    inputs = {"--config.model.path": config.model.path, "--config.train.checkpoints": settings.checkpoints}
    stages = {f"stage {stage} of --workdir": at for stage, at in plan_of(config, run.workdir).at.items()}
    check_outputs({"--out": out}, local_inputs(inputs | stages))
    path = locate(config.model.path, offline=config.data.offline)
    logging.info("checking that %s is the model that the run has read", path)
    tokenizer = load_tokenizer(path)
    found = {"model_sha256": model_digest(path), "template_sha256": template_digest(tokenizer)}
    passport = run.passport.checked(found, str(path), allow=allow_mismatch)
    cfg, lora = backbone_config(config.model, path), None
    if run.training and settings.trainable == "lora":
        lora = Lora(settings.lora_rank, settings.lora_scale, tuple(settings.lora_targets))
    if peft and lora is None:
        raise InputError("it has no low-rank updates", where=str(run.workdir), fix="leave out --peft")
    shardings = param_shardings(cfg, make_mesh(MeshSettings()), lora)
    logging.info("reading the model")
    trained = restored(run, cfg, shardings, lora) if run.training else {}
    params = trained.get("backbone")
    if params is None:
        dtype = jnp.dtype(config.model.dtype)
        params = load_backbone(path, dtype, shardings["backbone"], lm_head=False, progress=_progress("reading"))[1]
    heads = trained.get("heads", {"kernel": run.kernel, "bias": run.bias})
    kernel, bias = (np.asarray(heads[name], np.float32) for name in ("kernel", "bias"))
    if run.part:
        kernel, bias, passport = run.part.of(kernel, bias, passport)
    calibration = None if passport.mismatch != run.passport.mismatch else run.calibration
    buckets = row_lengths(config.model.buckets, passport.max_length)
    model = RewardModel(cfg, params, tokenizer, kernel, bias, passport, buckets, calibration=calibration)
    if weights:
        model = model.weighted(weights)
    logging.info("writing %s: %s", out, _dtypes(passport.dtype))
    about = run.about | ({"Results": WEIGHED_ANEW + run.about["Results"]} if weights else {})
    options = {
        "folded": folded,
        "about": about,
        "progress": _progress("writing"),
        "overwrite": overwrite,
        "source": source,
    }
    if peft:
        base = config.model.path.removeprefix("hf://") if config.model.path.startswith("hf://") else None
        if base is None and path.is_dir():
            base = str(path.resolve())
        if reads_pictures(path):  # a classifier of that class has other names; its text part goes with the adapter
            base = None
        return export_adapter(model, lora, trained["lora"], base, out, **options)
    if lora:
        layers = updated(params["layers"], trained["lora"], lora.scale)
        model = dataclasses.replace(model, params=params | {"layers": layers})
    return export(model, out, shard_bytes=shard_bytes, **options)


def _dtypes(name: str) -> str:
    """What is stored in which dtype, and how exactly scores agree that are computed otherwise.

    >>> _dtypes("float32")
    'backbone in float32, heads in float32'
    >>> _dtypes("bfloat16")
    'backbone in bfloat16, heads in float32; bfloat16 rounds every number by up to 1/256 of its size: scores that are \
computed in float32 differ by about that'
    """
    bits = {"bfloat16": 8, "float16": 11}.get(name)
    said = f"backbone in {name}, heads in float32"
    if bits is None:
        return said
    rounds = f"{name} rounds every number by up to 1/{2**bits:,} of its size"
    return f"{said}; {rounds}: scores that are computed in float32 differ by about that"


def export_source(run: Finished, **options: object) -> str:
    """A hash of all that an export's content depends on: the run's model, how it is exported, and this code.

    Args:
      run: whose model it is.
      **options: of `export_run`.
    """
    heads = hashlib.sha256(run.kernel.tobytes() + run.bias.tobytes()).hexdigest()
    part = None if run.part is None else [run.part.heads.tolist(), sorted(run.part.fields)]
    made = {"passport": run.passport.to_dict(), "heads": heads, "training": run.training, "part": part}
    calibrated = None if run.calibration is None else hashlib.sha256(run.calibration.scores.tobytes()).hexdigest()
    made |= {"calibration": calibrated, "options": options, "code": [code_digest(export), code_digest(export_adapter)]}
    return hashlib.sha256(json.dumps(made, sort_keys=True, default=str).encode()).hexdigest()


def row_lengths(buckets: Sequence[int], longest: int) -> tuple[int, ...]:
    """Row lengths of a model that was made from texts of up to `longest` tokens, which may be those of training rows.

    >>> row_lengths((256, 512), 1024), row_lengths((256, 512), 384), row_lengths((256, 512), 512)
    ((256, 512, 1024), (256, 384), (256, 512))
    """
    return (*(length for length in sorted(set(buckets)) if length < longest), longest)


WEIGHED_ANEW = "Its heads were composed anew for this export, so what follows is not about its reward. "


def _progress(label: str):
    pace = Pace(1, label)

    def progress(done: int, total: int) -> None:
        pace(done / total, f"{done / 2**30:.1f} of {total / 2**30:.1f} GiB")

    return progress
