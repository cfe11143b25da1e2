"""``--config.FIELD=VALUE``: fields of a configuration, changed on the command line."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple, get_args, get_origin

from absl import flags
from ml_collections import config_flags

from encore_jax.cli.grid import check_fields
from encore_jax.cli.list_values import list_items, list_text, parse_list
from encore_jax.errors import InputError
from encore_jax.recipes.run_config import RunConfig
from encore_jax.settings import fields_of, types_of, words_of
from encore_jax.terminal_text import cut

_QUOTED = 200
"""Characters of a value that a message shows."""
_EXAMPLES = {int: "1;2", float: "0;1"}
"""Of lists that are empty unless somebody fills them."""
FLAG = re.compile(r"--?(no)?config\.([^=]+)(=.*)?", re.DOTALL)


class Words(NamedTuple):
    """A command line, taken apart.

    Attributes:
      config: values of ``--config``.
      overrides: arguments by field, as they were written.
      rest: everything else, without the program's name.
    """

    config: list[str]
    overrides: dict[str, list[str]]
    rest: list[str]


def split_arguments(arguments: Sequence[str], switches: Iterable[str] | None) -> Words:
    """Tells ``--config`` and its fields from other flags.

    Args:
      arguments: without the program's name.
      switches: fields that are true or false, and so need no value; None where it is not yet known which are.

    Raises:
      InputError: a value is missing.

    >>> split_arguments(["--config", "a.py", "--config.seed", "1", "--noconfig.x", "--until=rate"], ["x"])
    Words(config=['a.py'], overrides={'seed': ['--config.seed=1'], 'x': ['--noconfig.x']}, rest=['--until=rate'])
    """
    words, waiting = Words([], {}, []), list(arguments)
    while waiting:
        argument = waiting.pop(0)
        if argument == "--":
            words.rest.extend([argument, *waiting])
            break
        name, equals, value = argument.partition("=")
        if name in ("--config", "-config"):
            words.config.append(value if equals else _next(waiting, "--config", "give --config=FILE"))
        elif match := FLAG.fullmatch(argument):
            field = match[2]
            if not match[3] and not match[1] and switches is not None and field not in switches:
                value = _next(waiting, f"--config.{field}", f"give --config.{field}=VALUE")
                argument = f"--config.{field}={value}"
            words.overrides.setdefault(field, []).append(argument)
        else:
            words.rest.append(argument)
    return words


def _next(waiting: list[str], flag: str, fix: str) -> str:
    if not waiting or re.match(r"--?[A-Za-z]", waiting[0]):
        raise InputError("has no value", where=flag, fix=fix)
    return waiting.pop(0)


def switches_of(config: RunConfig) -> list[str]:
    """Fields that are true or false."""
    return [path for path, kind in types_of(config).items() if kind is bool]


def apply_overrides(config: RunConfig, overrides: Mapping[str, Sequence[str]]) -> RunConfig:
    """A copy of the configuration with some of its fields changed.

    Args:
      config: not locked yet.
      overrides: arguments by field: ``--config.FIELD=VALUE``, of a switch also ``--noconfig.FIELD``.

    Raises:
      InputError: it has no such field (with the nearest ones), or the value is not of the field's type.
    """
    check_fields(overrides, config, "--config.{}")
    kinds = types_of(config)
    for field, arguments in overrides.items():
        values, words = flags.FlagValues(), ["command", *arguments]
        try:
            if get_origin(kinds[field]) is tuple:
                _assign(config, field, parse_list(_list_text(arguments), kinds[field]))
                continue
            config_flags.DEFINE_config_dataclass("config", config, flag_values=values, sys_argv=words)
            values(words)
            config = values["config"].value
        except (flags.Error, AttributeError, TypeError, ValueError, SyntaxError, RecursionError, MemoryError):
            raise _refused(config, field, arguments) from None
    return config


def _assign(config: RunConfig, field: str, value: object) -> None:
    *groups, last = field.split(".")
    for group in groups:
        config = getattr(config, group)
    setattr(config, last, value)


def _list_text(arguments: Sequence[str]) -> str:
    """The items of a list whose flag was given once or more than once, as one text."""
    return list_text([item for argument in arguments for item in list_items(_text(argument))])


def _refused(config: RunConfig, field: str, arguments: Sequence[str]) -> InputError:
    kind, now = types_of(config)[field], fields_of(config)[field]
    given = ", ".join(argument.partition("=")[2] for argument in arguments)
    if get_origin(kind) is tuple:
        text = list_text([str(item) for item in now]) or _EXAMPLES.get(get_args(kind)[0], "")
        fix = f"e.g. --config.{field}={shlex.quote(cut(text, _QUOTED))}" if text else "leave it out"
    else:
        fix = f"e.g. --config.{field}={cut(str(now).lower() if kind is bool else str(now), _QUOTED)}"
    words = words_of(kind).replace("in brackets", "separated by commas or semicolons")
    return InputError(f"{cut(given, _QUOTED)!r} is not {words}", where=f"--config.{field}", fix=fix)


def override_texts(config: RunConfig, overrides: Mapping[str, Sequence[str]]) -> dict[str, str]:
    """What was written, by field, as one text: of a field given more than once the last, of a tuple all of them."""
    texts = {}
    for field, arguments in overrides.items():
        is_list = get_origin(types_of(config)[field]) is tuple and len(arguments) > 1
        texts[field] = _list_text(arguments) if is_list else _text(arguments[-1])
    return texts


def _text(argument: str) -> str:
    """The value of one argument; a switch without one is true, and false after "no"."""
    _, equals, value = argument.partition("=")
    return value if equals else str(not argument.lstrip("-").startswith("no")).lower()
