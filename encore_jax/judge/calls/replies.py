"""Reading a reply about several rules: the entries of one JSON object, and the probabilities of each value's token.

A reply is read entry by entry, so that a rule whose answer is missing, doubled or none of what was offered costs no
other rule its own. What is cut off keeps the entries that were complete before. Whatever a reply holds, reading it
never raises and takes time in proportion to its length.
"""

from __future__ import annotations

import bisect
import dataclasses
import itertools
import re
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from encore_jax.judge.calls.call import letter
from encore_jax.judge.calls.prompts import CallPrompt
from encore_jax.judge.question import Answer, Status
from encore_jax.judge.reading import (
    MOST_OTHER,
    answer_of,
    answer_probabilities,
    read_logprobs,
    read_number,
    unparsable,
)
from encore_jax.judge.replies import ReplyContent
from encore_jax.judge.token_logprobs import TokenLogprobs

NO_OBJECT = "no JSON object"
MORE_OBJECTS = "more than one JSON object"
NO_ENTRY = "no answer to this rule"
MORE_ENTRIES = "more than one answer to this rule"
NOT_OFFERED = "none of the offered answers in the text"
OTHER_TOKENS = "log-probabilities of another text"

WRITTEN = "written"
"""In the evidence of an answer the one that was written, where another offered one was likelier."""
SURE = 0.9
"""Of two answers nearly as likely the written one may be the less likely: servers round log-probabilities."""

_SPACE = " \t\r\n"
_STRING = re.compile(r'"((?:[^"\\]|\\.)*+)"', re.DOTALL)
_BARE = re.compile(r'[^\s,:"{}\[\]]+')
_NESTED = re.compile(r'"(?:[^"\\]|\\.)*+"?|[\[\]{}]', re.DOTALL)
_UNSEEN = "\x00"
"""Begins a listed token that cannot stand where the value's token stands."""


class Entry(NamedTuple):
    """An entry of an object.

    Attributes:
      name: its key, in capitals.
      value: of a text what stands between its quotes, of anything else the characters.
      start: place in the text where `value` begins.
    """

    name: str
    value: str
    start: int


def read_entries(text: str) -> tuple[list[Entry], str]:
    """The complete entries of the one JSON object in a text, and "" or why there are none.

    What stands around the object does not matter, nor do fences of code. An object ends where it is no JSON any more.

    >>> read_entries('Here: {"A": "Yes", "b": 0.5, "C": "N')
    ([Entry(name='A', value='Yes', start=13), Entry(name='B', value='0.5', start=24)], '')
    >>> read_entries("Yes, no, yes.")[1], read_entries('{"A": 1} or {"A": 0}')[1]
    ('no JSON object', 'more than one JSON object')
    """
    found: list[list[Entry]] = []
    place = text.find("{")
    while place >= 0:
        entries, end = _object(text, place)
        if entries:
            found.append(entries)
        place = text.find("{", end)
    if not found:
        return [], NO_OBJECT
    return (found[0], "") if len(found) == 1 else ([], MORE_OBJECTS)


def _object(text: str, place: int) -> tuple[list[Entry], int]:
    """The entries of the object that begins at a brace, and where reading it ended."""
    entries: list[Entry] = []
    at = _skip(text, place + 1)
    while (key := _STRING.match(text, at)) is not None:
        at = _skip(text, key.end())
        if text[at : at + 1] != ":":
            break
        value, start, at = _value(text, _skip(text, at + 1))
        at = _skip(text, at)
        if value is None or text[at : at + 1] not in (",", "}"):
            break
        entries.append(Entry(key[1].strip().upper(), value, start))
        ended = text[at] == "}"
        at = _skip(text, at + 1)
        if ended:
            break
    return entries, max(at, place + 1)


def _value(text: str, at: int) -> tuple[str | None, int, int]:
    """A value, where it begins, and where it ends; None for what is none. Of lists and objects the first character."""
    if (string := _STRING.match(text, at)) is not None:
        return string[1], string.start(1), string.end()
    if text[at : at + 1] in ("[", "{"):
        return text[at], at, _nested_end(text, at)
    bare = _BARE.match(text, at)
    return (bare[0], at, bare.end()) if bare else (None, at, at)


def _nested_end(text: str, at: int) -> int:
    """Where a list or object ends; the end of the text if it does not."""
    depth = 0
    for mark in _NESTED.finditer(text, at):
        depth += (mark[0] in ("[", "{")) - (mark[0] in ("]", "}"))
        if depth == 0:
            return mark.end()
    return len(text)


def _skip(text: str, at: int) -> int:
    while at < len(text) and text[at] in _SPACE:
        at += 1
    return at


def read_call(
    prompt: CallPrompt, reply: Mapping, said: ReplyContent, rules: int, most_other: float = MOST_OTHER
) -> list[Answer]:
    """An answer for each rule of a call, in its order.

    Args:
      prompt: how was asked. If it offers answers, a rating is made of the probabilities of the value's first token, as
        it is of the first token of an answer about one rule; if not, of the number.
      reply: the JSON that a server sent.
      said: of it, see `read_reply`.
      rules: how many the call has.
      most_other: see `read_logprobs`.
    """
    cut = said.problem.startswith("cut off")
    if said.problem and not cut:
        return [unparsable(said.problem, said.whole or reply)] * rules
    entries, problem = read_entries(said.text or "")
    if problem:
        return [unparsable(said.problem or problem, said.whole or reply)] * rules
    missing = said.problem or NO_ENTRY
    tokens = _Tokens(reply, said) if prompt.answers else None
    by_name: dict[str, list[Entry]] = {}
    for entry in entries:
        by_name.setdefault(entry.name, []).append(entry)
    answers = []
    for i in range(rules):
        own = by_name.get(letter(i), [])
        if len(own) != 1:
            answers.append(unparsable(MORE_ENTRIES if own else missing, said.whole))
        elif tokens is None:
            answers.append(read_number(own[0].value))
        else:
            answers.append(tokens.answer(own[0], prompt, most_other))
    return answers


class _Tokens:
    """Log-probabilities of the tokens that hold entries' values.

    Args:
      reply: the JSON that a server sent.
      said: of it, see `read_reply`; its text is where entries were found.
    """

    def __init__(self, reply: Mapping, said: ReplyContent):
        self._read = TokenLogprobs(reply)
        self._starts = list(itertools.accumulate(map(len, self._read.tokens), initial=0))[:-1]
        self._offset = "".join(self._read.tokens).rfind(said.text or "")
        self._problem = self._read.problem or (OTHER_TOKENS if self._offset < 0 else "")
        self._whole = said.whole

    def answer(self, entry: Entry, prompt: CallPrompt, most_other: float) -> Answer:
        """What an entry says, by the probabilities of its value's first token."""
        if self._problem:
            return unparsable(self._problem, self._whole)
        if answer_of(entry.value.strip(), prompt.answers) is None:
            return unparsable(NOT_OFFERED, entry.value)
        place = self._offset + entry.start
        number = bisect.bisect_right(self._starts, place) - 1
        before = self._read.tokens[number][: place - self._starts[number]]
        listed, problem = self._read.at(number)
        if problem:
            return unparsable(problem, self._whole)
        listed = [(_behind(token, before), logprob) for token, logprob in listed]
        answer = read_logprobs(listed, prompt.answers, prompt.rate, self._whole, most_other)
        wrote = answer_of(entry.value.strip(), prompt.answers)
        if answer.status is not Status.OK or not _another_is_likelier(wrote, listed, prompt.answers):
            return answer
        return dataclasses.replace(answer, evidence={**answer.evidence, WRITTEN: wrote})


def _another_is_likelier(wrote: str, listed: Sequence[tuple[str, float]], answers: tuple[str, ...]) -> bool:
    """Whether greedy decoding would have written another of the offered answers.

    Only of an answer whose own first token is listed: a word may also begin with a shorter token ("I" of
    "Irrelevant"), of which nobody knows how likely the whole word is.
    """
    p, _ = answer_probabilities(listed, answers)
    return 0 < p[wrote] < SURE * max(p.values())


def _behind(token: str, before: str) -> str:
    """What a token says from the value's beginning on, if it begins with what the text has before (`' "'`)."""
    if not before:
        return token
    return token[len(before) :] if token.startswith(before) else f"{_UNSEEN}{token}"
