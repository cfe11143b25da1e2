"""Which chain of stages a configuration asks for."""

from __future__ import annotations

from pathlib import Path

import jax

from encore_jax.parallel.processes import all_same_everywhere
from experiments.ablation_config import AblateConfig
from experiments.benchmark_config import BenchmarkConfig
from experiments.chain import Chain, check_stages, run_chain
from experiments.config import RunConfig, to_dict
from experiments.judging_together import Role, judging_together
from experiments.panel_config import PanelConfig
from experiments.ramo_config import AdapterConfig, RamoConfig
from experiments.rating_config import RatingConfig
from experiments.real_judges_config import RealJudgesConfig
from experiments.rerun import check_rerun
from experiments.theory_config import TheoryConfig
from experiments.workdir import kept_for


def chain_of(config: RunConfig, workdir: Path) -> Chain:
    """The chain of stages that carries out this configuration in this work directory."""
    # Imported where it is known which: a refused or wrong command need not wait for figures and checkpoints.
    if isinstance(config, RatingConfig) and config.judge.on_pairs:
        from experiments.chains.verdicts import VerdictChain as Chosen
    elif isinstance(config, RatingConfig):
        from experiments.chains.rating import RatingChain as Chosen
    elif isinstance(config, PanelConfig):
        from experiments.chains.panel import PanelChain as Chosen
    elif isinstance(config, BenchmarkConfig):
        from experiments.chains.benchmark import BenchmarkChain as Chosen
    elif isinstance(config, AblateConfig):
        from experiments.chains.ablation import AblationChain as Chosen
    elif isinstance(config, TheoryConfig):
        from experiments.chains.theory import TheoryChain as Chosen
    elif isinstance(config, RealJudgesConfig):
        from experiments.chains.real_judges import RealJudgesChain as Chosen
    elif isinstance(config, RamoConfig):
        from experiments.chains.ramo import RamoChain as Chosen
    elif isinstance(config, AdapterConfig):
        from experiments.chains.ramo import AdapterChain as Chosen
    elif config.train.loss == "bradley_terry":
        from experiments.chains.preferences import PreferenceChain as Chosen
    else:
        from experiments.chains.heads import HeadsChain as Chosen
    return Chosen(config, workdir)


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
