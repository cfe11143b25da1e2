"""Chat messages, from whatever a file or a request writes them as; nothing that a model would be shown gets lost."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence

from encore_jax.data.fields import Unshown, check_object
from encore_jax.errors import InputError

ROLES = ("system", "user", "assistant")
_OTHER_ROLES = ("tool", "function", "developer", "ipython", "environment", "observation")
"""Roles of published conversations that chat templates of reward models do not know."""

Unread = Callable[[str], None] | None
"""Is told the name of every field that holds something and is not read."""


@dataclasses.dataclass(frozen=True)
class Message:
    """One chat message; ``role`` is system, user or assistant.

    >>> Message("user", "Hello").content
    'Hello'
    """

    role: str
    content: str

    def __post_init__(self):
        if self.role not in ROLES:
            raise InputError(
                f"unknown role {str(self.role)[:60]!r}", where="role", fix=f"use one of {', '.join(ROLES)}"
            )
        check_text(self.content, "content")


def check_text(value: object, where: str) -> None:
    """Raises InputError unless the value is a text that a tokenizer and a file can hold."""
    if not isinstance(value, str):
        raise InputError(f"expected text, found {type(value).__name__}", where=where, fix="give a string")
    try:
        value.encode()
    except UnicodeEncodeError:
        raise InputError(
            "text holds a lone surrogate, which no tokenizer or file can hold",
            where=where,
            fix="repair or remove that character",
        ) from None


def parse_prompt(value: object, where: str = "prompt", unread: Unread = None) -> tuple[Message, ...]:
    """Messages from a plain string (one user message) or a list of role/content objects.

    The content is text, or a list of text parts, which are put together as chat templates print them: one after the
    other, with nothing in between.

    Args:
      value: the prompt.
      where: what errors call it.
      unread: told of numbers, truth values and labels in a message, which no model is shown.

    Raises:
      InputError: not of this form.
      Unshown: a message holds more than role and text, e.g. ``tool_calls``, or an image.

    >>> parse_prompt("Hi")
    (Message(role='user', content='Hi'),)
    >>> parse_prompt([{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hi"}])[0].role
    'system'
    >>> parse_prompt([{"role": "user", "content": [{"type": "text", "text": "Hi"}]}])
    (Message(role='user', content='Hi'),)
    """
    if isinstance(value, str):
        return (Message("user", value),)
    if not isinstance(value, Sequence):
        raise InputError(
            f"expected a string or a list of messages, found {type(value).__name__}", where=where, fix="give either"
        )
    return tuple(_message(item, f"{where}[{i}]", unread) for i, item in enumerate(value))


def _message(item: object, where: str, unread: Unread) -> Message:
    if not isinstance(item, Mapping) or "role" not in item:
        raise _no_message(item, where)
    if item["role"] in _OTHER_ROLES:
        raise Unshown(f"with a message of role {item['role']!r}", where=f"{where}.role", fix="leave the row out")
    check_object(item, ("role", "content"), f"{where}.", unread)
    if "content" not in item:
        raise _no_message(item, where)
    content = _text(item["content"], f"{where}.content", unread)
    try:
        return Message(item["role"], content)
    except InputError as error:
        raise error.at(f"{where}.{error.where}") from None


def _text(content: object, where: str, unread: Unread) -> object:
    """Text parts put together; anything else as it is."""
    if not isinstance(content, list | tuple):
        return content
    texts = []
    for i, part in enumerate(content):
        here = f"{where}[{i}]"
        if not isinstance(part, Mapping):
            raise InputError("not a part of a message", where=here, fix='write {"type": "text", "text": "..."}')
        kind = part.get("type", "text" if "text" in part else None)
        if kind != "text":
            raise Unshown(f"with a message part of type {str(kind)[:40]!r}", where=here)
        check_text(part.get("text"), f"{here}.text")
        check_object(part, ("type", "text"), f"{here}.", unread)
        texts.append(part["text"])
    return "".join(texts)


def _no_message(item: object, where: str) -> InputError:
    fix = 'write {"role": "user", "content": "..."}'
    if isinstance(item, Mapping) and {"from", "value"} <= item.keys():
        return InputError("a message with 'from' and 'value' instead of 'role' and 'content'", where=where, fix=fix)
    return InputError("not a message", where=where, fix=fix)
