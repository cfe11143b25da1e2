"""The judge that a rating run asks for."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp

from encore_jax.data import locate
from encore_jax.data.comparison import Message
from encore_jax.errors import InputError
from encore_jax.judge.asking import Asking, Render, ask_with
from encore_jax.judge.followers import load_everywhere
from encore_jax.judge.local import LocalJudge
from encore_jax.judge.model import ModelJudge
from encore_jax.judge.pair_prompts import PAIR_PROMPTS
from encore_jax.judge.prompts import Wording, find_prompt
from encore_jax.judge.question import Judge, Question
from encore_jax.judge.table import TableJudge
from encore_jax.recipes.config import DataConfig
from encore_jax.recipes.local_judge import load_local_judge
from encore_jax.recipes.rating_config import RatingConfig
from encore_jax.recipes.stages import ingest
from encore_jax.recipes.stages.records import rule_pool
from encore_jax.reward.reward_model import RewardModel
from encore_jax.rules import Rule, RulePool
from encore_jax.text.chat_template import takes_system_role

OTHER = Rule("other", "~")
"""Shows what all questions about one conversation share."""


def judging_pool(config: RatingConfig) -> RulePool:
    """The rules that are asked about."""
    return rule_pool(DataConfig(pool=config.judge.pool) if config.judge.pool else config.data)


def make_judge(config: RatingConfig, ingested: Path) -> Judge:
    """A judge whose `answers` can be drawn at once; `ingested` is the ingest stage's folder."""
    makers = {"server": _server, "local": _local, "model": _model, "table": _table}
    return makers[config.judge.kind](config, ingested)


def asking(config: RatingConfig) -> Asking:
    """How a server or a batch file is asked."""
    judge, prompt = config.judge, wording(config)
    render = None
    if judge.api == "completions" and judge.tokenizer:
        render = _renderer(judge.tokenizer, config.data.offline)
        if not takes_system_role(_tokenizer(judge.tokenizer, config.data.offline)):
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


def wording(config: RatingConfig) -> Wording:
    """The prompt, of ratings or of verdicts."""
    name = config.judge.prompt
    prompt = PAIR_PROMPTS[name] if name in PAIR_PROMPTS else find_prompt(name)
    return prompt if config.judge.system_role else prompt.in_user_turn()


def shared_texts(config: RatingConfig, question: Any) -> tuple[str, str]:
    """What a question shows, and what another one about the same conversation would ("" if there is no such)."""
    prompt = wording(config)
    whole = _text(prompt.ask(question))
    return whole, _text(prompt.ask(question._replace(rule=OTHER))) if isinstance(question, Question) else ""


def _text(messages: Sequence[Message]) -> str:
    return "\n".join(message.content for message in messages)


def token_counter(config: RatingConfig):
    """Counts a text's tokens by the configured tokenizer, of judge "local" the model's; None without one."""
    uri = config.model.path if config.judge.kind == "local" else config.judge.tokenizer
    if not uri:
        return None
    tokenizer = _tokenizer(uri, config.data.offline)
    return lambda text: len(tokenizer(text, add_special_tokens=False)["input_ids"])


def _server(config: RatingConfig, ingested: Path) -> Judge:
    try:
        from encore_jax.judge.server import ServerJudge
    except ModuleNotFoundError as error:
        raise InputError(
            f"needs {error.name}", where="config.judge.kind server", fix="pip install -e '.[judge]'"
        ) from None
    return ServerJudge(asking(config), config.judge.server)


def _local(config: RatingConfig, ingested: Path) -> Judge:
    if jax.process_count() > 1:
        return load_everywhere(functools.partial(local_judge, config))
    return local_judge(config)


def local_judge(config: RatingConfig) -> LocalJudge:
    """The model that config.model names, over all devices; every process has to load it at the same time."""
    model = config.model
    return load_local_judge(
        model.path,
        wording(config),
        mesh=config.mesh,
        dtype=jnp.dtype(model.dtype),
        offline=config.data.offline,
        buckets=model.buckets,
        tokens_per_step=model.tokens_per_batch,
        most_other=config.judge.most_other,
    )


def _model(config: RatingConfig, ingested: Path) -> Judge:
    return ModelJudge(reward_model(config), Path(config.model.path).name)


def reward_model(config: RatingConfig) -> RewardModel:
    """The reward model that a judge of kind "model" is."""
    options = {"offline": config.data.offline, "fetch_backbone": config.fetch_backbone}
    return RewardModel.from_pretrained(config.model.path, **options)


def _table(config: RatingConfig, ingested: Path) -> Judge:
    pool, rated, _ = ingest.load(ingested)
    return TableJudge(rated, pool, config.data.ratings_path or config.data.source)


def _renderer(uri: str, offline: bool) -> Render:
    from encore_jax.text.rendering import render

    def ids(messages: Sequence[Message]) -> list[int]:
        return render(_tokenizer(uri, offline), messages)

    return ids


@functools.lru_cache(maxsize=1)
def _tokenizer(uri: str, offline: bool):
    from encore_jax.text.tokenizer import load_tokenizer

    return load_tokenizer(locate(uri, offline=offline))
