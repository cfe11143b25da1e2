"""A safety rule in words, and an ordered, named, hashed pool of rules."""

from __future__ import annotations

import difflib
import hashlib
import json
import operator
import re
import unicodedata
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from encore_jax.errors import InputError
from encore_jax.rules.graph import RuleGraph
from encore_jax.rules.pool_file import read_pool_file, write_pool_file
from encore_jax.rules.sentences import named_sentences

_SNAKE_CASE = re.compile(r"[a-z][a-z0-9]*(_[a-z0-9]+)*")
# control characters, halves of surrogate pairs, and the line ends that YAML reads as a new line
_UNPRINTABLE = {"Cc", "Cs", "Zl", "Zp"}
_POOLS = Path(__file__).with_name("pools")


@dataclass(frozen=True)
class Rule:
    """One safety criterion that a judge rates a response on.

    Args:
      name: snake_case; unique within a pool.
      text: the criterion in words, without white space around it.
      direction: +1 if a higher rating means a better or safer response, -1 if a worse one.
      category: what the rule is about, for grouping in reports; "" if it has none.

    Raises:
      InputError: a field has the wrong type or value.

    >>> Rule("no_slurs", "The response contains no slurs.").direction
    1
    >>> Rule("No slurs", "The response contains no slurs.")  # doctest: +ELLIPSIS
    Traceback (most recent call last):
        ...
    encore_jax.errors.InputError: rule 'No slurs', field 'name': ... Fix: rename it 'no_slurs'
    """

    name: str
    text: str
    direction: int = 1
    category: str = ""

    def __post_init__(self):
        where = f"rule {repr(self.name)[:100]}, field "
        for field in ("name", "text", "category"):
            _check_text(getattr(self, field), where=f"{where}{field!r}")
        if not _SNAKE_CASE.fullmatch(self.name):
            words = re.findall(r"[a-z0-9]+", self.name.lower())
            better = "_".join(words).lstrip("0123456789_")
            raise InputError(
                "a rule's name is lower-case words joined by single underscores",
                where=f"{where}'name'",
                fix=f"rename it {better!r}" if better else "name it, say, 'no_slurs'",
            )
        if not self.text:
            raise InputError("the text is empty", where=f"{where}'text'", fix="state what a judge is to rate")
        if type(self.direction) is not int or self.direction not in (1, -1):
            raise InputError(
                f"the direction is {self.direction!r}, not the integer +1 or -1",
                where=f"{where}'direction'",
                fix="use +1 if a higher rating is better, -1 if it is worse",
            )


@dataclass(frozen=True)
class RulePool:
    """Rules in a fixed order: the order of ratings, heads and weights, ``[..., K]``.

    Args:
      rules: one or more rules with distinct names; any sequence, kept as a tuple.
      name: what the pool is called; "" if it has no name.
      graph: vetoes and prerequisites between the rules, if there are any.

    Raises:
      InputError: there is no rule, something is not a rule, two rules share a name, or the graph contradicts itself
        (`RuleGraph.check`).

    >>> pool = RulePool.shipped("safety_10")
    >>> len(pool), pool[0].name, pool["factual_accuracy"].direction
    (10, 'no_violence_help', 1)
    >>> pool.subset(["non_judgemental_tone", "no_violence_help"]).names
    ('non_judgemental_tone', 'no_violence_help')
    """

    rules: tuple[Rule, ...]
    name: str = ""
    graph: RuleGraph | None = None

    def __post_init__(self):
        object.__setattr__(self, "rules", tuple(self.rules))
        _check_text(self.name, where="rule pool, field 'name'")
        if not self.rules:
            raise InputError("a rule pool needs at least one rule", where=self._where, fix="give it a rule")
        first: dict[str, int] = {}
        for k, rule in enumerate(self.rules):
            if not isinstance(rule, Rule):
                raise InputError(
                    f"entry {k} is a {type(rule).__name__}, not a Rule",
                    where=self._where,
                    fix="wrap it: Rule(name=..., text=...)",
                )
            if rule.name in first:
                raise InputError(
                    f"entries {first[rule.name]} and {k} are both named {rule.name!r}",
                    where=self._where,
                    fix="rename or remove one of them",
                )
            first[rule.name] = k
        if self.graph is not None:
            if not isinstance(self.graph, RuleGraph):
                problem = f"the graph is a {type(self.graph).__name__}"
                raise InputError(problem, where=self._where, fix="give a RuleGraph")
            self.graph.check(self.names, [rule.direction for rule in self.rules], f"{self._where}, graph")

    def __len__(self) -> int:
        return len(self.rules)

    def __iter__(self) -> Iterator[Rule]:
        return iter(self.rules)

    def __contains__(self, item: object) -> bool:
        return item in (self.names if isinstance(item, str) else self.rules)

    def __getitem__(self, key: int | str) -> Rule:
        """The rule at a position, or the rule of that name."""
        return self.rules[self.index(key) if isinstance(key, str) else operator.index(key)]

    @property
    def names(self) -> tuple[str, ...]:
        """The rules' names, in order."""
        return tuple(rule.name for rule in self.rules)

    @property
    def directions(self) -> np.ndarray:
        """The rules' directions: int8 ``[K]`` of +1 and -1.

        >>> RulePool([Rule("a", "It is good."), Rule("b", "It is bad.", -1)]).directions
        array([ 1, -1], dtype=int8)
        """
        return np.array([rule.direction for rule in self.rules], dtype=np.int8)

    @property
    def digest(self) -> str:
        """SHA-256 (64 hex digits) over the names, texts and directions in their order.

        It says whether two pools give ratings of the same meaning in the same order, so the
        categories, the pool's own name and its graph are left out.
        """
        fields = [[rule.name, rule.text, rule.direction] for rule in self.rules]
        return hashlib.sha256(json.dumps(fields, separators=(",", ":")).encode()).hexdigest()

    @property
    def oriented_graph(self) -> RuleGraph | None:
        """The graph for scores of which a higher one is better; None if there is none."""
        if not self.graph:
            return None
        return self.graph.oriented(dict(zip(self.names, self.directions.tolist(), strict=True)))

    def index(self, name: str) -> int:
        """The position of the rule called `name`; InputError lists the nearest names.

        >>> RulePool.shipped("safety_10").index("factual_acuracy")  # doctest: +ELLIPSIS
        Traceback (most recent call last):
            ...
        encore_jax.errors.InputError: rule pool 'safety_10': ... Fix: did you mean factual_accuracy?
        """
        if name in self.names:
            return self.names.index(name)
        raise InputError(f"there is no rule {name!r}", where=self._where, fix=_nearest(name, self.names))

    def subset(self, names: Iterable[str]) -> RulePool:
        """An unnamed pool of the rules called `names`, in the order of `names`; without a graph."""
        if isinstance(names, (str, set, frozenset)):
            raise InputError(
                f"a subset is taken by names in an order, not by a {type(names).__name__}",
                where=self._where,
                fix="give a list or tuple of names",
            )
        return RulePool(tuple(self.rules[self.index(name)] for name in names))

    @classmethod
    def from_yaml(cls, path: str | Path) -> RulePool:
        """Reads a pool from a YAML file; its schema is at the head of each shipped pool.

        Raises:
          InputError: naming the file and, where there is one, the line of the bad rule.
        """
        name, entries, graph, graph_line = read_pool_file(path)
        rules: list[Rule] = []
        lines: dict[str, int] = {}
        for line, fields in entries:
            try:
                rule = Rule(**fields)
            except InputError as error:
                where = f"{path}:{line}, {error.where}"
                raise InputError(error.problem, where=where, fix=error.fix) from None
            if rule.name in lines:
                raise InputError(
                    f"the rule {rule.name!r} is already on line {lines[rule.name]}",
                    where=f"{path}:{line}",
                    fix="rename or remove one of them",
                )
            lines[rule.name] = line
            rules.append(rule)
        if not rules:
            raise InputError("the list 'rules' is empty", where=str(path), fix="add a rule")
        if graph is not None:
            graph.check(
                [rule.name for rule in rules], [rule.direction for rule in rules], f"{path}:{graph_line}, graph"
            )
        return cls(tuple(rules), name, graph)

    @classmethod
    def load(cls, path: str | Path) -> RulePool:
        """Reads a pool from a YAML file: the same as `from_yaml`.

        >>> import tempfile
        >>> path = Path(tempfile.mkdtemp()) / "rules.yaml"
        >>> RulePool.from_sentences(["It is kind."]).to_yaml(path)
        >>> RulePool.load(path).names
        ('kind',)
        """
        return cls.from_yaml(path)

    @classmethod
    def from_sentences(cls, sentences: Iterable[str | tuple[str, str]] | Mapping[str, str], name: str = "") -> RulePool:
        """A pool of rules of which a higher rating is better, from sentences alone.

        Args:
          sentences: texts, whose names are made of their words; (name, text) pairs; or a mapping from names to texts.
          name: what the pool is called.

        Raises:
          InputError: naming the entry: no text, blank, or there twice; or a given name that is none.

        >>> RulePool.from_sentences(["The response contains no slurs.", "It is kind."]).names
        ('contains_no_slurs', 'kind')
        >>> RulePool.from_sentences({"brief": "It is brief."})["brief"].text
        'It is brief.'
        """
        return cls(tuple(Rule(rule, text) for rule, text in named_sentences(sentences)), name)

    def to_yaml(self, path: str | Path) -> None:
        """Writes the pool to a YAML file that `from_yaml` reads back as an equal pool."""
        write_pool_file(path, self.name, [_entry(rule) for rule in self.rules], self.graph)

    @classmethod
    def shipped(cls, name: str) -> RulePool:
        """A pool that comes with the package.

        >>> RulePool.shipped("safety")  # doctest: +ELLIPSIS
        Traceback (most recent call last):
            ...
        encore_jax.errors.InputError: there is no shipped rule pool 'safety'. Fix: use one of ...
        """
        available = cls.shipped_names()
        if name not in available:
            raise InputError(
                f"there is no shipped rule pool {name!r}",
                fix=f"use one of {', '.join(available)}, or a YAML file of your own rules (docs/rules.md)",
            )
        return cls.from_yaml(_POOLS / f"{name}.yaml")

    @staticmethod
    def shipped_names() -> list[str]:
        """What the pools that come with the package are called."""
        return sorted(path.stem for path in _POOLS.glob("*.yaml"))

    @property
    def _where(self) -> str:
        return f"rule pool {self.name!r}" if self.name else "rule pool"


def as_pool(rules: RulePool | Iterable | Mapping[str, str] | None) -> RulePool | None:
    """A pool of what stands for one: a pool, rules, or sentences (`RulePool.from_sentences`); None stays None.

    >>> as_pool(["It is kind."]).names, as_pool(None)
    (('kind',), None)
    """
    if rules is None or isinstance(rules, RulePool):
        return rules
    if isinstance(rules, list | tuple) and rules and all(isinstance(rule, Rule) for rule in rules):
        return RulePool(tuple(rules))
    return RulePool.from_sentences(rules)


def _check_text(value: object, *, where: str) -> None:
    """Refuses what is not text, has white space around it, or would not survive in a file."""
    if not isinstance(value, str):
        raise InputError(f"text is wanted, not {repr(value)[:100]}", where=where, fix="give a string")
    if value != value.strip():
        raise InputError("there is white space around it", where=where, fix="strip it")
    for position, character in enumerate(value):
        if unicodedata.category(character) in _UNPRINTABLE and character not in "\n\t":
            raise InputError(
                f"character {position} is {character!r}, which a text file cannot show",
                where=where,
                fix="remove it, or decode the source again as UTF-8",
            )


def _entry(rule: Rule) -> dict[str, str | int]:
    """The rule as it is written to a file: defaults left out, the text last."""
    entry: dict[str, str | int] = {"name": rule.name}
    if rule.category:
        entry["category"] = rule.category
    if rule.direction != 1:
        entry["direction"] = rule.direction
    return entry | {"text": rule.text}


def _nearest(name: object, names: tuple[str, ...]) -> str:
    near = difflib.get_close_matches(str(name), names, n=3, cutoff=0.5)
    if near:
        return f"did you mean {', '.join(near)}?"
    shown = ", ".join(names[:10]) + (f" and {len(names) - 10} more" if len(names) > 10 else "")
    return f"use one of {shown}; or give the pool that has it (--config.data.pool, --pool, RulePool)"
