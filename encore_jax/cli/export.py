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
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from encore_jax.checkpoints.hf_folder import reads_pictures
from encore_jax.checkpoints.huggingface import load_backbone
from encore_jax.checkpoints.safetensors_writer import updated
from encore_jax.command_line import Parser, one_line_errors, start_logging
from encore_jax.data import locate
from encore_jax.data.lock import output_lock, reader_lock
from encore_jax.data.manifest import FIX, check_one_run, read_manifest
from encore_jax.data.outputs import check_outputs, check_replaceable, local_inputs
from encore_jax.errors import InputError
from encore_jax.evaluation import decision
from encore_jax.evaluation.over_refusal import over_refusal_card
from encore_jax.json_shape import read_json
from encore_jax.model.config import DecoderConfig
from encore_jax.model.heads import init_heads
from encore_jax.model.lora import Lora, declare_lora
from encore_jax.model.params import abstract
from encore_jax.parallel.mesh import MeshSettings, make_mesh
from encore_jax.progress import Pace
from encore_jax.recipes.config import ExperimentConfig
from encore_jax.recipes.manifest import file_sha256
from encore_jax.recipes.run import plan_of
from encore_jax.recipes.run_config import check_field_types, from_dict, to_dict
from encore_jax.recipes.stages.gradient import backbone_config, checkpoint_folder
from encore_jax.recipes.stages.heads import Heads
from encore_jax.reward.calibration import Calibration, read_calibration
from encore_jax.reward.export import MARKS, export, export_adapter
from encore_jax.reward.passport import Passport, model_digest, read_passport
from encore_jax.reward.reward_model import RewardModel
from encore_jax.reward.weighting import HELP
from encore_jax.rules import RulePool
from encore_jax.text.tokenizer import load_tokenizer, template_digest
from encore_jax.train.checkpoint import Checkpoints
from encore_jax.train.sharded import param_shardings, with_shardings


class Finished(NamedTuple):
    """A run whose reward model can be exported.

    Attributes:
      config, workdir: the run.
      passport: of the model.
      kernel, bias: its heads.
      training: name and step of the checkpoint that holds what was trained besides heads; None if nothing was.
      about: what the model card tells of it.
      calibration: what its intervals come from, if it has any.
    """

    config: ExperimentConfig
    workdir: Path
    passport: Passport
    kernel: np.ndarray
    bias: np.ndarray
    training: tuple[str, int] | None
    about: dict[str, str]
    calibration: Calibration | None = None


def read_run(workdir: Path) -> Finished:
    """What a finished run says of itself.

    Raises:
      InputError: it is not finished, of a kind that trains no reward model, or its stages are not of one run.
    """
    config = read_config(workdir / "config.json")
    _check_finished(config, workdir)
    results, train = _json(workdir / "results.json"), workdir / "train"
    counts = _json(train / "counts.json")
    gradient = config.train.method == "gradient" and config.train.trainable != "heads"
    if config.train.loss == "bradley_terry":
        with np.load(train / "heads.npz") as stored:
            kernel, bias = stored["kernel"], stored["bias"]
        name, summary, folder = "", counts["training"], train
        best = results["held_out"]["methods"][0]
        label = "held-out comparisons"
    else:
        heads = Heads.load(train / "heads-human.npz")
        kernel, bias, name, folder = heads.kernel, heads.bias, "human", workdir / "compose"
        summary = counts.get("training_human", {})
        view = next(view for view in results["views"] if view["name"] == "heads")
        weighting = view.get("weighting", "ENCORE")
        best = next(m for m in view["methods"] if m["name"] == weighting)
        label = f"held-out comparisons ({view['label']})"
    accuracy, passport = best["accuracy"], read_passport(folder)
    rules_and_use = _rules(workdir, passport) | _what_to_use(results)
    about = rules_and_use | {
        "Data": _data(config, _json(workdir / "ingest" / "counts.json")),
        "Results": f"Accuracy {accuracy['value']:.4f} [{accuracy['low']:.4f}, {accuracy['high']:.4f}] on {best['n']} "
        f"{label}; run `{config.name}`, seed {config.seed}.",
    }
    if told := over_refusal_card(results.get("over_refusal")):
        about["Over-refusal"] = told
    training = (name, summary["used_step"]) if gradient else None
    calibration = read_calibration(folder, passport.intervals)
    return Finished(config, workdir, passport, kernel, bias, training, about, calibration)


def read_config(path: Path) -> ExperimentConfig:
    """The configuration that a run kept.

    Raises:
      InputError: there is none, or it is of another kind of run.
    """
    values = _json(path)
    try:
        config = from_dict(ExperimentConfig, values, str(path))
    except InputError as error:  # of a benchmark, say
        raise InputError(error.problem, where=error.where, fix="name a run that trains a reward model") from None
    check_field_types(config, str(path))
    return config


PATHS = ("name", "data.path", "data.ratings_path", "data.pool", "data.offline", "model.path", "baselines.verdicts")
"""Fields that say where files lie, which may have been moved; the passport says whether the model is still the one."""


def _check_finished(config: ExperimentConfig, workdir: Path) -> None:
    """Refuses a work directory whose stages, results and configuration are not of one run."""
    plan = plan_of(config, workdir)
    if missing := [stage for stage in ("train", "evaluate") if stage not in plan.stages]:
        raise InputError(f"has no stage {missing[0]}", where=str(workdir), fix="name a run that trains a reward model")
    for stage in ("ingest", "train", "compose", "evaluate"):
        if stage in plan.stages:
            read_manifest(plan.at[stage])
            check_one_run(plan.at[stage])
    evaluated = read_manifest(plan.at["evaluate"])
    arguments = evaluated.inputs.get("arguments", {})
    there = arguments.get("config", {}) if isinstance(arguments, dict) else {}
    here, there = _flat(to_dict(config)), _flat(there)
    differ = sorted(name for name in there if name not in PATHS and here.get(name) != there[name])
    if differ:
        problem = f"is not that of the finished run: {', '.join(differ[:5])} differ"
        raise InputError(problem, where=str(workdir / "config.json"), fix=FIX)
    published = workdir / "results.json"
    if published.is_file() and file_sha256(published) != evaluated.outputs.get("results.json"):
        raise InputError("is not that of the finished run", where=str(published), fix=FIX)


def _flat(values: Any, before: str = "") -> dict[str, Any]:
    """Fields by their dotted names; lists as they are in JSON."""
    if not isinstance(values, dict):
        return {before.removesuffix("."): values}
    return {name: value for key, inner in values.items() for name, value in _flat(inner, f"{before}{key}.").items()}


def _what_to_use(results: dict[str, Any]) -> dict[str, str]:
    """What the run advises for this model, in the words of its report."""
    told = [view["agreement"] for view in results.get("views", ()) if view["name"] == "heads" and view.get("agreement")]
    return {"What to use": decision.about(decision.MODEL, told[0]["recommendation"])} if told else {}


def _rules(workdir: Path, passport: Passport) -> dict[str, str]:
    """What the heads' rules say, in the pool's words; nothing for a model whose head stands for no rule."""
    pool = RulePool.from_yaml(workdir / "ingest" / "pool.yaml")
    turned = {1: "", -1: " (Rated so that higher is worse; the score is turned round.)"}
    lines = [f"- **{rule.name}**: {rule.text}{turned[rule.direction]}" for rule in pool if rule.name in passport.rules]
    return {"What the rules say": "\n".join(lines)} if lines else {}


def _data(config: ExperimentConfig, counts: dict[str, Any]) -> str:
    source, names = config.data, {"rated_responses": "rated responses", "comparisons": "comparisons"}
    held = [f"{counts[key]:,} {name}" for key, name in names.items() if counts.get(key)]
    where = source.path or "the pinned wheel"
    return f"Source `{source.source}`, {where}; rule pool `{source.pool}`. Read: {', '.join(held)}."


def _json(path: Path) -> dict[str, Any]:
    fix = f"first run to its end the command that makes {path.parent}, e.g. encore fit or encore quickstart"
    return read_json(path, dict[str, object], fix=fix, max_bytes=1 << 30)


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
    calibration = None if passport.mismatch != run.passport.mismatch else run.calibration
    buckets = tuple(config.model.buckets)
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
            run = read_run(given.workdir)
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
