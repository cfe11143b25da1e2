"""The judge that a rating run asks for."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp

from encore_jax.data import locate
from encore_jax.data.comparison import Message, RatedResponse
from encore_jax.errors import InputError
from encore_jax.judge.asking import Asking, Render, ask_with
from encore_jax.judge.followers import load_everywhere
from encore_jax.judge.local import LocalJudge
from encore_jax.judge.model import ModelJudge
from encore_jax.judge.pair_prompts import PAIR_PROMPTS
from encore_jax.judge.prompts import Wording, find_prompt
from encore_jax.judge.question import Judge, Question
from encore_jax.judge.table import TableJudge
from encore_jax.parallel.mesh import MeshSettings
from encore_jax.recipes.config import DataConfig, ModelConfig
from encore_jax.recipes.local_judge import load_local_judge
from encore_jax.recipes.outside import ModelFiles, Outside, Probe
from encore_jax.recipes.rating_config import JudgeConfig, RatingConfig
from encore_jax.recipes.reward_model_files import RewardModelFiles
from encore_jax.recipes.stages.records import rule_pool
from encore_jax.reward.reward_model import RewardModel
from encore_jax.rules import Rule, RulePool
from encore_jax.settings import results_depend_on
from encore_jax.text.chat_template import takes_system_role

OTHER = Rule("other", "~")
"""Shows what all questions about one conversation share."""


class Rules(Outside):
    """The rules that a judge is asked about.

    Args:
      name: a shipped pool's name or a YAML file; "" takes the data's.
      data: settings of what is rated.
    """

    def __init__(self, name: str, data: DataConfig):
        self._read = functools.partial(rule_pool, DataConfig(pool=name) if name else data)

    @property
    def pool(self) -> RulePool:
        """Read now."""
        return self._read()

    def key(self) -> str:
        return self.pool.digest


class RunJudge:
    """Who answers in a run: how it is asked, and the files of its model.

    Args:
      judge: how it is asked.
      model: of kind "local" the backbone; of kind "model" its path is the reward model's folder.
      mesh: of kind "local", how devices share the model.
      table: of kind "table", what the table is called.
      label: of kind "table", what its ratings are called.
      offline: fetch nothing.
      fetch_backbone: of kind "model", fetch the backbone that the model's own files name, wherever it is.

    Of kind "model", the over-refusal probe is put to the model, too.
    """

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
    if kind == "table":
        return TableJudge(rated, pool, asked.table, asked.label)
    makers = {"server": _server, "local": _local, "model": _model}
    return makers[kind](asked) if kind in makers else None


def asking(asked: RunJudge) -> Asking:
    """How a server or a batch file is asked."""
    judge, prompt = asked.judge, wording(asked)
    render = None
    if judge.api == "completions" and judge.tokenizer:
        render = _renderer(judge.tokenizer, asked.offline)
        if not takes_system_role(_tokenizer(judge.tokenizer, asked.offline)):
            prompt = prompt.in_user_turn()
    return ask_with(
        prompt,
        judge.model,
        api=judge.api,
        render=render,
        top=judge.top,
        extra=judge.extra_fields(),
        revision=judge.revision,
        most_other=judge.most_other,
    )


def wording(asked: RunJudge) -> Wording:
    """The prompt, of ratings or of verdicts."""
    name = asked.judge.prompt
    prompt = PAIR_PROMPTS[name] if name in PAIR_PROMPTS else find_prompt(name)
    return prompt if asked.judge.system_role else prompt.in_user_turn()


def shared_texts(asked: RunJudge, question: Any) -> tuple[str, str]:
    """What a question shows, and what another one about the same conversation would ("" if there is no such)."""
    prompt = wording(asked)
    whole = _text(prompt.ask(question))
    return whole, _text(prompt.ask(question._replace(rule=OTHER))) if isinstance(question, Question) else ""


def _text(messages: Sequence[Message]) -> str:
    return "\n".join(message.content for message in messages)


def token_counter(asked: RunJudge):
    """Counts a text's tokens by the configured tokenizer, of judge "local" the model's; None without one."""
    uri = asked.model.path if asked.judge.kind == "local" else asked.judge.tokenizer
    if not uri:
        return None
    tokenizer = _tokenizer(uri, asked.offline)
    return lambda text: len(tokenizer(text, add_special_tokens=False)["input_ids"])


def _server(asked: RunJudge) -> Judge:
    try:
        from encore_jax.judge.server import ServerJudge
    except ModuleNotFoundError as error:
        raise InputError(
            f"needs {error.name}", where="config.judge.kind server", fix="pip install -e '.[judge]'"
        ) from None
    return ServerJudge(asking(asked), asked.judge.server)


def _local(asked: RunJudge) -> Judge:
    if jax.process_count() > 1:
        return load_everywhere(functools.partial(local_judge, asked))
    return local_judge(asked)


def local_judge(asked: RunJudge) -> LocalJudge:
    """A model on this machine's devices, over all of them; every process has to load it at the same time."""
    model = asked.model
    return load_local_judge(
        model.path,
        wording(asked),
        mesh=asked.mesh,
        dtype=jnp.dtype(model.dtype),
        offline=asked.offline,
        buckets=model.buckets,
        tokens_per_step=model.tokens_per_batch,
        most_other=asked.judge.most_other,
    )


def _model(asked: RunJudge) -> Judge:
    return ModelJudge(reward_model(asked), Path(asked.model.path).name)


def reward_model(asked: RunJudge) -> RewardModel:
    """The reward model that a judge of kind "model" is."""
    options = {"offline": asked.offline, "fetch_backbone": asked.fetch_backbone}
    return RewardModel.from_pretrained(asked.model.path, **options)


def _renderer(uri: str, offline: bool) -> Render:
    from encore_jax.text.rendering import render

    def ids(messages: Sequence[Message]) -> list[int]:
        return render(_tokenizer(uri, offline), messages)

    return ids


@functools.lru_cache(maxsize=1)
def _tokenizer(uri: str, offline: bool):
    from encore_jax.text.tokenizer import load_tokenizer

    return load_tokenizer(locate(uri, offline=offline))
