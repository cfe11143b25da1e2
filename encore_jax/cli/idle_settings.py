"""Settings that have no effect under the others: whoever states one is told, and no run begins without what was asked.

A field is *idle* where another choice decides that nothing reads it: `train.lr` of heads in closed form, `judge.top` of
a judge that answers in text. Idle fields at their defaults are as they should be; stated ones are a mistake.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterable

from encore_jax.cli.idle_choices import choices
from encore_jax.errors import InputError
from encore_jax.recipes.run_config import RunConfig
from encore_jax.settings import Settings, fields_of

TOLD = ("model.buckets", "judge.pool")
"""Fields that are told of, not refused: train.length must be as long as the longest of the buckets, whoever reads them,
and one command line serves ratings and verdicts."""


def idle_fields(config: RunConfig) -> dict[str, str]:
    """The fields that have no effect under the others, and the choice that makes each so.

    Args:
      config: validated.

    >>> from encore_jax.recipes.config import ExperimentConfig
    >>> idle_fields(ExperimentConfig())["train.lr"]
    "train.method is 'ridge'"
    """
    found: dict[str, str] = {}
    fields = fields_of(config)
    for name, because in choices(config):
        for field in fields:
            if field == name or field.startswith(f"{name}."):
                found.setdefault(field, because)
    return found


def refuse_idle(config: RunConfig, stated: Iterable[str], where: str = "--config.{}") -> None:
    """Raises InputError for a field that somebody states and that has no effect.

    Args:
      config: validated.
      stated: dotted names of the fields that the user gave.
      where: what a message calls a field.
    """
    idle = idle_fields(config)
    for field in stated:
        if field in idle and field not in TOLD:
            raise InputError(f"has no effect where {idle[field]}", where=where.format(field), fix=_fix(idle[field]))


def _fix(because: str) -> str:
    choice = re.match(r"([a-z_.]+) is ", because)
    return f"leave it out, or change {choice[1]}" if choice else "leave it out"


def told_of(config: RunConfig, stated: Iterable[str]) -> list[str]:
    """One line on each field that somebody states, that has no effect, and that is not refused."""
    idle = idle_fields(config)
    return [
        f"--config.{field}: has no effect where {idle[field]}" for field in stated if field in idle and field in TOLD
    ]


def idle_in_file(config: RunConfig) -> str:
    """One line on the fields that differ from their defaults and have no effect; "" if there are none."""
    usual = _usual_fields(config)
    reasons: dict[str, list[str]] = {}
    for field, because in idle_fields(config).items():
        if fields_of(config)[field] != usual[field]:
            reasons.setdefault(because, []).append(field)
    told = "; ".join(f"{', '.join(fields)} (where {because})" for because, fields in reasons.items())
    return f"these fields are set and have no effect: {told}" if told else ""


def _usual_fields(config: RunConfig) -> dict[str, object]:
    """Every field's default; of a group that the file made itself (the judges of a panel) that group's."""
    usual = fields_of(type(config)())
    for field in dataclasses.fields(config):
        value = getattr(config, field.name)
        if isinstance(value, Settings):
            usual = fields_of(type(value)(), f"{field.name}.") | usual
    return usual
