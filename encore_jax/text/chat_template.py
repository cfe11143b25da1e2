"""The one renderer of chat templates: from messages to text, as transformers does it, but bounded and without a clock.

Scoring, serving, training, judges, exports and peers' conventions all render here. Three things differ from
``tokenizer.apply_chat_template``. Today is always the same day (`encore_jax.text.pinned_clock`). A rendering that
runs for ever, fills the memory or draws at random is refused (`encore_jax.text.bounded_jinja`). And whatever else a
template does wrong ends in one line.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from jinja2.exceptions import TemplateError, TemplateSyntaxError

from encore_jax.errors import InputError
from encore_jax.terminal_text import cut
from encore_jax.text.hidden_text import describe, hidden_messages
from encore_jax.text.jinja_meter import LimitError
from encore_jax.text.pinned_clock import DATE_STRING, asks_clock
from encore_jax.text.template_environment import template_environment

DEFAULT = "default"
"""Which of several named templates is used."""
LONGEST = 100_000
"""Characters of the longest template."""

PLACE = "encore_template_place"
"""Attribute of a tokenizer that was read from files: the file of its template."""

Turn = Mapping[str, Any]
"""A message: role, content, and whatever else the template reads."""

_REASONING = ("reasoning_content", "thinking", "reasoning")
_WHERE = "chat template"
_ROLES = "give turns that the model knows, as a rule user and assistant in turn"
_CORRECT = "correct the template, or download the model's own again"
_BEYOND = "use the model's own template, or one that prints every message once"


class TemplateRefusal(InputError):
    """A chat template does not take these messages: another conversation may well be rendered."""


class TemplateFault(TemplateRefusal):
    """A chat template fails on these messages by a mistake of its own: nobody meant it to refuse them."""


class ChatTemplate:
    """A compiled chat template. One per text: see `compiled`.

    Args:
      source: Jinja.

    Attributes:
      asks_clock: whether it may print the date in a way of its own.

    Raises:
      InputError: it cannot be compiled.
    """

    def __init__(self, source: str):
        if len(source) > LONGEST:
            raise InputError(f"has more than {LONGEST:,} characters", where=_WHERE, fix=_BEYOND)
        self._environment, self._own = template_environment(), {}
        try:
            self._environment.meter.start(0)
            self._template = self._environment.from_string(source)
            self.asks_clock = "strftime_now" in source and asks_clock(self._environment.parse(source))
        except TemplateSyntaxError as error:
            problem = f"cannot be read: {cut(error.message or '', 200)} (line {error.lineno})"
            raise InputError(problem, where=_WHERE, fix="correct it, or save the tokenizer again") from None
        except Exception as error:  # whatever a stranger's template makes Python's compiler say
            raise InputError(f"cannot be compiled: {_said(error)}", where=_WHERE, fix=_BEYOND) from None

    def render(self, turns: Sequence[Turn], variables: Mapping[str, Any]) -> str:
        """The text of one conversation.

        Args:
          turns: at least one.
          variables: what else the template may read.

        Raises:
          TemplateRefusal: the template refuses the conversation.
          TemplateFault: it fails on it.
          InputError: it takes more time or text than any conversation needs.
        """
        if not turns:
            raise TemplateRefusal("there are no messages", where="messages", fix="give at least one")
        messages = [_plain(turn) for turn in turns]
        self._environment.meter.start(sum([_characters(message) for message in messages]))
        try:
            return self._template.render(messages=messages, **variables)
        except LimitError as error:
            raise InputError(error.message or "", where=_WHERE, fix=_BEYOND) from None
        except Exception as error:  # whatever a stranger's template makes Python say
            roles = " ".join(str(turn.get("role")) for turn in messages[:20])
            if isinstance(error, TemplateError):
                problem = f"the chat template refuses these roles ({roles}): {_said(error)}"
                raise TemplateRefusal(problem, where="messages", fix=_ROLES) from None
            problem = f"the chat template fails on these roles ({roles}): {_said(error)}"
            raise TemplateFault(problem, where="messages", fix=_CORRECT) from None

    def hidden(self, turns: Sequence[Turn], text: str, variables: Mapping[str, Any]) -> str:
        """Says which messages are not, or not wholly, in a rendering; "" if all are."""
        roles = tuple(str(turn.get("role")) for turn in turns)
        own = self._own.get(roles)
        if own is None:
            own = self._prints_itself(roles, variables) if len(roles) <= 16 else ""
            if len(self._own) < 256:
                self._own[roles] = own
        return describe(turns, hidden_messages(turns, text, own))

    def _prints_itself(self, roles: Sequence[str], variables: Mapping[str, Any]) -> str:
        """What the template prints besides the messages' own text."""
        marks = [f"\ue000{i}\ue000" for i in range(len(roles))]
        try:
            turns = [{"role": role, "content": mark} for role, mark in zip(roles, marks, strict=True)]
            text = self.render(turns, variables)
        except InputError:
            return ""
        for mark in marks:
            text = text.replace(mark, "")
        return text


class Rendered(NamedTuple):
    """What a chat template printed.

    Attributes:
      text: as it goes to the tokenizer.
      hidden: says which messages' text is not in it; "" if all are.
    """

    text: str
    hidden: str


@functools.lru_cache(maxsize=16)
def compiled(source: str) -> ChatTemplate:
    """The template of this text, compiled once."""
    return ChatTemplate(source)


def template_source(tokenizer: Any) -> str:
    """The text of the tokenizer's chat template; of several named ones, that named "default".

    Raises:
      InputError: there is none.
    """
    source = tokenizer.chat_template
    if isinstance(source, Mapping):
        if DEFAULT not in source:
            names = ", ".join(sorted(map(str, source)))
            raise InputError(f"there are several, and none is named {DEFAULT!r}: {names}", where=_WHERE,
                             fix=f"name one {DEFAULT!r}, or keep only that as chat_template.jinja")  # fmt: skip
        source = source[DEFAULT]
    if not source:
        raise InputError("the tokenizer has no chat template", where="tokenizer",
                         fix="use an instruction-tuned model, or set tokenizer.chat_template")  # fmt: skip
    if not isinstance(source, str):
        raise InputError(f"is a {type(source).__name__}, not text", where=_WHERE, fix="save the tokenizer again")
    return source


def render_chats(tokenizer: Any, chats: Sequence[Sequence[Turn]], *, generation: bool) -> list[Rendered]:
    """Conversations by the tokenizer's chat template.

    Args:
      tokenizer: with a chat template; its special tokens are the template's variables.
      chats: of messages.
      generation: whether each ends with the beginning of an answer.

    Raises:
      InputError: there is no template, or it refuses a conversation, named by its number.
    """
    template = compiled(template_source(tokenizer))
    variables = {
        "tools": None, "documents": None, "add_generation_prompt": generation, **tokenizer.special_tokens_map,
        "date_string": DATE_STRING,
    }  # fmt: skip
    rendered = []
    for i, chat in enumerate(chats):
        try:
            text = template.render(chat, variables)
        except InputError as error:
            place = getattr(tokenizer, PLACE, "")
            problem, where = error.problem, error.where if len(chats) == 1 else f"text {i}, {error.where}"
            if place and isinstance(error, TemplateFault):
                problem = problem.replace("the chat template", f"the chat template ({place})", 1)
            raise type(error)(problem, where=where, fix=error.fix) from None
        rendered.append(Rendered(text, template.hidden(chat, text, variables)))
    return rendered


def render_texts(tokenizer: Any, chats: Sequence[Sequence[Turn]], *, generation: bool) -> list[str]:
    """The texts of `render_chats`."""
    return [rendered.text for rendered in render_chats(tokenizer, chats, generation=generation)]


def asks_for_date(tokenizer: Any) -> bool:
    """Whether a chat template of the tokenizer may print the date in a way of its own; False where there is none."""
    return any("strftime_now" in source and compiled(source).asks_clock for source in _sources(tokenizer))


def prints_date(tokenizer: Any) -> bool:
    """Whether a chat template of the tokenizer knows of a date, in whatever way."""
    return any(name in source for source in _sources(tokenizer) for name in ("strftime_now", "date_string"))


def _sources(tokenizer: Any) -> list[str]:
    sources = tokenizer.chat_template or {}
    return list(sources.values()) if isinstance(sources, Mapping) else [sources]


def takes_system_role(tokenizer: Any) -> bool:
    """Whether the chat template prints what a system message says, before a user's message.

    False for a template that refuses the role, and for one that leaves the message out without a word.

    Raises:
      InputError: there is no template, or it cannot print a user's message either.
    """
    said, asked = "Speak of nothing else.", "What is it?"
    system, user = {"role": "system", "content": said}, {"role": "user", "content": asked}
    [alone] = render_texts(tokenizer, [[user]], generation=True)
    if asked not in alone:
        raise InputError("does not print what a user says", where=_WHERE, fix=_BEYOND)
    try:
        [text] = render_texts(tokenizer, [[system, user]], generation=True)
    except InputError:
        return False
    return said in text and asked in text


def _plain(turn: Turn) -> dict[str, Any]:
    """A message as transformers shows it to the template: no empty fields, and reasoning under its usual names."""
    message = {name: _copy(value) for name, value in turn.items() if value is not None}
    reasoning = next((message[name] for name in _REASONING if name in message), None)
    return message if reasoning is None else {"thinking": reasoning, **message, "reasoning_content": reasoning}


def _copy(value: Any) -> Any:
    """Plain JSON values; a template gets hold of nothing else."""
    if value is None or type(value) in (str, int, float, bool):
        return value
    if isinstance(value, str):
        return str.__str__(value)
    if isinstance(value, Mapping):
        return {str(key): _copy(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_copy(inner) for inner in value]
    raise InputError(f"holds a {type(value).__name__}", where="messages", fix="give text, numbers, lists and objects")


def _characters(message: Mapping[str, Any]) -> int:
    content = message.get("content")
    if len(message) == 2 and type(content) is str:
        return len(content)
    return len(json.dumps(message, ensure_ascii=False))


def _said(error: Exception) -> str:
    text = cut(" ".join(str(error).split()), 200)
    return text if isinstance(error, TemplateError) and text else f"{type(error).__name__}: {text}".rstrip(": ")
