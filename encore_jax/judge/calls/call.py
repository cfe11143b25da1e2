"""Which rules are asked about in one call, and in which order.

A judge may be asked about every rule by itself (*isolated*, the usual way) or about several in one call. In a call
every other rule, and a rule's own place, can move the answer (halo, order effects), so they are part of what an answer
is kept under: `asked_text`. Calls are cut from the pool in its order, and a question that is asked again is asked in
the same call.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from encore_jax.rules import Rule

ISOLATED = 1
"""Rules per call when every rule is asked about by itself."""

Call = tuple[Rule, ...]
"""Rules that are asked about together, in the order in which they are shown; empty for a rule by itself."""


def rule_calls(pool: Iterable[Rule], rules_per_call: int) -> tuple[Call, ...]:
    """The calls that ask about every rule of a pool.

    Args:
      pool: the rules.
      rules_per_call: at most so many in a call; 0 for all of them. 1 gives no calls: rules are asked about one by one.

    >>> a, b, c = (Rule(name, f"It is {name}.") for name in ("kind", "short", "true"))
    >>> [[rule.name for rule in call] for call in rule_calls([a, b, c], 2)]
    [['kind', 'short'], ['true']]
    >>> len(rule_calls([a, b, c], 0)), rule_calls([a, b, c], 1)
    (1, ())
    """
    rules = tuple(pool)
    if rules_per_call == ISOLATED or not rules:
        return ()
    size = rules_per_call or len(rules)
    return tuple(rules[start : start + size] for start in range(0, len(rules), size))


def call_of_rule(pool: Iterable[Rule], rules_per_call: int) -> dict[str, Call]:
    """Of every rule's name the call that it is asked in; `()` for a rule that is asked by itself."""
    rules = tuple(pool)
    calls: dict[str, Call] = {rule.name: () for rule in rules}
    return calls | {rule.name: call for call in rule_calls(rules, rules_per_call) for rule in call}


def call_digest(call: Sequence[Rule]) -> str:
    """SHA-256 (64 hex digits) over the names and texts of a call's rules, in their order."""
    return hashlib.sha256(json.dumps([[rule.name, rule.text] for rule in call]).encode()).hexdigest()


def asked_text(rule: Rule, call: Call) -> str:
    """What an answer about a rule is kept under, besides the rule's name: its text and, in a call, the whole call.

    >>> kind, short = Rule("kind", "It is kind."), Rule("short", "It is short.")
    >>> asked_text(kind, ()), asked_text(kind, (kind, short)) == asked_text(kind, (short, kind))
    ('It is kind.', False)
    >>> asked_text(short, (kind, short))[:34]
    'It is short.\\n[rule 2 of 2 in call '
    """
    if not call:
        return rule.text
    place = [other.name for other in call].index(rule.name) + 1
    return f"{rule.text}\n[rule {place} of {len(call)} in call {call_digest(call)}]"


def by_call(questions: Iterable[Any]) -> Iterator[list[Any]]:
    """Questions that are asked together, as lists; each of those that are asked alone is a list of its own.

    Questions about one response in one call must come in a row. A list is complete as soon as the call's last rule has
    come, so nothing is drawn ahead that need not be.
    """
    waiting: list[Any] = []
    for question in questions:
        call = question_call(question)
        if waiting and (not call or not _same_call(waiting[-1], question)):
            yield waiting
            waiting = []
        waiting.append(question)
        if not call or question.rule.name == call[-1].name:
            yield waiting
            waiting = []
    if waiting:
        yield waiting


def question_call(question: Any) -> Call:
    """The call that a question is asked in; `()` for one that is asked by itself, as verdicts on pairs are."""
    return getattr(question, "call", ())


def _same_call(one: Any, other: Any) -> bool:
    return one.key[:2] == other.key[:2] and question_call(one) == question_call(other)


def letter(index: int) -> str:
    """The name of a call's rule in prompt and answer: A to Z, then AA, AB, ...

    >>> [letter(i) for i in (0, 25, 26, 701, 702)]
    ['A', 'Z', 'AA', 'ZZ', 'AAA']
    """
    name, index = "", index + 1
    while index:
        index, rest = divmod(index - 1, 26)
        name = chr(ord("A") + rest) + name
    return name
