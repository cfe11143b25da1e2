"""The stages of an experiment as one chain: what each reads, and when it must run again."""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path

from absl import logging

from encore_jax.data import locate
from encore_jax.errors import InputError
from experiments.config import ExperimentConfig, to_dict
from experiments.manifest import run_stage
from experiments.progress import clock
from experiments.stages.agreement import agreement, report_agreement, show_agreement
from experiments.stages.compose import compose
from experiments.stages.evaluate import evaluate
from experiments.stages.ingest import ingest, source_hashes
from experiments.stages.preferences import train_preferences
from experiments.stages.rate import rate
from experiments.stages.report import report, show
from experiments.stages.score import score
from experiments.stages.train import model_sha256, train

STAGES = ("ingest", "rate", "train", "score", "compose", "evaluate", "report")
PREFERENCE_STAGES = ("ingest", "train", "evaluate", "report")
"""Of an experiment that trains one head on preferences: there is nothing to rate and nothing to compose."""


def run_experiment(config: ExperimentConfig, workdir: Path, *, rerun: str | None = None, until: str = "report") -> None:
    """Runs the stages that are not complete on these inputs, up to `until`.

    Args:
      config: validated.
      workdir: holds one folder per stage, and at the end results.json and report.html.
      rerun: a stage to run again whatever its manifest says.
      until: the last stage wanted.

    Raises:
      InputError: this experiment has no such stage.
    """
    preference = config.train.loss == "bradley_terry"
    stages = PREFERENCE_STAGES if preference else STAGES
    for wanted in {rerun, until} - {None}:
        if wanted not in stages:
            raise InputError(f"there is no stage {wanted!r} here", where="run", fix=f"use one of {', '.join(stages)}")
    chain = Chain(config, workdir)
    plan = chain.preference_plan() if preference else chain.plan()
    for stage in stages:
        inputs, body = plan[stage]
        chain.manifests[stage], ran = run_stage(workdir / stage, inputs(), body, again=stage == rerun)
        logging.info("%s: %s (%s)", stage, "done" if ran else "up to date", clock(chain.manifests[stage]["seconds"]))
        if stage == "report" and not ran:
            (show_agreement if preference else show)(workdir / stage)
        if stage == until:
            return


Plan = dict[str, tuple[Callable[[], dict], Callable[[Path], None]]]
"""Of every stage: what its outputs depend on, and what makes them, given its folder."""


class Chain:
    """What the stages of one run pass to each other.

    Args:
      config: validated.
      workdir: one folder per stage.
    """

    def __init__(self, config: ExperimentConfig, workdir: Path):
        self.config, self.manifests = config, {}
        self._plain = to_dict(config)
        del self._plain["train"]["checkpoints"]  # where they are kept changes no result
        self._at = {stage: workdir / stage for stage in STAGES}

    @functools.cached_property
    def weights(self) -> str:
        """Hash of the model's files; fetched and hashed when first needed, before training and scoring."""
        return model_sha256(self.config.model, self.config.data.offline)

    def _outputs(self, *stages: str) -> dict:
        return {stage: self.manifests[stage]["outputs"] for stage in stages}

    def _settings(self, *names: str) -> dict:
        return {name: self._plain[name] for name in ("seed", *names)}

    def plan(self) -> Plan:
        """Rule heads, composed: the seven stages."""
        config, at, settings, outputs = self.config, self._at, self._settings, self._outputs
        everything = ("ingest", "rate", "train", "score", "compose")
        return {
            "ingest": self._ingest(),
            "rate": (
                lambda: settings("semi_synthetic") | outputs("ingest"),
                lambda folder: rate(config.semi_synthetic, config.seed, at["ingest"], folder),
            ),
            "train": (
                lambda: settings("data", "model", "train") | outputs("ingest", "rate") | {"weights": self.weights},
                lambda folder: train(config, self.weights, at["ingest"], at["rate"], folder),
            ),
            "score": (
                lambda: settings("data", "semi_synthetic") | outputs("ingest", "rate", "train"),
                lambda folder: score(config, at["ingest"], at["rate"], at["train"], folder),
            ),
            "compose": (
                lambda: settings("compose") | outputs("train", "score"),
                lambda folder: compose(config, at["train"], at["score"], folder),
            ),
            "evaluate": (
                lambda: {"config": self._plain} | outputs(*everything),
                lambda folder: evaluate(config, *(at[stage] for stage in everything), folder),
            ),
            "report": (
                lambda: outputs("evaluate"),
                lambda folder: report(at["evaluate"], folder),
            ),
        }

    def preference_plan(self) -> Plan:
        """One head on preferences: four stages."""
        config, at, settings, outputs = self.config, self._at, self._settings, self._outputs
        return {
            "ingest": self._ingest(),
            "train": (
                lambda: settings("data", "model", "train") | outputs("ingest") | {"weights": self.weights},
                lambda folder: train_preferences(config, self._model(), self.weights, at["ingest"], folder),
            ),
            "evaluate": (
                lambda: {"config": self._plain} | outputs("ingest", "train"),
                lambda folder: agreement(config, at["ingest"], at["train"], folder),
            ),
            "report": (
                lambda: outputs("evaluate"),
                lambda folder: report_agreement(at["evaluate"], folder),
            ),
        }

    def _ingest(self):
        config, rated = self.config, self.config.train.loss != "bradley_terry"
        return (
            lambda: self._settings("data") | {"sources": source_hashes(config.data, rated)},
            lambda folder: ingest(config.data, config.seed, folder, rated),
        )

    def _model(self) -> Path:
        return locate(self.config.model.path, offline=True)
