"""What the configuration of every kind of run has, and what is done with any: checked, locked, written, read.

Annotations are not postponed here: ml_collections reads the field types themselves.
"""

import dataclasses
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from encore_jax.errors import InputError
from encore_jax.recipes.checks import ANY_TEMPERATURE, OUT_OF_RANGE, check_name, require
from encore_jax.settings import Settings, check_types, fields_of, types_of, words_of

RECIPES = "encore_jax.recipes"


@dataclasses.dataclass
class RunConfig(Settings):
    """What every kind of run has.

    Attributes:
      name: of the run; the default work directory is runs/NAME.
      seed: of everything random: splits, response order, simulated judges, random weightings, bootstrap.
    """

    name: str = "experiment"
    seed: int = 0

    @property
    def recipe(self) -> str:
        """The module that carries this kind of run out; see `encore_jax.recipes.run`."""
        raise NotImplementedError

    def check(self) -> None:
        """Raises InputError for a choice that cannot be; each kind of run has its own."""
        raise NotImplementedError


def validated(config: RunConfig) -> RunConfig:
    """Checks a configuration, then locks it.

    Raises:
      InputError: naming the field, what it holds and what it may be.
    """
    checked(config)
    return config.freeze()


def check_field_types(config: Settings, where: str = "config") -> None:
    """Raises InputError for a value that is not of its field's type, or that float32 does not hold."""
    check_types(config, where, any_size=ANY_TEMPERATURE)


def checked(config: RunConfig) -> RunConfig:
    """Checks a configuration, and leaves it open; see `validated`."""
    check_field_types(config)
    try:
        check_name("name", config.name)
        require("seed", config.seed >= 0, "is 0 or more")
        config.check()
    except InputError as error:
        raise _with_value(config, error) from None
    return config


def _with_value(config: RunConfig, error: InputError) -> InputError:
    """The same error, saying also what the field holds."""
    field = error.where.removeprefix("config.")
    values = fields_of(config)
    if error.problem != OUT_OF_RANGE or field not in values:
        return error
    problem = f"{values[field]!r} is out of range"
    if not isinstance(values[field], list | tuple):  # of which the fix says more
        problem += f"; it is {words_of(types_of(config)[field])}"
    return InputError(problem, where=error.where, fix=error.fix)


def to_dict(config: Settings) -> dict:
    """Plain values of a configuration, ready for JSON."""
    return json.loads(json.dumps(dataclasses.asdict(config)))


def from_dict(kind: type[Settings], values: Mapping[str, Any], where: str = "config") -> Any:
    """The inverse of `to_dict`; not checked, not locked.

    Args:
      kind: the configuration's class.
      values: plain values.
      where: what to call them in errors.

    Raises:
      InputError: values of another kind of configuration.
    """
    if not isinstance(values, Mapping):
        raise InputError(f"is no {kind.__name__}", where=where, fix="use its own kind")
    made = kind()
    unknown = values.keys() - {field.name for field in dataclasses.fields(kind)}
    if unknown:
        raise InputError(f"{kind.__name__} has no {', '.join(sorted(unknown))}", where=where, fix="use its own kind")
    for name, value in values.items():
        own = getattr(made, name)
        if isinstance(own, Settings):
            value = from_dict(type(own), value, f"{where}.{name}")
        setattr(made, name, tuple(value) if isinstance(own, tuple) and isinstance(value, list) else value)
    return made


def default_workdir(config: RunConfig) -> Path:
    """runs/NAME, below the current directory."""
    return Path("runs") / config.name
