"""What the commands with a configuration have in common: from the command line to a configuration, and its run."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from absl import flags, logging

from encore_jax.cli.config_file import find_config, load_config, shipped_files
from encore_jax.cli.overrides import apply_overrides, override_texts, split_arguments, switches_of
from encore_jax.command_line import asks_for_help, define_overwrite, parse_flags, start_logging
from encore_jax.errors import InputError
from encore_jax.recipes.run_config import RunConfig, check_field_types, default_workdir, validated
from encore_jax.settings import fields_of

CONFIG_HELP = "Python file with get_config(), or the name of a shipped one; --config.FIELD=VALUE changes its fields."


class Given(NamedTuple):
    """A command line with a configuration.

    Attributes:
      config: with its overrides; not checked and not locked yet.
      path: what ``--config`` said.
      overrides: the text of every override, by field.
    """

    config: RunConfig
    path: str
    overrides: dict[str, str]


def define_config(default: str | None = None) -> None:
    """Defines ``--config`` and the flags of every run."""
    flags.DEFINE_string("config", default, CONFIG_HELP)
    flags.DEFINE_string("workdir", None, "Where artefacts go; runs/NAME by default.")
    define_overwrite()


DRY_RUN = (
    "Refuse what the run would refuse at first: flags, data of this machine (which it reads), the work directory. "
    "Print its stages and where they go."
)


def read_command(argv: Sequence[str], *kinds: type[RunConfig], required: Sequence[str] = ()) -> Given:
    """Parses a command line: ``--config``, its fields, and absl's flags.

    Args:
      argv: program and arguments.
      kinds: of configurations that the command carries out; any if left out.
      required: flags that must be given.

    Raises:
      InputError: whatever is wrong, with what may have been meant.
    """
    try:
        arguments = flags.FLAGS.read_flags_from_files(list(argv[1:]), force_gnu=False)
    except flags.Error as error:
        raise InputError(str(error), where="--flagfile", fix="correct the path") from None
    words = split_arguments(arguments, None)
    for value in words.config[-1:]:
        flags.FLAGS["config"].value = value
    if asks_for_help(words.rest) or flags.FLAGS["config"].value is None:
        parse_flags([argv[0], *words.rest], required=["config", *required])
    path = flags.FLAGS["config"].value
    config = load_config(path, kinds or (RunConfig,))
    words = split_arguments(arguments, switches_of(config))
    parse_flags([argv[0], *words.rest], required, more=[f"config.{field}" for field in fields_of(config)])
    config = apply_overrides(config, words.overrides)
    check_field_types(config)  # before anybody looks at its groups
    return Given(config, path, override_texts(config, words.overrides))


def check_once(given: Given, flag: str, field: str) -> None:
    """Refuses a flag that is short for a field which is given as well: one of the two would have no effect.

    Raises:
      InputError: both are there.
    """
    if field in given.overrides:
        raise InputError(f"is given beside --config.{field}, which it is short for", where=flag, fix="give one of them")


def carry_out(config: RunConfig, given: Given) -> None:
    """Checks a configuration, as a command line and other flags have made it, and runs its stages."""
    start_logging()
    from encore_jax.recipes.run import run_experiment, stages_of

    config, more = validated(config), flags.FLAGS
    check_effects(config, given)
    folder = folder_of(config, more["workdir"].value)
    if more["dry_run"].value:
        print(stages_of(config, folder, rerun=more["rerun"].value, overwrite=more["overwrite"].value))
        return
    run_experiment(config, folder, rerun=more["rerun"].value, overwrite=more["overwrite"].value)


def check_effects(config: RunConfig, given: Given) -> None:
    """Refuses fields of the command line that have no effect; says which of the user's own file have none.

    Args:
      config: validated.
      given: the command line that it is from.

    Raises:
      InputError: naming the field, and the choice under which nothing reads it.
    """
    from encore_jax.cli.idle_settings import idle_in_file, refuse_idle, told_of

    refuse_idle(config, given.overrides)
    for line in told_of(config, given.overrides):
        logging.warning("%s", line)
    if find_config(given.path) not in shipped_files().values() and (told := idle_in_file(config)):
        logging.warning("%s: %s", given.path, told)


def folder_of(config: RunConfig, workdir: str | None) -> Path:
    """The work directory.

    Raises:
      InputError: ``--workdir`` is empty.
    """
    if workdir == "":
        raise InputError("is empty", where="--workdir", fix="leave it out, or name a folder")
    return default_workdir(config) if workdir is None else Path(workdir)
