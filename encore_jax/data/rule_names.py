"""Which columns of a table a user names as rules: all of them, or changes of those that would be chosen."""

from __future__ import annotations

import difflib
import re
import shlex
from collections.abc import Sequence
from typing import NamedTuple

from encore_jax.data.rows import named
from encore_jax.errors import InputError


class RuleNames(NamedTuple):
    """Which columns a user names as rules.

    Attributes:
      names: all rules; or changes of what would be chosen: ``+name`` takes a column in, ``-name`` leaves one out.
      flag: how they are named on this command line, e.g. ``--rules=``; "" in Python; None where only a pool can.
    """

    names: tuple[str, ...] = ()
    flag: str | None = ""

    @property
    def names_all(self) -> bool:
        """Whether all rules are named, and not changes."""
        return any(not name.startswith(("+", "-")) for name in self.names)

    @property
    def where(self) -> str:
        """What errors call it."""
        return (self.flag or "rules").rstrip("=")

    def typed(self, sign: str, columns: Sequence[str]) -> str:
        """What takes columns in ("+") or leaves them out ("-"), beside what is named already: for a shell or Python.

        >>> print(RuleNames((), "--rules=").typed("+", ["a b", "c,d"]), RuleNames().typed("-", ["year"]))
        '--rules=+a b,"+c,d"' rules=['-year']
        """
        names = [*self.names, *(sign + column for column in columns)]
        if self.flag is None:
            return "a pool that names the rules"
        if not self.flag:
            return f"rules={names!r}"
        special = set("\"'()[]{};,")
        quoted = [name if not special & set(name) else f"'{name}'" if '"' in name else f'"{name}"' for name in names]
        return shlex.quote(self.flag + ",".join(quoted))


AUTOMATIC = RuleNames()
"""Nobody names any."""
BY_POOL = RuleNames((), None)
"""Nobody does, and only a pool could."""


def asked_rules(columns: Sequence[str], asked: RuleNames) -> tuple[list[str], list[str], list[str]]:
    """Which columns are named: all rules, those to take in, those to leave out.

    Raises:
      InputError: there is no such column; or names stand beside changes.

    >>> asked_rules(["Kind tone", "year"], RuleNames(("kind_tone",)))
    (['Kind tone'], [], [])
    >>> asked_rules(["Kind tone", "year"], RuleNames(("+year", "-Kind tone")))
    ([], ['year'], ['Kind tone'])
    """
    exact = [name for name in asked.names if name in columns or not name.startswith(("+", "-"))]
    changes = [name for name in asked.names if name not in exact]
    if exact and changes:
        fix = "name all rules, or only changes: +NAME takes a column in, -NAME leaves one out"
        raise InputError(f"{exact[0]!r} is a name and {changes[0]!r} a change", where=asked.where, fix=fix)
    found = [_column(name, columns, asked) for name in exact]
    plus, minus = ([_column(name[1:], columns, asked) for name in changes if name[0] == sign] for sign in "+-")
    if both := set(plus) & set(minus):
        raise InputError(f"{min(both)!r} is taken in and left out", where=asked.where, fix="leave one of the two away")
    return list(dict.fromkeys(found)), plus, minus


def rule_of(written: str, rules: Sequence[str]) -> str | None:
    """The rule that is meant: of this name, or of its words in lower case with underscores; None if there is none.

    >>> rule_of("Helpful tone ", ["helpful_tone"]), rule_of("tone", ["helpful_tone"])
    ('helpful_tone', None)
    """
    plain = re.sub(r"[^a-z0-9]+", "_", written.strip().lower()).strip("_")
    return next((name for name in (written, plain) if name in rules), None)


def check_not_both(pool: object, asked: RuleNames) -> None:
    """Raises InputError where rules are named though a pool names them."""
    if pool is not None and asked.names:
        fix = "leave it out, or list the rules that count in the pool (pool.yaml beside the file is one)"
        raise InputError("has no effect where a pool names the rules", where=asked.where, fix=fix)


def check_of_table(path: object, asked: RuleNames) -> None:
    """Raises InputError where rules are named of a file that is no table."""
    if asked.names:
        fix = "leave it out; to leave a rule out, remove its ratings from the file"
        raise InputError(f"is about tables, and {path} names its rules itself", where=asked.where, fix=fix)


def _column(name: str, columns: Sequence[str], asked: RuleNames) -> str:
    """The column that is meant."""
    words = {"_".join(re.findall(r"[^\W_]+", column.lower())): column for column in columns}
    found = name if name in columns else words.get("_".join(re.findall(r"[^\W_]+", name.lower())))
    if found is None:
        near = difflib.get_close_matches(name, columns, 1, 0.5)
        fix = f"did you mean {near[0]}?" if near else f"name some of {named(columns)}"
        raise InputError(f"no rule or column is called {name!r}", where=asked.where, fix=fix)
    return found
