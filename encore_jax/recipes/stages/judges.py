"""The judge that a rating run's configuration asks for: `encore_jax.judge.judges` with its settings."""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path

import jax
import jax.numpy as jnp

from encore_jax.judge import judges, request
from encore_jax.judge.followers import load_everywhere
from encore_jax.judge.load_local import load_local_judge
from encore_jax.judge.local import LocalJudge
from encore_jax.judge.prompts import Wording
from encore_jax.judge.question import Judge
from encore_jax.judge.request import RequestFormat
from encore_jax.judge.table import TableJudge
from encore_jax.recipes.config import DataConfig
from encore_jax.recipes.rating_config import RatingConfig
from encore_jax.recipes.stages import ingest
from encore_jax.recipes.stages.records import rule_pool
from encore_jax.reward.reward_model import RewardModel
from encore_jax.rules import RulePool


def judging_pool(config: RatingConfig) -> RulePool:
    """The rules that are asked about."""
    return rule_pool(DataConfig(pool=config.judge.pool) if config.judge.pool else config.data)


def make_judge(config: RatingConfig, ingested: Path) -> Judge:
    """A judge whose `answers` can be drawn at once; `ingested` is the ingest stage's folder."""
    kind = config.judge.kind
    if kind == "server":
        return judges.server_judge(asking(config), config.judge.server)
    if kind == "local":
        if jax.process_count() > 1:
            return load_everywhere(functools.partial(local_judge, config))
        return local_judge(config)
    if kind == "model":
        return judges.model(reward_model(config), Path(config.model.path).name)
    pool, rated, _ = ingest.load(ingested)
    return TableJudge(rated, pool, config.data.ratings_path or config.data.source)


def asking(config: RatingConfig) -> RequestFormat:
    """How a server or a batch file is asked."""
    judge = config.judge
    return request.request_by_name(
        judge.model,
        prompt=judge.prompt,
        system_role=judge.system_role,
        api=judge.api,
        tokenizer=judge.tokenizer,
        top=judge.top,
        extra=judge.extra_fields(),
        revision=judge.revision,
        most_other=judge.most_other,
        offline=config.data.offline,
    )


def configured_wording(config: RatingConfig) -> Wording:
    """The prompt, of ratings or of verdicts."""
    return request.wording(config.judge.prompt, system_role=config.judge.system_role)


def token_counter_of(config: RatingConfig) -> Callable[[str], int] | None:
    """Counts a text's tokens by the configured tokenizer, of judge "local" the model's; None without one."""
    uri = config.model.path if config.judge.kind == "local" else config.judge.tokenizer
    return request.token_counter(uri, offline=config.data.offline)


def local_judge(config: RatingConfig) -> LocalJudge:
    """The model that config.model names, over all devices; every process has to load it at the same time."""
    model = config.model
    return load_local_judge(
        model.path,
        configured_wording(config),
        mesh=config.mesh,
        dtype=jnp.dtype(model.dtype),
        offline=config.data.offline,
        buckets=model.buckets,
        tokens_per_step=model.tokens_per_batch,
        most_other=config.judge.most_other,
    )


def reward_model(config: RatingConfig) -> RewardModel:
    """The reward model that a judge of kind "model" is."""
    options = {"offline": config.data.offline, "fetch_backbone": config.fetch_backbone}
    return RewardModel.from_pretrained(config.model.path, **options)
