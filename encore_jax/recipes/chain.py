"""A chain of stages: what each reads, and when it must run again."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable
from pathlib import Path

from absl import logging

from encore_jax.data import locate
from encore_jax.data.digest import changed, note, recording
from encore_jax.data.manifest import changed_outputs
from encore_jax.errors import InputError
from encore_jax.parallel.processes import all_same_everywhere, on_every_process
from encore_jax.progress import clock
from encore_jax.recipes.config import ModelConfig, RunConfig, TrainConfig, to_dict
from encore_jax.recipes.manifest import run_stage
from encore_jax.reward.passport import model_digest

Plan = dict[str, tuple[Callable[[], dict], Callable[[Path], None]]]
"""Of every stage, in order: what its outputs depend on, and what makes them, given its folder."""


class Chain:
    """What the stages of one run pass to each other; a subclass for every kind of run.

    Args:
      config: validated.
      workdir: one folder per stage.
    """

    STAGES: tuple[str, ...] = ()
    """Names of the stages, in order; the last one is `report`."""

    PUBLISHED: tuple[str, ...] = ("results.json", "report.html")
    """Files and folders beside the stages', in the work directory."""

    def __init__(self, config: RunConfig, workdir: Path):
        self.config, self.manifests = config, {}
        self._weights: tuple[str, dict[str, str]] | None = None
        self._plain = to_dict(config)
        for section in ("train", "adapter"):
            for name in ("checkpoints", "remat", "attention"):  # where they are kept, and how devices run a step,
                self._plain.get(section, {}).pop(name, None)  # change no result but for rounding
        self.at = {stage: workdir / stage for stage in self.STAGES}

    def plan(self) -> Plan:
        """The stages."""
        raise NotImplementedError

    def show(self) -> None:
        """Prints the report of a run that was complete already."""
        raise NotImplementedError

    @property
    def kind(self) -> str:
        """Of the run, as its work directory says it."""
        return type(self).__name__.removesuffix("Chain").lower()

    @property
    def weights(self) -> str:
        """Hash of the model's files; fetched and hashed when first needed, before training and scoring."""
        if self._weights is None:
            with recording() as files:
                self._weights = model_sha256(self.config.model, self.config.data.offline), files
        digest, files = self._weights
        note(files)
        return digest

    def outputs(self, *stages: str) -> dict:
        """Hashes of what these stages wrote."""
        return {stage: self.manifests[stage]["outputs"] for stage in stages}

    def settings(self, *names: str) -> dict:
        """The seed and these parts of the configuration, as plain values.

        A part that is called like a stage has another name here, or what the stage wrote would take its place.
        """
        return {name + " settings" * (name in self.STAGES): self._plain[name] for name in ("seed", *names)}

    def everything(self) -> dict:
        """The whole configuration, as plain values."""
        return {"config": self._plain}

    def training(self, stage: str) -> TrainConfig | None:
        """How a stage trains, if it does."""
        return getattr(self.config, "train", None) if stage == "train" else None

    def model(self) -> Path:
        """The model's files, fetched before."""
        return locate(self.config.model.path, offline=True)


def check_stages(chain: Chain, *names: str | None) -> None:
    """Raises InputError unless the chain has stages of these names."""
    for name in set(names) - {None}:
        if name not in chain.STAGES:
            fix = f"use one of {', '.join(chain.STAGES)}"
            raise InputError(f"there is no stage {name!r} here", where="run", fix=fix)


def run_chain(
    chain: Chain,
    *,
    rerun: str | None = None,
    until: str | None = None,
    together: bool = False,
    overwrite: bool = False,
) -> None:
    """Runs the stages that are not complete on these inputs.

    Args:
      chain: of a run.
      rerun: a stage to run again whatever its manifest says.
      until: the last stage wanted; all of them if left out.
      together: all processes run it: a stage must depend on the same everywhere, and runs if any of them lacks it.
      overwrite: a stage may empty a folder that holds what no stage wrote.

    Raises:
      InputError: the chain has no such stage, the processes' data or models differ, or a file changed while a stage
        read it.
    """
    check_stages(chain, rerun, until)
    plan = chain.plan()
    for stage in chain.STAGES:
        inputs, body = plan[stage]
        with recording() as files:
            found = _inputs_everywhere(chain, stage, inputs) if together else inputs()
        options = {"everywhere": lambda complete: bool(on_every_process(complete).all())} if together else {}
        verified = _verified(chain, stage, found, files, body, together)
        chain.manifests[stage], ran = run_stage(
            chain.at[stage], found, verified, again=stage == rerun, overwrite=overwrite, **options
        )
        logging.info("%s: %s (%s)", stage, "done" if ran else "up to date", clock(chain.manifests[stage]["seconds"]))
        if stage == chain.STAGES[-1] and not ran:
            chain.show()
        if stage == until:
            return


def _verified(
    chain: Chain, stage: str, found: dict, files: dict[str, str], body: Callable[[Path], None], together: bool
) -> Callable[[Path], None]:
    """The stage's function, with what it reads checked before and after: it must be what its manifest will say."""

    def check() -> None:
        problem = _problem(chain, stage, found, files)
        if together and on_every_process(bool(problem)).any():
            problem = problem or (stage, "another process's files changed")
        if problem:
            where, what = problem
            fix = "let nobody change it meanwhile, and run the same command again: what depends on it runs again"
            raise InputError(what, where=where, fix=fix)

    def run(folder: Path) -> None:
        check()
        body(folder)
        check()

    return run


def _problem(chain: Chain, stage: str, found: dict, files: dict[str, str]) -> tuple[str, str] | None:
    """A file that is not what this stage's inputs say, and what is wrong with it."""
    for path in changed(files):
        return path, f"changed while stage {stage} was to read it"
    for earlier in chain.STAGES[: chain.STAGES.index(stage)]:
        outputs = chain.manifests[earlier]["outputs"]
        if found.get(earlier) == outputs:
            for name in changed_outputs(chain.at[earlier], outputs):
                return str(chain.at[earlier] / name), f"changed between its stage and stage {stage}"
    return None


def _inputs_everywhere(chain: Chain, stage: str, inputs: Callable[[], dict]) -> dict:
    """What a stage depends on, which must be the same on all processes.

    What earlier stages wrote is not compared: it holds times, and metrics on process 0 only.
    """
    what, fix = f"what stage {stage} depends on", "give every host the same files"
    try:
        found = json.loads(json.dumps(inputs(), default=list))
    except Exception:
        with contextlib.suppress(InputError):  # the others are told; here the cause says more
            all_same_everywhere(what, None, fix)
        raise
    earlier = chain.STAGES[: chain.STAGES.index(stage)]
    all_same_everywhere(what, {name: value for name, value in found.items() if name not in earlier}, fix)
    return found


def model_sha256(config: ModelConfig, offline: bool) -> str:
    """One hash over the files of the model and its tokenizer, fetched if need be."""
    return model_digest(locate(config.path, offline=offline))
