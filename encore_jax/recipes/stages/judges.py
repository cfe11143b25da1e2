"""The judge that a rating run asks: `encore_jax.judge.judges` with its settings."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp

from encore_jax.data.comparison import RatedResponse
from encore_jax.data.sources import check_local
from encore_jax.judge import judges, named_request
from encore_jax.judge.devices.followers import load_everywhere
from encore_jax.judge.devices.load_local import load_local_judge
from encore_jax.judge.devices.local import LocalJudge
from encore_jax.judge.devices.local_calls import LocalCallJudge
from encore_jax.judge.prompts import Wording
from encore_jax.judge.question import Judge
from encore_jax.judge.request import RequestFormat
from encore_jax.judge.table import TableJudge
from encore_jax.parallel.mesh import MeshSettings
from encore_jax.recipes.config import DataConfig, ModelConfig
from encore_jax.recipes.outside import ModelFiles, Outside, Probe
from encore_jax.recipes.rating_config import JudgeConfig, RatingConfig
from encore_jax.recipes.reward_model_files import RewardModelFiles
from encore_jax.recipes.sources import rule_pool
from encore_jax.reward.reward_model import RewardModel
from encore_jax.rules import RulePool
from encore_jax.settings import results_depend_on


class Rules(Outside):
    """The rules that a judge is asked about.

    Args:
      name: a shipped pool's name or a YAML file; "" takes the data's.
      data: settings of what is rated.
    """

    reads = ("judge.pool", "pool")

    def __init__(self, name: str, data: DataConfig):
        self._read = functools.partial(rule_pool, DataConfig(pool=name) if name else data)

    @property
    def pool(self) -> RulePool:
        """Read now."""
        return self._read()

    def key(self) -> str:
        return self.pool.digest

    def check_there(self) -> None:
        _ = self.pool


class RunJudge:
    """Who answers in a run: how it is asked, and the files of its model.

    Args:
      judge: how it is asked.
      model: of kind "local" the backbone; of kind "model" its path is the reward model's folder.
      mesh: of kinds "local" and "model", how devices share the model.
      table: of kind "table", what the table is called.
      label: of kind "table", what its ratings are called.
      offline: fetch nothing.
      fetch_backbone: of kind "model", fetch the backbone that the model's own files name, wherever it is.

    Of kind "model", the over-refusal probe is put to the model, too.
    """

    reads = ModelFiles.reads

    def __init__(
        self,
        judge: JudgeConfig,
        model: ModelConfig,
        mesh: MeshSettings,
        *,
        table: str = "",
        label: str = "human-rated",
        offline: bool = False,
        fetch_backbone: bool = False,
    ):
        self.judge, self.model, self.mesh = judge, model, mesh
        self.table, self.label = table, label
        self.offline, self.fetch_backbone = offline, fetch_backbone

    @property
    def reward_model(self) -> RewardModelFiles:
        """Of kind "model": the reward model's files."""
        return RewardModelFiles(self.model.path, offline=self.offline, fetch=self.fetch_backbone)

    def check_there(self) -> None:
        """Raises InputError where the model is to lie on this machine and does not."""
        if self.judge.kind in ("local", "model"):
            check_local(self.model.path)

    def key(self) -> dict[str, Any]:
        """What answers depend on."""
        found = {"settings": results_depend_on(self.judge)}
        if self.judge.kind == "local":
            found["model"] = ModelFiles(self.model, self.offline).key()
        if self.judge.kind == "model":
            found |= {"model": self.reward_model.key(), "probe": Probe().key()}
        return found | ({"table": self.table, "label": self.label} if self.judge.kind == "table" else {})


def judge_of(config: RatingConfig) -> RunJudge:
    """The judge that a rating run's configuration names."""
    data = config.data
    options = {"table": data.ratings_path or data.source, "offline": data.offline}
    return RunJudge(config.judge, config.model, config.mesh, fetch_backbone=config.fetch_backbone, **options)


def make_judge(asked: RunJudge, pool: RulePool, rated: Sequence[RatedResponse]) -> Judge | None:
    """A judge whose `answers` can be drawn at once; None for one that is asked by batch files.

    Args:
      asked: who answers.
      pool, rated: of kind "table" its ratings, and the rules that they were read with.
    """
    kind = asked.judge.kind
    if kind == "server":
        return judges.server_judge(asking(asked), asked.judge.server)
    if kind == "local":
        if jax.process_count() > 1:
            return load_everywhere(functools.partial(local_judge, asked))
        return local_judge(asked)
    if kind == "model":
        return judges.model(reward_model(asked), Path(asked.model.path).name)
    return TableJudge(rated, pool, asked.table, asked.label) if kind == "table" else None


def asking(asked: RunJudge) -> RequestFormat:
    """How a server or a batch file is asked."""
    judge = asked.judge
    return named_request.request_by_name(
        judge.model,
        prompt=judge.prompt,
        system_role=judge.system_role,
        api=judge.api,
        tokenizer=judge.tokenizer,
        top=judge.top,
        extra=judge.extra_fields(),
        revision=judge.revision,
        most_other=judge.most_other,
        offline=asked.offline,
        rules_per_call=judge.call_size,
        structured=judge.structured,
    )


def wording_of(asked: RunJudge) -> Wording:
    """The prompt, of ratings or of verdicts."""
    judge = asked.judge
    return named_request.wording(judge.prompt, system_role=judge.system_role, rules_per_call=judge.call_size)


def token_counter_of(asked: RunJudge) -> Callable[[str], int] | None:
    """Counts a text's tokens by the configured tokenizer, of judge "local" the model's; None without one."""
    uri = asked.model.path if asked.judge.kind == "local" else asked.judge.tokenizer
    return named_request.token_counter(uri, offline=asked.offline)


def local_judge(asked: RunJudge) -> LocalJudge | LocalCallJudge:
    """A model on this machine's devices, over all of them; every process has to load it at the same time."""
    model = asked.model
    return load_local_judge(
        model.path,
        wording_of(asked),
        mesh=asked.mesh,
        dtype=jnp.dtype(model.dtype),
        offline=asked.offline,
        buckets=model.buckets,
        tokens_per_step=model.tokens_per_batch,
        most_other=asked.judge.most_other,
        rules_per_call=asked.judge.call_size,
    )


def reward_model(asked: RunJudge) -> RewardModel:
    """The reward model that a judge of kind "model" is."""
    options = {"offline": asked.offline, "fetch_backbone": asked.fetch_backbone, "mesh": asked.mesh}
    return RewardModel.from_pretrained(asked.model.path, **options)
