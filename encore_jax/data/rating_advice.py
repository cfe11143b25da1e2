"""Finds by values which columns of a table to rename, where their names say nothing."""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path

from encore_jax.data.rating_cells import is_rating, parse_cell
from encore_jax.data.rating_columns import roles_by_name
from encore_jax.data.rule_choice import is_label, is_measure, is_never_rating
from encore_jax.data.text_tables import is_text_table
from encore_jax.errors import InputError

Table = Sequence[tuple[str, Mapping[str, object]]]
MOST_RULES = 50
"""Different texts of a column that may name rules."""
LONGEST_NAME = 60
"""Characters of a rule's name."""


def renames(table: Table, role: Mapping[str, str]) -> dict[str, str]:
    """What each column may have to be called: a rating a row, or texts of a table with a column for every rule.

    Args:
      table: ``(where, row)``.
      role: the columns that are known by their names, by role.

    >>> rows = [{"topic": rule, "ask": f"q{i}", "answer": f"a{i}", "mark": 4} for i in range(4) for rule in ("x", "y")]
    >>> renames([("", row) for row in rows], {"response": "answer"})
    {'mark': 'rating', 'topic': 'rule', 'ask': 'prompt'}
    """
    names = list(dict.fromkeys(name for _, row in table for name in row))
    free = [name for name in names if name not in role.values()]
    values = {name: [row.get(name) for _, row in table] for name in free}
    numbers = [name for name in free if _is_numeric(values[name])]
    texts = {name: {str(x) for x in values[name] if x not in (None, "")} for name in free if name not in numbers}
    numbers = [n for n in numbers if not (is_never_rating(n) or is_measure(n) or is_label(n))]
    found: dict[str, str] = {}
    rules = sorted((n for n, own in texts.items() if _names_rules(own, len(table))), key=lambda n: len(texts[n]))
    if "rating" in role and not numbers or len(numbers) == 1 and (rules or "rule" in role):
        found |= {name: "rating" for name in numbers}
        if "rule" not in role and rules:
            found[rules[0]] = "rule"
    rest = sorted((name for name in texts if name not in found), key=lambda name: len(texts[name]))[::-1]
    wanted = [name for name in ("response", "prompt") if name not in role]
    if len(rest) >= len(wanted):
        found |= dict(zip(rest, wanted, strict=False))
    return found


def _is_numeric(cells: Sequence[object]) -> bool:
    ratings = [parse_cell(cell) for cell in cells if is_rating(cell)]
    return any(ratings) and len(ratings) == len(cells)


def _names_rules(texts: set[str], rows: int) -> bool:
    """Whether these texts of a column may be rules: a few short ones, again and again."""
    return 2 <= len(texts) <= MOST_RULES and 2 * len(texts) <= rows and max(map(len, texts)) <= LONGEST_NAME


def rename_words(found: Mapping[str, str], where: object, header: Sequence[str]) -> str:
    """How to rename columns: in words, and of a CSV as a command.

    >>> rename_words({"mark": "rating"}, "t.csv", ["topic", "mark"])
    "rename 'mark' to 'rating': sed -i.bak '1s/mark/rating/' t.csv"
    >>> rename_words({"mark": "rating", "topic": "rule"}, "the list", ["topic", "mark"])
    "rename 'mark' to 'rating' and 'topic' to 'rule'"
    """
    words = " and ".join(f"{column!r} to {role!r}" for column, role in found.items())
    line = ",".join(header)
    plain = all(re.fullmatch(r"[\w ]+", column) and line.count(column) == 1 for column in found)
    if not plain or not is_text_table(str(where)) or Path(str(where)).suffix == ".gz":
        return f"rename {words}"
    edits = "; ".join(f"1s/{column}/{role}/" for column, role in found.items())
    return f"rename {words}: sed -i.bak '{edits}' {shlex.quote(str(where))}"


def check_not_long(table: Table, role: Mapping[str, str], rules: Sequence[str], where: object) -> None:
    """Raises InputError where a table that was read with a column for every rule seems to have a rating in every row.

    Then it has one rule alone, beside a column of a few short texts, and several rows about one response.
    """
    if len(rules) != 1:
        return
    keys = [(str(row.get(role.get("prompt", ""))), str(row.get(role.get("response", "")))) for _, row in table]
    if len(set(keys)) == len(keys):
        return
    names = list(dict.fromkeys(name for _, row in table for name in row))
    known = roles_by_name(names)
    found = renames(table, known)
    if found and {"rule", "rating"} <= {*known, *found.values()}:
        problem = f"has several rows about one response, and ratings in column {rules[0]!r} alone"
        fix = f"if every row is one rating, {rename_words(found, where, names)}"
        raise InputError(problem, where=str(where), fix=fix)
