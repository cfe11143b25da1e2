"""What a finished run says of the reward model that it trained: what an export is made from."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from encore_jax.cli.joint_choice import Choice
from encore_jax.data.manifest import FIX, check_one_run, kind_of_run, read_manifest
from encore_jax.errors import InputError
from encore_jax.evaluation import decision
from encore_jax.evaluation.over_refusal import over_refusal_card
from encore_jax.json_shape import read_json
from encore_jax.recipes.config import ExperimentConfig
from encore_jax.recipes.joint_config import JointConfig
from encore_jax.recipes.manifest import file_sha256
from encore_jax.recipes.run import plan_of
from encore_jax.recipes.run_config import check_field_types, from_dict, to_dict
from encore_jax.recipes.stages.heads import Heads
from encore_jax.reward.calibration import Calibration, read_calibration
from encore_jax.reward.passport import Passport, read_passport
from encore_jax.rules import RulePool

if TYPE_CHECKING:
    from encore_jax.cli.finished_joint import Part

JOINT = "joint"
"""The kind of run that trains several models: `encore_jax.cli.finished_joint` says which one is meant."""
ANY = Choice()


class Finished(NamedTuple):
    """A run whose reward model can be exported.

    Attributes:
      config, workdir: the run.
      passport: of the model.
      kernel, bias: its heads.
      training: name and step of the checkpoint that holds what was trained besides heads; None if nothing was.
      about: what the model card tells of it.
      calibration: what its intervals come from, if it has any.
      part: which heads are exported, where they are not all.
    """

    config: ExperimentConfig | JointConfig
    workdir: Path
    passport: Passport
    kernel: np.ndarray
    bias: np.ndarray
    training: tuple[str, int] | None
    about: dict[str, str]
    calibration: Calibration | None = None
    part: Part | None = None


def read_run(workdir: Path, choice: Choice = ANY) -> Finished:
    """What a finished run says of itself.

    Args:
      workdir: its work directory.
      choice: of a joint run, which of its models and which reward.

    Raises:
      InputError: it is not finished, of a kind that trains no reward model, its stages are not of one run, or the
        choice names no model of it.
    """
    config = read_config(workdir / "config.json")
    _check_finished(config, workdir)
    results = _json(workdir / "results.json")
    if isinstance(config, JointConfig):
        return _joint(config, workdir, results, choice)
    choice.check_unused(str(workdir))
    return _one_model(config, workdir, results)


def _joint(config: JointConfig, workdir: Path, results: dict[str, Any], choice: Choice) -> Finished:
    """One model of a joint run."""
    from encore_jax.cli.finished_joint import chosen_part  # with the figures of a joint run's report

    found = chosen_part(config, workdir, results, choice)
    exported = dataclasses.replace(found.passport, **found.part.fields)
    about = _rules(workdir, exported) | {
        "Data": f"{_data(config, _json(workdir / 'ingest' / 'counts.json'))}\n\n{found.texts}",
        "Results": f"{found.results}\n\nRun `{config.name}`, seed {config.seed}.",
    }
    trained = found.passport, found.kernel, found.bias, (found.name, found.step)
    return Finished(config, workdir, *trained, about, part=found.part)


def _one_model(config: ExperimentConfig, workdir: Path, results: dict[str, Any]) -> Finished:
    """The model of a run that trains one."""
    train = workdir / "train"
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


def read_config(path: Path) -> ExperimentConfig | JointConfig:
    """The configuration that a run kept.

    Raises:
      InputError: there is none, or it is of another kind of run.
    """
    values = _json(path)
    kind = JointConfig if kind_of_run(path.parent) == JOINT else ExperimentConfig
    try:
        config = from_dict(kind, values, str(path))
    except InputError as error:  # of a benchmark, say
        raise InputError(error.problem, where=error.where, fix="name a run that trains a reward model") from None
    check_field_types(config, str(path))
    return config


PATHS = ("name", "data.path", "data.ratings_path", "data.pool", "data.offline", "model.path", "baselines.verdicts")
"""Fields that say where files lie, which may have been moved; the passport says whether the model is still the one."""


def _check_finished(config: ExperimentConfig | JointConfig, workdir: Path) -> None:
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


def _data(config: ExperimentConfig | JointConfig, counts: dict[str, Any]) -> str:
    source, names = config.data, {"rated_responses": "rated responses", "comparisons": "comparisons"}
    held = [f"{counts[key]:,} {name}" for key, name in names.items() if counts.get(key)]
    where = source.path or "the pinned wheel"
    return f"Source `{source.source}`, {where}; rule pool `{source.pool}`. Read: {', '.join(held)}."


def _json(path: Path) -> dict[str, Any]:
    fix = f"first run to its end the command that makes {path.parent}, e.g. encore fit or encore quickstart"
    return read_json(path, dict[str, object], fix=fix, max_bytes=1 << 30)
