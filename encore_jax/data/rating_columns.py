"""Which column of a table of ratings is what: the prompt, responses, rules, labels.

prompt, response, rule, rating                       long: a row for every rating
prompt, response, RULE, RULE, ...                    wide: a column for every rule
prompt, response_a, response_b, RULE_a, RULE_b, ...  pairs: a column for every rule and response
prompt, chosen, rejected, RULE_chosen, RULE_rejected, ...
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from encore_jax.data.rows import named
from encore_jax.data.rule_choice import is_measure, is_never_rating
from encore_jax.data.rule_names import rule_of
from encore_jax.data.side_names import response_side, rule_and_side
from encore_jax.errors import InputError

ROLES: Mapping[str, tuple[str, ...]] = {
    "prompt": ("prompt", "question", "instruction"),
    "response": ("response", "answer", "completion"),
    "rule": ("rule", "criterion", "attribute"),
    "rating": ("rating", "score", "grade"),
    "preferred": ("preferred", "preference"),
    "quality": ("quality",),
    "id": ("id",),
    "subset": ("subset",),
}
"""What columns may be called, in upper or lower case."""
ALSO: Mapping[str, tuple[str, ...]] = {
    "prompt": ("input", "query", "user_prompt"),
    "response": ("output", "reply", "model_response"),
    "rule": ("dimension", "aspect", "criteria", "metric", "principle"),
    "rating": ("mark", "points", "value"),
}
"""The same where no column has a name of `ROLES`; "rule" and "rating" only where no other column may be a rule's."""
TEXTS = frozenset(
    "index row length tokens words date time timestamp seed annotator rater judge model system user split source turn "
    "category topic domain task type language lang dataset name title when day".split()
)
"""Columns whose texts nobody means as ratings."""
REMARKS = frozenset("comment comments note notes remark remarks explanation reason reasons rationale feedback".split())
"""The same, and last words of the names of such columns."""
FORMS = "prompt, response, rule, rating; or prompt, response and a column for every rule; or prompt, response_a, "
FORMS += "response_b and columns RULE_a, RULE_b"


class Columns(NamedTuple):
    """What the columns of a table are.

    Attributes:
      role: the column of every role of `ROLES` that there is one for.
      sides: the column of every response, by "a" and "b" or "chosen" and "rejected"; empty if a row has one response.
      other: columns of neither kind.
    """

    role: dict[str, str]
    sides: dict[str, str]
    other: tuple[str, ...]

    @property
    def is_long(self) -> bool:
        """Whether every row is one rating."""
        return {"rule", "rating"} <= self.role.keys() and not self.sides


def columns_of(columns: Sequence[str], where: str | Path, rules: Sequence[str] = ()) -> Columns:
    """What the columns are; one that is called like a rule is that rule's.

    Raises:
      InputError: there is no prompt or no response, or two columns may be it.

    >>> found = columns_of(["Prompt", "Response_A", "Response_B", "kind_A", "kind_B"], "t.csv")
    >>> found.role, found.sides, found.other
    ({'prompt': 'Prompt'}, {'a': 'Response_A', 'b': 'Response_B'}, ('kind_A', 'kind_B'))
    """
    free = [column for column in columns if rule_of(column, rules) is None]
    role = _roles(free, where, ROLES)
    role |= {name: column for name, column in _also(free, where).items() if name not in role}
    sides = {} if "response" in role else sides_of(free, where)
    if "prompt" not in role or not ("response" in role or sides):
        row_a_rating = {"rule", "rating"} & role.keys()
        meant = near_roles(columns, ("prompt", "response", *(("rule", "rating") if row_a_rating else ())))
        fix = f"{meant and f'rename {meant}, or '}name them {FORMS}"
        raise InputError(f"has the columns {named(columns)}", where=str(where), fix=fix)
    long = {"rule", "rating"} <= role.keys() and not sides
    role = {name: column for name, column in role.items() if long or name not in ("rule", "rating")}
    taken = {*role.values(), *sides.values()}
    return Columns(role, sides, tuple(column for column in columns if column not in taken))


def near_roles(columns: Sequence[str], roles: Sequence[str] = ("prompt", "response", "rule", "rating")) -> str:
    """Columns whose names are nearly those of a table of ratings, and what may be meant; "" if there are none.

    >>> near_roles(["promt", "response", "kind"])
    "'promt' to 'prompt'"
    """
    missing = [role for role in roles if not any(column.strip().lower() in ROLES[role] for column in columns)]
    taken = {name for names in ROLES.values() for name in names}
    found = []
    for column in columns:
        name = column.strip().lower()
        for role in difflib.get_close_matches(name, missing if name not in taken else (), 1, 0.75):
            found.append(f"{column!r} to {role!r}")
    return ", ".join(found)


def roles_by_name(columns: Sequence[str], rules: Sequence[str] = ()) -> dict[str, str]:
    """The columns whose names say what they are, though some are missing or two may be the same; {} if so."""
    free = [column for column in columns if rule_of(column, rules) is None]
    try:
        sides = sides_of(free)
        response = {"response": next(iter(sides.values()))} if sides else {}
        return {**_roles(free, "", ALSO), **_roles(free, "", ROLES), **response, **sides}
    except InputError:
        return {}


def _also(columns: Sequence[str], where: str | Path) -> dict[str, str]:
    """The columns of other names; of rules and ratings only where the others may be no rule's."""
    every = {role: (*names, *ALSO.get(role, ())) for role, names in ROLES.items()}
    known = {name for names in every.values() for name in names} | TEXTS
    others = [c for c in columns if c.strip().lower() not in known and not is_never_rating(c) and not is_measure(c)]
    return _roles(columns, where, {role: ALSO[role] for role in ALSO if not others or role in ("prompt", "response")})


def _roles(columns: Sequence[str], where: str | Path, known: Mapping[str, tuple[str, ...]]) -> dict[str, str]:
    """The column of every role that there is one for."""
    found: dict[str, str] = {}
    for role, names in known.items():
        matches = [column for name in names for column in columns if column.strip().lower() == name]
        if len(matches) > 1 and role in ("prompt", "response"):
            problem = f"columns {matches[0]!r} and {matches[1]!r} may both be the {role}"
            raise InputError(problem, where=str(where), fix="rename one")
        if matches:
            found[role] = matches[0]
    return found


def sides_of(columns: Sequence[str], where: str | Path = "") -> dict[str, str]:
    """The response column of every side, "a" and "b" of response_a and response_b; none if there are not two.

    Raises:
      InputError: two columns may be one response.
    """
    lowered = {column.strip().lower(): column for column in columns}
    if {"chosen", "rejected"} <= lowered.keys():
        return {side: lowered[side] for side in ("chosen", "rejected")}
    sides = {}
    for column in columns:
        if (side := response_side(column, ROLES["response"])) is not None:
            _add(sides, side, column, where, f"response {side!r}")
    return sides if len(sides) > 1 else {}


def _add(found: dict[str, str], side: str, column: str, where: str | Path, what: str) -> None:
    """Notes which column is of a side.

    Raises:
      InputError: there is one already.
    """
    if side in found:
        problem = f"columns {found[side]!r} and {column!r} may both be the {what}"
        raise InputError(problem, where=str(where), fix="rename one")
    found[side] = column


def rule_columns(found: Columns, where: str | Path, rules: Sequence[str] = ()) -> dict[str, tuple[str, ...]]:
    """Of every rule its column, or one for each response.

    Args:
      found: the columns.
      where: the file.
      rules: that there must be; every column that may be a rule's, if left out.

    Raises:
      InputError: a rule has no column.
    """
    columns, sides = found.other, found.sides
    if not sides:
        named_for = {column: rule_of(column, rules) if rules else column for column in columns}
        places = {rule: (column,) for column, rule in named_for.items() if rule is not None}
    else:
        by_rule: dict[str, dict[str, str]] = {}
        for column in columns:
            name, side = rule_and_side(column, sides) or ("", "")
            rule = rule_of(name, rules) if rules and name else name
            if rule:
                _add(by_rule.setdefault(rule, {}), side, column, where, f"ratings of {side!r} by {rule}")
        places = {r: tuple(own[side] for side in sides) for r, own in by_rule.items() if len(own) == len(sides)}
    missing = [name for name in rules if name not in places]
    if missing:
        kind = f"columns NAME_{' and NAME_'.join(sides)}" if sides else "column"
        problem = f"has no {kind} for {named(missing)}; it has {named(columns)}"
        raise InputError(
            problem,
            where=str(where),
            fix="name its columns as the rules, or give the pool it is of (--config.data.pool=RULES)",
        )
    return places
