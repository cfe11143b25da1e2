"""Lists every field of a configuration: its value, its type, and what it is.

    encore config quickstart

NAME_OR_FILE is a shipped configuration's name or a Python file with get_config(); left out, all names are listed.
Change a field of a run by --config.FIELD=VALUE.
"""

from __future__ import annotations

import argparse
import ast
import dataclasses
import re
from collections.abc import Iterator

from encore_jax.cli.config_file import find_config, load_config, shipped_files
from encore_jax.command_line import Parser, run_command
from encore_jax.settings import Settings, words_of
from encore_jax.terminal_text import escaped


def main(given: argparse.Namespace) -> None:
    """Prints the fields, or the names.

    Raises:
      InputError: there is no such configuration.
    """
    if not given.name:
        for name, path in sorted(shipped_files().items()):
            print(f"{name:<26}{_title(path)}")
        return
    config = load_config(given.name)
    print(f"{find_config(given.name)}: {type(config).__name__}")
    print("\n".join(lines_of(config)))


def lines_of(settings: Settings, prefix: str = "") -> Iterator[str]:
    """A line for every field: name, value, type, meaning; groups are followed by their own fields."""
    meanings = meanings_of(type(settings))
    for field in dataclasses.fields(settings):
        value, path = getattr(settings, field.name), prefix + field.name
        if isinstance(value, Settings):
            yield from lines_of(value, path + ".")
        else:
            meaning = meanings.get(field.name, "")
            yield escaped(f"{path} = {value!r}  ({words_of(field.type)}){': ' if meaning else ''}{meaning}")


def meanings_of(kind: type) -> dict[str, str]:
    """What a settings class says of its fields, in the part "Attributes" of its docstring and its bases'.

    >>> from encore_jax.recipes.config import ExperimentConfig
    >>> meanings_of(ExperimentConfig)["name"]
    'of the run; the default work directory is runs/NAME.'
    """
    found: dict[str, str] = {}
    for base in kind.__mro__:
        _, _, section = (base.__doc__ or "").partition("Attributes:")
        text = re.sub(r"[ \t]*\n[ \t]*\n.*", "", section, flags=re.DOTALL)
        for names, meaning in re.findall(r"^ +([a-z_][\w, ]*): (.*(?:\n(?! *[a-z_][\w, ]*: ).*)*)", text, re.MULTILINE):
            for name in names.split(", "):
                found.setdefault(name, " ".join(meaning.split()))
    return found


def _title(path) -> str:
    said = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""
    return said.partition("\n")[0]


def parse() -> argparse.Namespace:
    """The command line."""
    parser = Parser(prog="encore config", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("name", nargs="?", default="", help="a shipped configuration's name, or a file")
    return parser.parse_args()


if __name__ == "__main__":
    run_command(parse, main, logs=False)
