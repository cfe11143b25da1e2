"""The rules that a file of ratings names, where nobody gives their pool."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

from absl import logging

from encore_jax.data.rating_shape import fields_of_file, pool_beside, shape_of
from encore_jax.data.rating_source import table_rows
from encore_jax.data.rating_table import rating_table
from encore_jax.data.rating_values import rating_ranges
from encore_jax.data.rows import named
from encore_jax.data.rule_names import BY_POOL, RuleNames, check_not_both, check_of_table
from encore_jax.errors import InputError
from encore_jax.rules import Rule, RulePool

OPENAI = "openai_rbr_23"
"""The shipped pool of files whose rows have OpenAI's propositions."""


class NamedRules(NamedTuple):
    """The pool of a file, and what to know of which columns of a table are rules, in sentences."""

    pool: RulePool
    columns: tuple[str, ...] = ()


def named_rules(path: Path, option: str, asked: RuleNames = BY_POOL) -> NamedRules:
    """The pool of a file of ratings: pool.yaml beside it, else the rules that its columns or its ratings name.

    A higher rating is better by every rule, which is said, unless the pool beside the file says otherwise: as
    `encore reliability` takes them. A shipped pool of the same names is mentioned, and left to the user.

    Args:
      path: the file.
      option: how a pool is given on this command line, e.g. ``--config.data.pool=RULES``.
      asked: which columns of a table are rules.

    Raises:
      InputError: it holds no ratings, or names a rule as no rule can be named.
    """
    if beside := pool_beside(path):
        check_not_both(beside, asked)
        return NamedRules(RulePool.from_yaml(beside))
    if shape_of(path) == "propositions":
        check_of_table(path, asked)
        return NamedRules(RulePool.shipped(OPENAI))
    found, columns = _names(path, asked)
    pool = pool_of_names(found, path)
    names = pool.names
    shipped = [of.name for of in map(RulePool.shipped, RulePool.shipped_names()) if set(of.names) == set(names)]
    known = f"; the shipped pool {shipped[0]} has rules of these names and says what is better" if shipped else ""
    for line in columns:
        logging.warning("%s: %s", path.name, line)
    logging.warning(
        "%s: higher is taken as better by every rule (%s), because no pool says otherwise (%s)%s",
        path.name, named(names), option.replace("RULES", shipped[0]) if shipped else option, known,
    )  # fmt: skip
    return NamedRules(pool, columns)


def pool_of_names(names: Iterable[str], where: object) -> RulePool:
    """The pool of rules that a file names so: in lower case with underscores, and higher is better by each.

    Raises:
      InputError: a name is none, or two are one.

    >>> pool_of_names(["Is Honest", "kind"], "rated.jsonl").names
    ('is_honest', 'kind')
    """
    rules: dict[str, str] = {}
    for name in names:
        if (plain := plain_name(name)) in rules:
            problem = f"the rules {rules[plain]!r} and {name!r} differ in capitals and signs alone"
            raise InputError(problem, where=str(where), fix="rename one of them everywhere, or write both as one")
        rules[plain] = name
    return RulePool(tuple(_rule(name, where) for name in rules.values()))


def _names(path: Path, asked: RuleNames) -> tuple[Sequence[str], tuple[str, ...]]:
    """The rules that have a rating, as the file writes them, and what to know of a table's columns."""
    columns: tuple[str, ...] = ()
    if shape_of(path) != "table" and "ratings" in fields_of_file(path):
        check_of_table(path, asked)
        names = [rule for rule, (low, high) in rating_ranges(path).items() if low <= high]
    else:
        try:
            table = rating_table(table_rows(path), where=path, rules=asked)
            names, columns = list(table.rules), table.columns
        except InputError as error:
            if error.where.startswith(asked.where):
                raise
            fix = f"give ratings in the file --config.data.ratings_path=FILE; or {error.fix}"
            raise InputError(error.problem, where=error.where, fix=fix) from None
    if not names:
        raise InputError("holds no ratings", where=str(path), fix='write "ratings": {"RULE": NUMBER, ...}')
    return names, columns


def plain_name(written: str) -> str:
    """What a rule is called that a file calls so: its words in lower case with underscores; it may be no name at all.

    >>> plain_name("Kind tone!"), plain_name("有害")
    ('kind_tone', '')
    """
    return re.sub(r"[^a-z0-9]+", "_", written.strip().lower()).strip("_")


def _rule(name: str, path: object) -> Rule:
    """A rule called as the column is, in lower case with underscores."""
    try:
        return Rule(plain_name(name), name.strip())
    except InputError as error:
        raise InputError(error.problem, where=f"{path}, rule {name!r}", fix=error.fix) from None
