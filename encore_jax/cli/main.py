"""Multi-head safety reward models, and which of your rules you can trust.

encore quickstart                        ENCORE on shipped human ratings, with a report
encore reliability ratings.csv           your own ratings: which rules to trust, which weighting to use
encore COMMAND --help                    a command's example and flags
"""

from __future__ import annotations

import importlib.util
import itertools
import os
import runpy
import sys
from collections.abc import Sequence
from typing import NamedTuple

from encore_jax import __version__
from encore_jax.command_line import HELP, asks_for_help, did_you_mean, one_line_errors
from encore_jax.errors import InputError
from encore_jax.files import check_file_words

RUN = "encore_jax.cli.run"


class Command(NamedTuple):
    """A subcommand.

    Attributes:
      module: run as a program.
      does: in a line.
      words: the flags that leading words of the command line are values of, in their order.
      config: the shipped configuration that it runs, unless ``--config`` is given; "" for none.
      forms: how it is written, after its name; the first one names `words`. Empty where it needs nothing.
      needs: how many of `words` must be given.
      example: in README's words.
      means: what the words in capitals stand for.
    """

    module: str
    does: str
    words: tuple[str, ...] = ()
    config: str = ""
    forms: tuple[str, ...] = ()
    needs: int = 0
    example: str = ""
    means: tuple[tuple[str, str], ...] = ()


PAIRS = ("PAIRS", "comparisons: JSON Lines, Parquet, CSV or another format of docs/data.md; a path or an hf:// uri")
RULES = ("RULES", "a YAML file of your rules, or the name of a shipped pool (docs/rules.md)")
COMMANDS = {
    "quickstart": Command(RUN, "ENCORE on shipped human ratings, with a real 135M model", config="quickstart"),
    "reliability": Command(
        "encore_jax.cli.reliability",
        "which rules can be trusted",
        forms=("RATINGS", "RUN"),
        example="encore reliability ratings.csv --out=reliability.html",
    ),
    "rate": Command(
        RUN,
        "let a judge rate",
        ("--config.data.path",),
        "rate_server",
        forms=("PAIRS --config.judge.model=NAME",),
        needs=1,
        example="encore rate pairs.jsonl --config.judge.model=NAME --config.judge.pool=RULES "
        "--config.judge.server.urls=http://127.0.0.1:8000",
        means=(
            PAIRS,
            ("NAME", "what the judge is called on its server; --config.judge.kind asks other judges (docs/judges.md)"),
            ("RULES", "a YAML file of your rules, or a shipped pool's name; safety_10 if left out (docs/rules.md)"),
        ),
    ),
    "halo": Command(
        "encore_jax.cli.halo",
        "what several rules in one call do to ratings, of two rating runs",
        forms=("ISOLATED TOGETHER",),
        example="encore halo runs/isolated runs/together --reversed=runs/reversed",
    ),
    "fit": Command(
        RUN,
        "a reward model of your own rules",
        ("--config.data.path", "--config.data.ratings_path"),
        "encore_hh",
        forms=("PAIRS RATINGS", "RUN"),
        needs=1,
        example="encore fit pairs.jsonl rated.jsonl --config.data.pool=RULES --config.data.scale=1,5 "
        "--config.model.path=MODEL",
        means=(
            PAIRS,
            ("RATINGS", "rated responses; left out, the comparisons have ratings of their own"),
            ("RUN", "the work directory of `encore rate`, e.g. runs/rate_server, whose rules and ratings are taken"),
            ("RULES", f"{RULES[1]}; left out, the rules that the ratings name, of which higher is better"),
            ("MODEL", "a folder, hf://org/name or .gguf file; left out, SmolLM2-135M, from a wheel and not from a hub"),
        ),
    ),
    "evaluate": Command(
        RUN,
        "a model on a benchmark or your own pairs",
        ("--config.model", "--config.data"),
        "rewardbench",
        forms=("MODEL PAIRS",),
        needs=2,
        example="encore evaluate MODEL FILE --as=rewardbench",
        means=(
            ("MODEL", "the folder of a saved reward model, e.g. runs/encore_hh/compose, or of a checkpoint; or hf://"),
            ("PAIRS", "or FILE: labelled comparisons, or a benchmark's file in its own schema"),
        ),
    ),
    "score": Command(
        "encore_jax.cli.score",
        "scores a file, or takes the best of n",
        forms=("--model=MODEL --input=PAIRS --output=FILE.parquet",),
        example="encore score --model=runs/encore_hh/compose --input=pairs.jsonl --output=scores.parquet",
    ),
    "serve": Command(
        "encore_jax.serve",
        "serves a model over HTTP",
        forms=("--model=MODEL",),
        example="encore serve --model=runs/encore_hh/compose --port=8080",
    ),
    "export": Command(
        "encore_jax.cli.export",
        "a finished run as a model for transformers, TRL, vLLM and others",
        forms=("--workdir=RUN --out=FOLDER",),
        example="encore export --workdir=runs/encore_hh --out=exports/mine --folded",
    ),
    "ablate": Command(
        "encore_jax.cli.ablate",
        "the best tau and grid on a run's scores",
        ("--scores",),
        forms=("RUN",),
        needs=1,
        example="encore ablate runs/encore_hh",
        means=(("RUN", "the work directory of a run that has scored, or a file of scores or ratings"),),
    ),
    "theory": Command("encore_jax.cli.theory", "ENCORE's claims, each measured"),
    "sweep": Command(
        "encore_jax.cli.sweep",
        "one run for every cell of a grid, and one table",
        forms=("--config=NAME_OR_FILE --grid=GRID",),
    ),
    "select-pool": Command(
        "encore_jax.cli.select_pool",
        "a diverse rule pool out of many candidates",
        forms=("--candidates=RULES --ratings=RATINGS --out=FILE.yaml",),
    ),
    "judge-agreement": Command("encore_jax.cli.judge_agreement", "a judge beside people", forms=("--data=FOLDER",)),
    "run": Command(
        RUN, "any configuration", ("--config",), forms=("NAME_OR_FILE",), needs=1, example="encore run quickstart"
    ),
    "config": Command("encore_jax.cli.config", "every field of a configuration: encore config NAME_OR_FILE"),
    "doctor": Command("encore_jax.cli.doctor", "what this machine has, and what is missing"),
}
ELSEWHERE = ("--config", "--flagfile", "--from", "--config.data.source", "--aot")
"""Flags that say in another way what the leading words of a command would."""


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
        check_file_words(rest)
        for place, word in enumerate(itertools.takewhile(lambda word: not word.startswith("-"), rest), 1):
            if not word.strip():
                raise InputError(f"word {place} is empty", where=f"encore {name}", fix="name a file, or leave it out")
        command = COMMANDS[name]
        shown = {HELP: help_of(name)} if command.module == RUN and command.means else {}
        if not asks_for_help(rest):
            check_given(name, rest)
        rest = [_at_home(word) for word in expanded(command, rest)]
    spec = importlib.util.find_spec(command.module)
    sys.argv = [spec.origin, *rest]
    runpy.run_module(command.module, init_globals=shown, run_name="__main__", alter_sys=True)


def usage() -> str:
    """What ``encore --help`` prints."""
    width = max(map(len, COMMANDS))
    lines = [f"  {name:<{width}}  {command.does}{_written(name, ': ')}" for name, command in COMMANDS.items()]
    return "\n".join([(__doc__ or "").strip(), "", "commands:", *lines])


def _written(name: str, before: str = "") -> str:
    """How a command is written, in words; nothing for one that needs nothing."""
    forms = [f"encore {name} {form}" for form in COMMANDS[name].forms]
    return before + ", or ".join(forms) if forms else ""


def help_of(name: str) -> str:
    """What ``encore NAME --help`` prints before the flags.

    >>> print(help_of("ablate"))
    encore ablate: the best tau and grid on a run's scores
    <BLANKLINE>
        encore ablate RUN
    <BLANKLINE>
        encore ablate runs/encore_hh
    <BLANKLINE>
    RUN: the work directory of a run that has scored, or a file of scores or ratings
    """
    command = COMMANDS[name]
    forms = [f"    encore {name} {form}" for form in command.forms]
    lines = [f"encore {name}: {command.does}", "", *forms, "", f"    {command.example}", ""]
    lines += [f"{word}: {meaning}" for word, meaning in command.means]
    if command.config:
        lines += [
            "",
            f"It runs the configuration {command.config}: `encore config {command.config}` lists its fields, and "
            "--config.FIELD=VALUE changes one.",
            f"Results are in runs/{command.config}, or --workdir=FOLDER. If it is killed, the same command resumes.",
        ]
    return "\n".join(lines)


def check_given(name: str, words: Sequence[str]) -> None:
    """Refuses a command without what it is about.

    Raises:
      InputError: naming what is missing, and how the command is written.

    >>> check_given("evaluate", ["runs/mine/compose"])
    Traceback (most recent call last):
    encore_jax.errors.InputError: encore evaluate: PAIRS is missing. Fix: write encore evaluate MODEL PAIRS
    >>> check_given("fit", ["--config.data.path=pairs.jsonl"])
    """
    command = COMMANDS[name]
    flags = {word.partition("=")[0] for word in words if word.startswith("--")}
    leading = next((i for i, word in enumerate(words) if word.startswith("-")), len(words))
    if not command.forms or flags & set(ELSEWHERE):
        return
    names = command.forms[0].split()
    missing = [
        word
        for word, flag in list(zip(names, command.words, strict=False))[leading : command.needs]
        if not flags & {flag, f"--config.{flag[2:]}"}
    ]
    if not words and not missing:
        missing = ["what it is about"]
    if missing:
        is_ = "is" if len(missing) == 1 else "are"
        such = f", e.g. {command.example}" if command.example and not words else ""
        fix = f"write {_written(name)}{such}"
        raise InputError(f"{' and '.join(missing)} {is_} missing", where=f"encore {name}", fix=fix)


def expanded(command: Command, words: Sequence[str]) -> list[str]:
    """A subcommand's arguments as flags of its module.

    Raises:
      InputError: there are more leading words than it takes.

    >>> expanded(COMMANDS["run"], ["theory", "--dry-run"])
    ['--config=theory', '--dry-run']
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
    return before + rest


def _at_home(word: str) -> str:
    """With the home folder for a leading ``~``, which most shells leave in ``--flag=~/file``."""
    flag, equals, value = word.partition("=") if word.startswith("-") else ("", "", word)
    return flag + equals + (os.path.expanduser(value) if value == "~" or value.startswith("~/") else value)


if __name__ == "__main__":
    main()
