"""Which chain of stages a configuration asks for."""

from __future__ import annotations

import importlib
from pathlib import Path

import jax

from encore_jax.data.manifest import MANIFEST
from encore_jax.parallel.processes import all_same_everywhere
from encore_jax.recipes.chain import Chain, check_stages, run_chain
from encore_jax.recipes.config import RunConfig, to_dict
from encore_jax.recipes.judging_together import Role, judging_together
from encore_jax.recipes.rerun import check_rerun
from encore_jax.recipes.workdir import kept_for


def chain_of(config: RunConfig, workdir: Path) -> Chain:
    """The chain of stages that carries out this configuration in this work directory.

    It is imported only here: a refused or wrong command need not wait for figures and checkpoints.
    """
    module, _, name = config.chain.partition(":")
    return getattr(importlib.import_module(module), name)(config, workdir)


def stages_of(config: RunConfig, workdir: Path, *, until: str | None = None, rerun: str | None = None) -> str:
    """What a run would do, in words: its stages, where they go, and which have been complete before.

    Args:
      config: validated.
      workdir: of the run.
      until, rerun: as `run_experiment` takes them.

    Raises:
      InputError: this experiment has no such stage.
    """
    chain = chain_of(config, workdir)
    check_stages(chain, rerun, until)
    lines = [f"{config.name}: {type(config).__name__}, {workdir}"]
    for stage in chain.STAGES:
        there = (chain.at[stage] / MANIFEST).exists() and stage != rerun
        lines.append(f"  {stage}: {'complete, if what it depends on is the same' if there else 'to do'}")
        if stage == until:
            break
    return "\n".join(lines)


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
        in the work directory, it holds somebody else's files, or another process was started with another command.
    """
    with judging_together(config) as role:
        if role is not Role.FOLLOWER:
            together = role is Role.ALIKE and jax.process_count() > 1
            if together:
                command = to_dict(config) | {"rerun": rerun, "until": until}
                all_same_everywhere("the command", command, "start the same command on every host")
            chain = chain_of(config, workdir)
            check_stages(chain, rerun, until)
            check_rerun(chain, rerun, together)
            with kept_for(chain, workdir, overwrite=overwrite, together=together):
                run_chain(chain, rerun=rerun, until=until, together=together, overwrite=overwrite)
