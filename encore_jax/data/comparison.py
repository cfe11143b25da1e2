"""The two records everything else is made of: comparisons and rated responses."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from encore_jax.data.messages import Message, check_text, parse_prompt
from encore_jax.errors import InputError

__all__ = ["Comparison", "Message", "RatedResponse", "parse_prompt", "prompt_key", "stack_ratings"]


class _ByValue:
    """Equality by value, arrays included; such records are not hashable."""

    __hash__ = None

    def __eq__(self, other: object) -> bool:
        if type(other) is not type(self):
            return NotImplemented
        names = [field.name for field in dataclasses.fields(self)]
        return all(_equal(getattr(self, name), getattr(other, name)) for name in names)


def _equal(a: object, b: object) -> bool:
    if isinstance(a, np.ndarray) and isinstance(b, np.ndarray):
        return np.array_equal(a, b)
    return a is b or bool(a == b)


@dataclasses.dataclass(frozen=True, eq=False)
class Comparison(_ByValue):
    """A prompt, n >= 2 responses, which one is preferred, and optionally K ratings of each.

    Attributes:
      prompt: chat messages, the last one from the user.
      responses: n texts, none of them blank.
      preferred: index of the preferred response, or None where nobody chose.
      rules: names of the K rated rules, in the order of the ratings' last axis.
      ratings: float32 ``[n, K]``, oriented so that higher is better on every rule; 0 where masked.
      mask: bool ``[n, K]``, True where a rating exists; all True where it was left out.
      subset: part of a benchmark, e.g. ``"xstest-should-refuse"``.
      source: the data set it came from.
      id: identifier within the source.
      extra: anything more, as JSON values, e.g. ``{"num_correct": 3}``: the first 3 are all right.

    Raises:
      InputError: naming the field that is wrong.

    >>> c = Comparison((Message("user", "Hi"),), ("Hello!", "Go away."), preferred=0)
    >>> len(c.responses), c.ratings is None
    (2, True)
    """

    prompt: tuple[Message, ...]
    responses: tuple[str, ...]
    preferred: int | None = None
    rules: tuple[str, ...] = ()
    ratings: np.ndarray | None = None
    mask: np.ndarray | None = None
    subset: str = ""
    source: str = ""
    id: str = ""
    extra: Mapping[str, object] = dataclasses.field(default_factory=dict)

    def __post_init__(self):
        _set(self, prompt=_checked_prompt(self.prompt), responses=tuple(self.responses))
        n = len(self.responses)
        if n < 2:
            raise InputError(
                f"a comparison has at least 2 responses, this one {n}", where="responses", fix="add another response"
            )
        for i, response in enumerate(self.responses):
            _check_response(response, f"responses[{i}]")
        _set(self, preferred=_checked_preferred(self.preferred, n), rules=_checked_rules(self.rules))
        if self.ratings is None:
            if self.rules or self.mask is not None:
                raise InputError("rules or a mask without ratings", where="ratings", fix="give all or none")
        else:
            ratings, mask = _checked_ratings(self.ratings, self.mask, self.rules, (n, len(self.rules)))
            _set(self, ratings=ratings, mask=mask)
        _check_labels(self)


@dataclasses.dataclass(frozen=True, eq=False)
class RatedResponse(_ByValue):
    """One response and its K ratings, e.g. human severities of a single answer.

    Attributes:
      prompt: chat messages, the last one from the user.
      response: the answer, not blank.
      rules: names of the K rules.
      ratings: float32 ``[K]``, oriented so that higher is better on every rule; 0 where masked.
      mask: bool ``[K]``, True where a rating exists; all True where it was left out.
      subset, source, id, extra: as in `Comparison`.

    Raises:
      InputError: naming the field that is wrong.

    >>> r = RatedResponse((Message("user", "Hi"),), "Hello!", ("kind", "brief"),
    ...                   ratings=[0.75, float("nan")], mask=[True, False])
    >>> r.ratings.tolist()
    [0.75, 0.0]
    """

    prompt: tuple[Message, ...]
    response: str
    rules: tuple[str, ...]
    ratings: np.ndarray
    mask: np.ndarray | None = None
    subset: str = ""
    source: str = ""
    id: str = ""
    extra: Mapping[str, object] = dataclasses.field(default_factory=dict)

    def __post_init__(self):
        _set(self, prompt=_checked_prompt(self.prompt), rules=_checked_rules(self.rules))
        _check_response(self.response, "response")
        ratings, mask = _checked_ratings(self.ratings, self.mask, self.rules, (len(self.rules),))
        _set(self, ratings=ratings, mask=mask)
        _check_labels(self)


def prompt_key(prompt: Sequence[Message]) -> str:
    """The prompt as one string: equal for equal prompts only; what splits are grouped by.

    >>> prompt_key((Message("user", "Hi"),))
    '[["user","Hi"]]'
    """
    turns = [[message.role, message.content] for message in prompt]
    return json.dumps(turns, ensure_ascii=False, separators=(",", ":"))


def stack_ratings(comparisons: Iterable[Comparison], *, preferred_first: bool = False) -> tuple[np.ndarray, np.ndarray]:
    """Ratings of N rated pairs as one array.

    Args:
      comparisons: pairs (n = 2), all rated on the same rules in the same order.
      preferred_first: swap each pair so that index 0 of the second axis is the preferred response;
        otherwise the pairs' own order is kept.

    Returns:
      ratings float32 ``[N, 2, K]`` and mask bool ``[N, 2, K]``.

    Raises:
      InputError: where a comparison is no rated pair, or the rules differ.

    >>> pair = Comparison((Message("user", "Hi"),), ("Go.", "Hello!"), 1, ("kind",), [[0.0], [1.0]])
    >>> ratings, mask = stack_ratings([pair], preferred_first=True)
    >>> ratings.tolist(), mask.all()
    ([[[1.0], [0.0]]], np.True_)
    """
    ratings, masks, rules = [], [], None
    for i, comparison in enumerate(comparisons):
        where = f"comparison {i} ({comparison.id})" if comparison.id else f"comparison {i}"
        if len(comparison.responses) != 2 or comparison.ratings is None:
            raise InputError("not a rated pair", where=where, fix="stack rated pairs (n = 2) only")
        rules = comparison.rules if rules is None else rules
        if comparison.rules != rules:
            raise InputError("rated on other rules than the first", where=where, fix="read with one rule pool")
        if preferred_first and comparison.preferred is None:
            raise InputError("nobody chose here", where=where, fix="leave it out, or keep the pairs' own order")
        step = -1 if preferred_first and comparison.preferred == 1 else 1
        ratings.append(comparison.ratings[::step])
        masks.append(comparison.mask[::step])
    if rules is None:
        raise InputError("no comparison to stack", fix="give at least one")
    return np.stack(ratings), np.stack(masks)


def _set(record, **values) -> None:
    for name, value in values.items():
        object.__setattr__(record, name, value)


def _check_response(value: object, where: str) -> None:
    check_text(value, where)
    if not value.strip():
        raise InputError("the response is blank", where=where, fix="leave this row out")


def _checked_prompt(prompt: object) -> tuple[Message, ...]:
    if isinstance(prompt, (str, Message)) or not isinstance(prompt, Sequence):
        raise InputError("a prompt is a tuple of messages", where="prompt", fix="use parse_prompt(...)")
    prompt = tuple(prompt)
    if not prompt:
        raise InputError("the prompt has no message", where="prompt", fix="give at least the user's turn")
    for i, message in enumerate(prompt):
        if not isinstance(message, Message):
            raise InputError("not a Message", where=f"prompt[{i}]", fix="use parse_prompt(...)")
    if prompt[-1].role != "user":
        raise InputError(
            f"the last message is from the {prompt[-1].role}",
            where=f"prompt[{len(prompt) - 1}]",
            fix="end the prompt with the user's turn; what follows belongs to the responses",
        )
    return prompt


def _checked_preferred(preferred: object, n: int) -> int | None:
    if preferred is None:
        return None
    if isinstance(preferred, bool) or not isinstance(preferred, (int, np.integer)):
        raise InputError(
            f"expected an index or None, found {preferred!r}",
            where="preferred",
            fix=f"use 0 to {n - 1}",
        )
    if not 0 <= preferred < n:
        raise InputError(f"index {preferred} of {n} responses", where="preferred", fix=f"use 0 to {n - 1}")
    return int(preferred)


def _checked_rules(rules: object) -> tuple[str, ...]:
    if isinstance(rules, str):
        raise InputError("rules is one string", where="rules", fix="give a tuple of names")
    rules = tuple(rules)
    for name in rules:
        if not isinstance(name, str) or not name:
            raise InputError(f"{name!r} is not a rule name", where="rules", fix="name every rule")
    if len(set(rules)) < len(rules):
        twice = sorted({name for name in rules if rules.count(name) > 1})
        raise InputError(f"named twice: {', '.join(twice)}", where="rules", fix="name each rule once")
    return rules


def _checked_ratings(
    ratings: object, mask: object, rules: tuple[str, ...], shape: tuple[int, ...]
) -> tuple[np.ndarray, np.ndarray]:
    """Read-only float32 ratings and bool mask of the given shape; masked entries are 0."""
    ratings = np.asarray(ratings)
    if ratings.dtype.kind not in "fiu":
        raise InputError(f"ratings are numbers, found dtype {ratings.dtype}", where="ratings", fix="convert them")
    mask = np.ones(ratings.shape, bool) if mask is None else np.asarray(mask)
    if mask.dtype != bool:
        raise InputError(f"a mask is boolean, found dtype {mask.dtype}", where="mask", fix="convert it")
    for name, array in (("ratings", ratings), ("mask", mask)):
        if array.shape != shape:
            raise InputError(f"expected shape {shape}, found {array.shape}", where=name, fix="give one per rule")
    with np.errstate(over="ignore"):
        ratings = np.where(mask, ratings, 0).astype(np.float32)
    bad = np.argwhere(~np.isfinite(ratings))
    if len(bad):
        *response, k = bad[0].tolist()
        index = "".join(f"[{i}]" for i in response) + f"[{rules[k]!r}]"
        raise InputError(
            f"{ratings[tuple(bad[0])]} is not a rating",
            where=f"ratings{index}",
            fix="give a finite number, or mask it",
        )
    mask = mask.copy()
    ratings.setflags(write=False)
    mask.setflags(write=False)
    return ratings, mask


def _check_labels(record: Comparison | RatedResponse) -> None:
    for name in ("subset", "source", "id"):
        check_text(getattr(record, name), name)
    if not isinstance(record.extra, Mapping):
        raise InputError("extra is a mapping", where="extra", fix="give a dictionary")
