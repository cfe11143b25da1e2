"""Which chain of stages a configuration asks for."""

from __future__ import annotations

from pathlib import Path

import jax
from etils import epath

from encore_jax.errors import InputError
from experiments.ablation_config import AblateConfig
from experiments.benchmark_config import BenchmarkConfig
from experiments.chain import Chain, run_chain
from experiments.chains.ablation import AblationChain
from experiments.chains.benchmark import BenchmarkChain
from experiments.chains.heads import HeadsChain
from experiments.chains.preferences import PreferenceChain
from experiments.chains.ramo import AdapterChain, RamoChain
from experiments.chains.rating import RatingChain
from experiments.chains.theory import TheoryChain
from experiments.chains.verdicts import VerdictChain
from experiments.config import RunConfig
from experiments.judging_together import Role, judging_together
from experiments.ramo_config import AdapterConfig, RamoConfig
from experiments.rating_config import RatingConfig
from experiments.theory_config import TheoryConfig

TRAINING = ("train", "adapter")
"""Stages that keep checkpoints."""


def chain_of(config: RunConfig, workdir: Path) -> Chain:
    """The chain of stages that carries out this configuration in this work directory."""
    if isinstance(config, RatingConfig):
        return VerdictChain(config, workdir) if config.judge.on_pairs else RatingChain(config, workdir)
    if isinstance(config, BenchmarkConfig):
        return BenchmarkChain(config, workdir)
    if isinstance(config, AblateConfig):
        return AblationChain(config, workdir)
    if isinstance(config, TheoryConfig):
        return TheoryChain(config, workdir)
    if isinstance(config, RamoConfig):
        return RamoChain(config, workdir)
    if isinstance(config, AdapterConfig):
        return AdapterChain(config, workdir)
    if config.train.loss == "bradley_terry":
        return PreferenceChain(config, workdir)
    return HeadsChain(config, workdir)


def run_experiment(config: RunConfig, workdir: Path, *, rerun: str | None = None, until: str | None = None) -> None:
    """Runs the stages that are not complete on these inputs; of a rating run on process 0, whom all others follow.

    Args:
      config: validated.
      workdir: holds one folder per stage, and at the end results.json and report.html.
      rerun: a stage to run again whatever its manifest says.
      until: the last stage wanted; all of them if left out.

    Raises:
      InputError: this experiment has no such stage, or training would not begin from nothing.
    """
    _check_rerun(config, rerun)
    with judging_together(config) as role:
        if role is not Role.FOLLOWER:
            together = role is Role.ALIKE and jax.process_count() > 1
            run_chain(chain_of(config, workdir), rerun=rerun, until=until, together=together)


def _check_rerun(config: RunConfig, rerun: str | None) -> None:
    """A stage that runs again begins from nothing; checkpoints outside its folder would be resumed from."""
    kept = getattr(getattr(config, "train", None), "checkpoints", "")
    if kept and rerun in TRAINING and epath.Path(kept).exists() and any(epath.Path(kept).iterdir()):
        raise InputError(
            f"stage {rerun} would go on from the checkpoints in {kept}",
            where="--rerun",
            fix="remove them, or name another place by --config.train.checkpoints",
        )
