"""Exports the reward model of a finished run for transformers, TRL, vLLM, OpenRLHF and RewardBench.

    encore export --workdir=runs/quickstart --out=exports/quickstart [--folded] [--peft]

Without --folded the export has one score per rule, with it the composed reward alone. Low-rank updates are merged into
the weights, or with --peft written as an adapter. The folder loads here again: RewardModel.from_pretrained(OUT).
"""

from __future__ import annotations

import dataclasses
import math
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from encore_jax.checkpoints.hf_folder import reads_pictures
from encore_jax.checkpoints.huggingface import load_backbone
from encore_jax.checkpoints.safetensors_writer import updated
from encore_jax.cli.finished_joint import HEADS, Choice
from encore_jax.cli.finished_run import Finished, read_run
from encore_jax.command_line import Parser, one_line_errors, start_logging
from encore_jax.data import locate
from encore_jax.data.lock import output_lock, reader_lock
from encore_jax.data.outputs import check_outputs, check_replaceable, local_inputs
from encore_jax.errors import InputError
from encore_jax.model.config import DecoderConfig
from encore_jax.model.heads import init_heads
from encore_jax.model.lora import Lora, declare_lora
from encore_jax.model.params import abstract
from encore_jax.parallel.mesh import MeshSettings, make_mesh
from encore_jax.progress import Pace
from encore_jax.recipes.joint_config import LOSS_OF
from encore_jax.recipes.run import plan_of
from encore_jax.recipes.stages.gradient import backbone_config, checkpoint_folder
from encore_jax.reward.export import MARKS, export, export_adapter
from encore_jax.reward.passport import model_digest
from encore_jax.reward.reward_model import RewardModel
from encore_jax.reward.weighting import HELP
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

    Raises:
      InputError: the base model is not the one it was trained from, --peft for a run without low-rank updates, or the
        folder is in use.
    """
    config, settings = run.config, run.config.train
    inputs = {"--config.model.path": config.model.path, "--config.train.checkpoints": settings.checkpoints}
    stages = {f"stage {stage} of --workdir": at for stage, at in plan_of(config, run.workdir).at.items()}
    check_outputs({"--out": out}, local_inputs(inputs | stages))
    path = locate(config.model.path, offline=config.data.offline)
    tokenizer = load_tokenizer(path)
    found = {"model_sha256": model_digest(path), "template_sha256": template_digest(tokenizer)}
    passport = run.passport.checked(found, str(path), allow=allow_mismatch)
    cfg, lora = backbone_config(config.model, path), None
    if run.training and settings.trainable == "lora":
        lora = Lora(settings.lora_rank, settings.lora_scale, tuple(settings.lora_targets))
    if peft and lora is None:
        raise InputError("it has no low-rank updates", where=str(run.workdir), fix="leave out --peft")
    shardings = param_shardings(cfg, make_mesh(MeshSettings()), lora)
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
    about = run.about | ({"Results": WEIGHED_ANEW + run.about["Results"]} if weights else {})
    options = {"folded": folded, "about": about, "progress": _progress("writing"), "overwrite": overwrite}
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


def row_lengths(buckets: Sequence[int], longest: int) -> tuple[int, ...]:
    """Row lengths of a model that was made from texts of up to `longest` tokens, which may be those of training rows.

    >>> row_lengths((256, 512), 1024), row_lengths((256, 512), 384), row_lengths((256, 512), 512)
    ((256, 512, 1024), (256, 384), (256, 512))
    """
    return (*(length for length in sorted(set(buckets)) if length < longest), longest)


def made_by(words: Sequence[str], run: str) -> str:
    """The command that makes an export again, as it was typed, and the run's name; Markdown.

    >>> print(made_by(["--workdir=runs/mine", "--out=my exports"], "mine").splitlines()[1])
    encore export --workdir=runs/mine '--out=my exports'
    """
    command = shlex.join(["encore", "export", *words]).replace("`", "'")
    return f"```bash\n{command}\n```\n\nfrom the folder of run `{run}`, which `config.json` there describes whole."


WEIGHED_ANEW = "Its heads were composed anew for this export, so what follows is not about its reward. "


def _progress(label: str):
    pace = Pace(1, label)

    def progress(done: int, total: int) -> None:
        pace(done / total, f"{done / 2**30:.1f} of {total / 2**30:.1f} GiB")

    return progress


def main(arguments: Sequence[str] | None = None) -> None:
    parser = Parser(description=__doc__.splitlines()[0])
    parser.add_argument("--workdir", required=True, type=Path, help="of a finished run")
    parser.add_argument("--out", required=True, type=Path, help="a new folder")
    parser.add_argument("--folded", action="store_true", help="one score, the composed reward")
    parser.add_argument("--weights", default="", help=HELP)
    parser.add_argument("--arm", default="", choices=tuple(LOSS_OF), help="of a joint run: whose model")
    parser.add_argument("--trained-on", default="", help="of a joint run: the domain that the model was trained on")
    parser.add_argument(
        "--head", default="", choices=tuple(HEADS),
        help="of a joint run: the reward, its preference head or its rule heads by ENCORE's weights",
    )  # fmt: skip
    parser.add_argument("--peft", action="store_true", help="low-rank updates as an adapter, not merged")
    parser.add_argument(
        "--allow-mismatch", "--allow_mismatch", action="store_true",
        help="export though the base model is another; recorded",
    )  # fmt: skip
    parser.add_argument("--shard-gb", type=float, default=5.0, help="largest weight file")
    parser.add_argument("--overwrite", action="store_true", help="replace an earlier export in this folder")
    with one_line_errors():
        given = parser.parse_args(arguments)
        if not (math.isfinite(given.shard_gb) and given.shard_gb > 0):
            raise InputError(f"{given.shard_gb} is no size", where="--shard-gb", fix="e.g. --shard-gb=5")
        start_logging()
        with output_lock(given.out):  # before a model is read for nothing
            check_replaceable(given.out, overwrite=given.overwrite, marks=MARKS)
        with reader_lock(given.workdir):
            run = read_run(given.workdir, Choice(given.arm, given.trained_on, given.head))
            words = list(sys.argv[1:] if arguments is None else arguments)
            run = run._replace(about=run.about | {"Made by": made_by(words, run.config.name)})
            folder = export_run(
                run, given.out, folded=given.folded, peft=given.peft, allow_mismatch=given.allow_mismatch,
                shard_bytes=max(1, int(min(given.shard_gb, 1e9) * 1e9)), weights=given.weights,
                overwrite=given.overwrite,
            )  # fmt: skip
        print(f"{folder}: {', '.join(sorted(path.name for path in folder.iterdir()))}")


if __name__ == "__main__":
    main()
