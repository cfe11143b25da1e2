"""Reads the fields of a request's body, each with an error that names it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from encore_jax.data.comparison import Message, parse_prompt
from encore_jax.errors import InputError
from encore_jax.reward.conversations import completion_text
from encore_jax.serve.fields import check_messages


def read_model(body: Mapping[str, Any], *names: str) -> str:
    """The model that is asked for, by default the first of these."""
    wanted = body.get("model") or names[0]
    if wanted not in names:
        fix = f"use {names[0]}" + (f", or {names[1]} for the scores of every rule" if names[1:] else "")
        raise InputError("there is no such model here", where="model", fix=fix)
    return wanted


def read_field(body: Mapping[str, Any], name: str, where: str = "") -> Any:
    """A field that has to be there."""
    if name not in body:
        raise InputError("is missing", where=f"{where}{name}", fix="see the documentation of this endpoint")
    return body[name]


def read_list(body: Mapping[str, Any], name: str, where: str = "") -> list:
    """A list with something in it."""
    value = read_field(body, name, where)
    if not isinstance(value, list) or not value:
        raise InputError("not a list with something in it", where=f"{where}{name}", fix="send a list")
    return value


def read_flag(body: Mapping[str, Any], name: str) -> bool:
    """True or false; false where there is nothing."""
    value = body.get(name)
    if value is not None and not isinstance(value, bool):
        raise InputError("neither true nor false", where=name, fix="send true or false")
    return bool(value)


def read_text(value: Any, where: str) -> str:
    """A text that a tokenizer can hold."""
    try:
        return Message("assistant", value).content
    except InputError as error:
        raise InputError(error.problem, where=where, fix=error.fix) from None


def read_prompt(value: Any, where: str) -> tuple[Message, ...]:
    """What the user said, or a conversation that ends with the user's turn."""
    if isinstance(value, str):
        return (Message("user", read_text(value, where)),)
    return check_turn(read_messages(value, where), where)


def read_messages(value: Any, where: str) -> tuple[Message, ...]:
    """A conversation, all of whose fields are rendered."""
    check_messages(value, where)
    return parse_prompt(value, where)


def read_completion(value: Any, where: str) -> str:
    """A response: a text, or a list of one assistant message."""
    check_messages(value, where)
    return completion_text(value, where)


def check_turn(prompt: tuple[Message, ...], where: str) -> tuple[Message, ...]:
    """Makes sure that an answer to the user comes next."""
    if not prompt or prompt[-1].role != "user":
        raise InputError("does not end with the user's turn", where=where, fix="put what follows into the response")
    return prompt


def check_same_number(ours: Sequence, theirs: Sequence, where: str) -> None:
    """Makes sure that two lists belong together."""
    if len(ours) != len(theirs):
        raise InputError(f"{len(theirs)} of them for {len(ours)}", where=where, fix="send one for each")
