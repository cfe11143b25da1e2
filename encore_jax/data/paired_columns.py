"""Columns of a table without texts that look like the ratings of two or more responses a row."""

from __future__ import annotations

import re
from collections.abc import Sequence

_LAST, _FIRST = re.compile(r"(?P<rule>.+)[ _.-](?P<side>[^ _.-]+)"), re.compile(r"(?P<side>[^ _.-]+)[ _.-](?P<rule>.+)")
_SIDE = re.compile(
    r"[a-z]|\w*\d+|left|right|first|second|third|chosen|rejected|winner|loser|better|worse|base|baseline|ours|theirs|"
    r"old|new|before|after|control|treatment|human|model|gpt|claude|llama|gemini|mistral|qwen",
    re.IGNORECASE,
)


def paired_line(rules: Sequence[str]) -> tuple[str, ...]:
    """What to know of columns that are each of a rule and a side, all sides of all rules; () if they are not.

    Args:
      rules: columns that are read as K rules of one response a row.

    >>> paired_line(["safe_1", "safe_2", "kind_1", "kind_2"])[0][:57]
    'The columns come in twos (safe_1 and safe_2, for example)'
    >>> paired_line(["code_style", "code_tests", "text_style", "text_tests"]), paired_line(["q_1", "q_2"])
    ((), ())
    """
    for form in (_LAST, _FIRST):
        parts = [form.fullmatch(rule.strip()) for rule in rules]
        if not parts or None in parts or not all(_SIDE.fullmatch(part["side"]) for part in parts):
            continue
        sides = list(dict.fromkeys(part["side"].lower() for part in parts))
        names = list(dict.fromkeys(part["rule"].lower() for part in parts))
        cells = {(part["rule"].lower(), part["side"].lower()) for part in parts}
        if min(len(sides), len(names)) > 1 and len(cells) == len(rules) == len(sides) * len(names):
            first = [rule for rule, part in zip(rules, parts, strict=True) if part["rule"].lower() == names[0]]
            name = next(part["rule"] for part in parts)
            return (_line(first, name, len(rules)),)
    return ()


def _line(first: Sequence[str], name: str, count: int) -> str:
    """Args:
    first: the columns of the first rule.
    name: of that rule.
    count: of all columns.
    """
    several = len(first)
    many = {2: "twos", 3: "threes", 4: "fours"}.get(several, f"groups of {several}")
    shown = " and ".join(first) if several < 4 else f"{first[0]} to {first[-1]}"
    if several == 2:
        fix = f"name these columns {name}_a and {name}_b, and the others likewise"
    else:
        fix = "write a row for every response, with columns prompt and response"
    return (
        f"The columns come in {many} ({shown}, for example), and are read as {count} rules of one response a row. If "
        f"they are ratings of {several} responses, {fix}."
    )
