"""From a configuration to its run: the recipe that it names, in a work directory that is kept for it."""

from __future__ import annotations

import contextlib
import importlib
from pathlib import Path
from types import ModuleType

import jax

from encore_jax.errors import InputError
from encore_jax.parallel.processes import all_same_everywhere
from encore_jax.recipes.checkpoints_kept import check_rerun
from encore_jax.recipes.judging_together import Role, judging_together
from encore_jax.recipes.pipeline import LastStage, Pipeline
from encore_jax.recipes.plan import Plan
from encore_jax.recipes.run_config import RunConfig, to_dict
from encore_jax.recipes.workdir import check_run, kept_for
from encore_jax.train.trackers import check_trackers


def recipe_of(config: RunConfig) -> ModuleType:
    """The recipe that carries this configuration out: a module with ``run(config, stage)`` and ``PUBLISHED``.

    It is imported only here: a refused or wrong command need not wait for figures and checkpoints.
    """
    return importlib.import_module(config.recipe)


def plan_of(config: RunConfig, workdir: Path) -> Plan:
    """The stages of a run, and what each of them is given; nothing runs."""
    plan = Plan(workdir)
    recipe_of(config).run(config, plan)
    return plan


def stages_of(
    config: RunConfig,
    workdir: Path,
    *,
    until: str | None = None,
    rerun: str | None = None,
    overwrite: bool = False,
) -> str:
    """What a run would do, in words: its stages, where they go, and which have been complete before.

    Args:
      config: validated.
      workdir: of the run.
      until, rerun, overwrite: as `run_experiment` takes them.

    Raises:
      InputError: as `run_experiment` before its first stage, or in a first stage that reads files of this machine.
    """
    recipe, plan = recipe_of(config), plan_of(config, workdir)
    check_command(config, plan, rerun, until)
    check_run(config, recipe, plan, overwrite=overwrite, until=until)
    plan.read_sources(until)
    lines = [f"{config.name}: {type(config).__name__}, {workdir}"]
    for stage in plan.stages:
        there = plan.complete(stage) and stage != rerun
        lines.append(f"  {stage}: {'complete, if what it depends on is the same' if there else 'to do'}")
        if stage == until:
            break
    return "\n".join(lines)


def check_command(
    config: RunConfig, plan: Plan, rerun: str | None, until: str | None, *, together: bool = False
) -> None:
    """Refuses what a run and its dry run refuse before they look at the work directory.

    Raises:
      InputError: there is no such stage, a stage to run again would resume from checkpoints, or a tracker is missing.
    """
    check_stages(plan, rerun, until)
    check_rerun(plan, rerun, together)
    if not together:
        check_installed(config, plan, until)


def check_stages(plan: Plan, *names: str | None) -> None:
    """Raises InputError unless the run has stages of these names."""
    for name in set(names) - {None}:
        if name not in plan.stages:
            fix = f"use one of {', '.join(plan.stages)}"
            raise InputError(f"there is no stage {name!r} here", where="run", fix=fix)


def check_installed(config: RunConfig, plan: Plan, until: str | None) -> None:
    """Raises InputError where training is still to come and a tracker that it names is not installed."""
    train = getattr(config, "train", None)
    names = train.trackers if getattr(train, "method", "") == "gradient" else ()
    wanted = plan.stages[: plan.stages.index(until) + 1] if until else plan.stages
    if names and not all(plan.complete(stage) for stage in wanted):
        check_trackers(names)


def run_experiment(
    config: RunConfig,
    workdir: Path,
    *,
    rerun: str | None = None,
    until: str | None = None,
    overwrite: bool = False,
) -> None:
    """Runs the stages that are not complete on these inputs; of a rating run on process 0, whom all others follow.

    Args:
      config: validated.
      workdir: holds one folder per stage, and at the end results.json and report.html.
      rerun: a stage to run again whatever its manifest says.
      until: the last stage wanted; all of them if left out.
      overwrite: replace what is in the way in the work directory and no such run has made.

    Raises:
      InputError: this experiment has no such stage, training would not begin from nothing, another process is at work
        in the work directory, it holds somebody else's files or a run on other inputs, or another process was started
        with another command.
    """
    with judging_together(config) as role:
        if role is not Role.FOLLOWER:
            together = role is Role.ALIKE and jax.process_count() > 1
            if together:
                command = to_dict(config) | {"rerun": rerun, "until": until}
                all_same_everywhere("the command", command, "start the same command on every host")
            recipe, plan = recipe_of(config), plan_of(config, workdir)
            check_command(config, plan, rerun, until, together=together)
            with kept_for(config, recipe, plan, overwrite=overwrite, together=together, until=until):
                stage = Pipeline(
                    workdir, rerun=rerun, until=until, together=together, overwrite=overwrite, stages=plan.stages
                )
                with contextlib.suppress(LastStage):
                    recipe.run(config, stage)
