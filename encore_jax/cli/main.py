"""Multi-head safety reward models, and which of your rules you can trust.

encore quickstart                        ENCORE on shipped human ratings, with a report
encore reliability ratings.csv           your own ratings: which rules to trust, which weighting to use
encore COMMAND --help                    a command's example and flags
"""

from __future__ import annotations

import importlib.util
import os
import runpy
import sys
from collections.abc import Sequence
from typing import NamedTuple

from encore_jax import __version__
from encore_jax.command_line import asks_for_help, did_you_mean, one_line_errors
from encore_jax.errors import InputError

RUN = "encore_jax.cli.run"


class Command(NamedTuple):
    """A subcommand.

    Attributes:
      module: run as a program.
      does: in a line.
      words: the flags that leading words of the command line are values of, in their order.
      config: the shipped configuration that it runs, unless ``--config`` is given; "" for none.
    """

    module: str
    does: str
    words: tuple[str, ...] = ()
    config: str = ""


COMMANDS = {
    "quickstart": Command(RUN, "ENCORE on shipped human ratings, with a real 135M model", config="quickstart"),
    "reliability": Command("encore_jax.cli.reliability", "which rules can be trusted: encore reliability RATINGS"),
    "rate": Command(RUN, "let a judge rate: encore rate PAIRS", ("--config.data.path",), "rate_server"),
    "fit": Command(
        RUN,
        "a reward model of your own rules: encore fit PAIRS RATINGS, or encore fit RUN (what `encore rate` made)",
        ("--config.data.path", "--config.data.ratings_path"),
        "encore_hh",
    ),
    "evaluate": Command(
        RUN,
        "a model on a benchmark or your own pairs: encore evaluate MODEL PAIRS",
        ("--config.model", "--config.data"),
        "rewardbench",
    ),
    "score": Command("encore_jax.cli.score", "scores a file, or takes the best of n"),
    "serve": Command("encore_jax.serve", "serves a model over HTTP"),
    "export": Command("encore_jax.cli.export", "a finished run as a model for transformers, TRL, vLLM and others"),
    "ablate": Command(
        "encore_jax.cli.ablate", "the best tau and grid on a run's scores: encore ablate RUN", ("--scores",)
    ),
    "theory": Command("encore_jax.cli.theory", "ENCORE's claims, each measured"),
    "sweep": Command("encore_jax.cli.sweep", "one run for every cell of a grid, and one table"),
    "select-pool": Command("encore_jax.cli.select_pool", "a diverse rule pool out of many candidates"),
    "judge-agreement": Command("encore_jax.cli.judge_agreement", "a judge beside people"),
    "run": Command(RUN, "any configuration: encore run NAME_OR_FILE", ("--config",)),
    "config": Command("encore_jax.cli.config", "every field of a configuration: encore config NAME_OR_FILE"),
    "doctor": Command("encore_jax.cli.doctor", "what this machine has, and what is missing"),
}
UNDERSCORED = (RUN, *(f"encore_jax.cli.{name}" for name in ("ablate", "theory", "sweep", "score")))
"""Commands whose flags have underscores; with dashes they mean the same."""


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs the subcommand that the first word names, as a program of its own."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    with one_line_errors():
        if not words or (words[0].startswith("-") and asks_for_help(words[:1])):
            print(usage())
            return
        if words[0] == "--version":
            print(f"encore_jax {__version__}")
            return
        name, *rest = words
        if name not in COMMANDS:
            problem = "there is no such flag" if name.startswith("-") else "there is no such command"
            raise InputError(problem, where=name, fix=did_you_mean(name, COMMANDS))
        command = COMMANDS[name]
        rest = expanded(command, rest)
    spec = importlib.util.find_spec(command.module)
    sys.argv = [spec.origin, *rest]
    runpy.run_module(command.module, run_name="__main__", alter_sys=True)


def usage() -> str:
    """What ``encore --help`` prints."""
    width = max(map(len, COMMANDS))
    lines = [f"  {name:<{width}}  {command.does}" for name, command in COMMANDS.items()]
    return "\n".join([(__doc__ or "").strip(), "", "commands:", *lines])


def expanded(command: Command, words: Sequence[str]) -> list[str]:
    """A subcommand's arguments as flags of its module.

    Raises:
      InputError: there are more leading words than it takes.

    >>> expanded(COMMANDS["run"], ["theory", "--dry-run"])
    ['--config=theory', '--dry_run']
    >>> expanded(COMMANDS["fit"], ["pairs.jsonl", "--config.seed=1"])
    ['--config=encore_hh', '--config.data.path=pairs.jsonl', '--config.seed=1']
    """
    leading = []
    for word in words:
        if word.startswith("-") or len(leading) == len(command.words):
            break
        leading.append(word)
    rest = list(words[len(leading) :])
    if command.module == RUN and rest and not rest[0].startswith("-"):
        fix = "write --config.FIELD=VALUE; see --help"
        raise InputError(f"unexpected arguments: {' '.join(rest)}", fix=fix)
    before = [f"{flag}={word}" for flag, word in zip(command.words, leading, strict=False)]
    if command.words[1:2] == ("--config.data.ratings_path",) and len(leading) == 1 and os.path.isdir(leading[0]):
        before = [f"--from={leading[0]}"]
    if command.config and not any(word.split("=")[0].lstrip("-") == "config" for word in rest):
        before = [f"--config={command.config}", *before]
    if command.module in UNDERSCORED:
        rest = [_underscored(word) for word in rest]
    return before + rest


def _underscored(word: str) -> str:
    name, equals, value = word.partition("=")
    if not name.startswith("--") or name == "--" or name.startswith("--config"):
        return word
    return "--" + name[2:].replace("-", "_") + equals + value


if __name__ == "__main__":
    main()
