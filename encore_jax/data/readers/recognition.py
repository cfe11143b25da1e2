"""Which format a file has, by the names and the kinds of values of its first rows.

Every published variant of a format has a signature: fields with the kind of value that each must hold. Where none
matches, the error says of those that nearly match what is missing.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from pathlib import Path

from encore_jax.data.memory_rows import MemoryRows, row_source
from encore_jax.data.rows import named, read_rows
from encore_jax.errors import InputError

ROWS = 10
"""Rows that are looked at, until one is recognised."""
_EMPTY = "check that it was written to the end"

_KINDS = {
    "text": lambda value: isinstance(value, str),
    "a number": lambda value: isinstance(value, int | float) and not isinstance(value, bool),
    "a list": lambda value: isinstance(value, list),
    "a list of texts": lambda value: _is_list_of(value, str),
    "a list of 3 texts": lambda value: _is_list_of(value, str) and len(value) == 3,
    "messages": lambda value: isinstance(value, Mapping) or _is_list_of(value, Mapping),
    "text or messages": lambda value: isinstance(value, str | Mapping) or _is_list_of(value, Mapping),
    "a dialogue": lambda value: isinstance(value, str) and value.lstrip().startswith("Human:"),
    "an object": lambda value: isinstance(value, Mapping),
    "anything": lambda value: True,
}

_CHOICE = {"prompt": "anything", "chosen": "a list of texts", "rejected": "a list of texts"}
SIGNATURES: tuple[tuple[str, Mapping[str, str]], ...] = (
    ("encore", {"prompt": "anything", "responses": "a list"}),
    ("pku_saferlhf", {"prompt": "text", "response_0": "text", "response_1": "text",
                      "safer_response_id or better_response_id": "a number"}),
    ("helpsteer_pairs", {"prompt": "text", "response_1": "text", "response_2": "text",
                         "preference_strength": "a number"}),
    ("helpsteer_pairs", {"context": "text or messages", "response1": "text", "response2": "text",
                         "overall_preference": "a number"}),
    ("arena", {"conversation_a": "anything", "conversation_b": "anything", "winner": "text"}),
    ("rewardbench2", _CHOICE | {"num_correct": "a number"}),
    ("rm_bench", {"prompt": "text", "chosen": "a list of 3 texts", "rejected": "a list of 3 texts",
                  "domain or subset": "text"}),
    ("rewardbench2", _CHOICE | {"subset": "text"}),
    ("rewardbench", {"prompt": "anything", "chosen": "text", "rejected": "text", "subset": "text",
                     "chosen_model or rejected_model": "anything"}),
    ("hh_rlhf", {"prompt": "a dialogue", "chosen": "text", "rejected": "text"}),
    ("hh_rlhf", {"chosen": "a dialogue", "rejected": "a dialogue"}),
    ("pairs", {"prompt": "anything", "chosen": "text", "rejected": "text"}),
    ("pairs", {"chosen": "messages", "rejected": "messages"}),
)  # fmt: skip
"""Formats of comparisons with the signatures of their variants; the first one that matches counts."""

RATED = (
    ("encore", {"prompt": "anything", "response": "text", "ratings": "anything"}),
    ("ultrafeedback", {"instruction": "text", "completions": "a list"}),
    ("openai_rbr", {"prompt": "anything", "completion": "messages", "propositions": "an object"}),
    ("helpsteer2", {"prompt": "anything", "response": "text"}),
)
"""Formats of single rated responses, which are no comparisons."""


def recognise(path: str | Path | object) -> str:
    """The format of comparisons that the first rows of a file have: a key of `encore_jax.data.FORMATS`.

    Args:
      path: the file, or rows in memory as `encore_jax.data.read_comparisons` takes them.

    Raises:
      InputError: they have none; says what the formats that nearly match lack.
    """
    first, path = None, row_source(path)
    for _, row in itertools.islice(read_rows(path), ROWS):
        first = row if first is None else first
        for format, signature in SIGNATURES:
            if not lacks(row, signature):
                return format
    if first is None:
        what, fix = ("there are", "pass some") if isinstance(path, MemoryRows) else ("the file has", _EMPTY)
        raise InputError(f"{what} no rows", where=str(path), fix=fix)
    for format, signature in RATED:
        if not lacks(first, signature):
            raise _single(path, format)
    near = [f"{format} lacks {', '.join(problems)}" for format, problems in near_misses(first)]
    raise InputError(
        f"no format has these columns: {named(first)}" + (f"; {'; '.join(near)}" if near else ""),
        where=str(path),
        fix=f"rename the columns, or name one of {', '.join(dict.fromkeys(format for format, _ in SIGNATURES))}",
    )


def lacks(row: Mapping, signature: Mapping[str, str]) -> list[str]:
    """What a row lacks of a signature, in words.

    >>> lacks({"chosen": "a"}, {"chosen": "messages", "rejected": "messages"})
    ["'chosen' is text, not messages", "'rejected'"]
    """
    problems = []
    for field, kind in signature.items():
        names = [name for name in field.split(" or ") if name in row]
        if not names:
            problems.append(" or ".join(f"'{name}'" for name in field.split(" or ")))
        elif not any(_KINDS[kind](row[name]) for name in names):
            problems.append(f"'{names[0]}' is {_said(row[names[0]])}, not {kind}")
    return problems


def near_misses(row: Mapping) -> list[tuple[str, list[str]]]:
    """Formats that a row has at least two fields of, and what it lacks; the nearest three."""
    found: dict[str, list[str]] = {}
    for format, signature in SIGNATURES:
        problems = lacks(row, signature)
        if len(signature) - len(problems) >= 1 and len(problems) <= 2:
            found[format] = min(found.get(format, problems), problems, key=len)
    return sorted(found.items(), key=lambda item: len(item[1]))[:3]


def _single(path: Path | MemoryRows, format: str) -> InputError:
    path = "FILE" if (in_memory := isinstance(path, MemoryRows)) else path
    prepare = f"python -m encore_jax.data.rated_comparisons --config={format} --path={path} --data_dir=DIR"
    fixes = {
        "ultrafeedback": f"{prepare} makes comparisons of them",
        "helpsteer2": "in a run, give it as --config.data.ratings_path, with a column for every rule of the pool; or "
        f"{prepare} makes comparisons of them",
    }
    return InputError(
        f"no comparisons but single rated responses, as {format} has them",
        where="" if in_memory else str(path),
        fix=fixes.get(format, "in a run, give it as --config.data.ratings_path"),
    )


def _is_list_of(value: object, kind: type) -> bool:
    return isinstance(value, list) and bool(value) and all(isinstance(item, kind) for item in value)


def _said(value: object) -> str:
    if value is None:
        return "null"
    if isinstance(value, list) and value:
        return f"a list of {len(value)} {'texts' if _is_list_of(value, str) else type(value[0]).__name__}"
    return {str: "text", list: "an empty list", dict: "an object"}.get(type(value), type(value).__name__)
