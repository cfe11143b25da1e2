"""Rows of chat data, whose prompt and responses stand in lists of messages, as rows whose responses are texts."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping

from encore_jax.data.context import common_context, joined
from encore_jax.data.fields import NoText, Unshown, is_empty
from encore_jax.data.messages import Message, parse_prompt
from encore_jax.data.rating_columns import ALSO, ROLES
from encore_jax.data.side_names import response_side
from encore_jax.errors import InputError

FIELD = "messages"
_PROMPTS, _RESPONSES = ({*ROLES[role], *ALSO[role]} for role in ("prompt", "response"))
_ANSWERS = {*_RESPONSES, "responses", "chosen", "rejected"}

_PRINTED = re.compile(r"\s*\[\s*\{\s*'(?:role|content)'\s*:")


def with_prompts(rows: Iterator[tuple[str, Mapping[str, object]]]) -> Iterator[tuple[str, Mapping[str, object]]]:
    """The rows, whose prompts may be messages and whose responses are texts, whatever chat data hold.

    ``messages`` is a prompt and the response at its end, or the prompt of a response beside it. Responses that are
    whole conversations, as ``chosen`` and ``rejected`` of TRL and UltraFeedback, are their last turns, and what they
    share belongs to the prompt; where that is not so, a `NoText` stands for them. Rows with a prompt of their own, or
    with ratings in this project's own format, stay as they are.

    Raises:
      InputError: there is no response: the last message of ``messages`` is not the assistant's; or a message is none.

    >>> chat = [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello!"}]
    >>> list(with_prompts([("row 1", {"messages": chat, "kind": 5})]))
    [('row 1', {'prompt': [{'role': 'user', 'content': 'Hi'}], 'response': 'Hello!', 'kind': 5})]
    >>> pair = {"chosen": chat, "rejected": [chat[0], {"role": "assistant", "content": "What?"}], "kind_chosen": 5}
    >>> list(with_prompts([("row 1", pair)]))[0][1]["rejected"]
    'What?'
    """
    for place, row in rows:
        yield place, _with_texts(place, _with_prompt(place, row))


def _with_prompt(place: str, row: Mapping[str, object]) -> Mapping[str, object]:
    """The row without its ``messages``."""
    names = _lowered(row)
    messages = _messages(row.get(names.get(FIELD, "")))
    if not messages or "ratings" in names or names.keys() & (_PROMPTS - _ANSWERS):
        return row
    rest = {name: value for name, value in row.items() if name != names[FIELD]}
    answered = names.keys() & _ANSWERS or any(response_side(name, ROLES["response"]) for name in names)
    if answered:
        whole = any(_messages(row[names[name]]) for name in names.keys() & {"chosen", "rejected"})
        return rest if whole else {"prompt": messages, **rest}  # conversations say it again, with an answer of one
    *prompt, last = messages
    if last.get("role") != "assistant" or not prompt:
        problem = (
            f"the last of its {len(messages)} messages is of {str(last.get('role'))[:40]!r}, so there is no response"
        )
        fix = 'end with the assistant\'s message that was rated, or write it into a field "response"'
        raise InputError(problem, where=f"{place}, field {names[FIELD]!r}", fix=fix)
    return {"prompt": prompt, "response": last.get("content"), **rest}


def _with_texts(place: str, row: Mapping[str, object]) -> Mapping[str, object]:
    """The row with a text for every response that is messages, and with messages for a prompt that is their JSON."""
    names = _lowered(row)
    if names.keys() & {"ratings", "responses"}:
        return row
    prompt = next((names[name] for name in names if name in _PROMPTS), None)
    answers = [own for name, own in names.items() if name in _ANSWERS or response_side(name, ROLES["response"])]
    for own in (*answers, *([] if prompt is None else [prompt])):
        _check_json(row[own], f"{place}, column {own!r}")
    if prompt is not None and isinstance(row[prompt], str) and (found := _messages(row[prompt])):
        row = {**row, prompt: found}
    chats = {own: found for own in answers if (found := _messages(row[own])) is not None}
    if not chats:
        return row
    rest = {name: value for name, value in row.items() if name != names.get(FIELD)}  # which says the same again
    if len(chats) < sum(not is_empty(row[own]) for own in answers):
        return {**rest, **dict.fromkeys(chats, NoText("in which one response is text and another one messages"))}
    told = None if prompt is None or is_empty(row[prompt]) else row[prompt]
    try:
        turns, texts = _shared({own: _parsed(chat, place, own) for own, chat in chats.items()}, told)
    except Unshown as error:
        return {**rest, **dict.fromkeys(chats, NoText(error.reason))}
    said = [{"role": turn.role, "content": turn.content} for turn in turns]
    return {**rest, **({} if not said else {prompt or "prompt": said}), **dict(zip(chats, texts, strict=True))}


def _check_json(value: object, where: str) -> None:
    """Refuses messages as Python prints them: who reads such a text as it is, is wrong and does not know it."""
    if isinstance(value, str) and _PRINTED.match(value):
        problem = f"holds messages as Python prints them, which is no JSON: {value[:40]!r}"
        raise InputError(
            problem, where=where, fix="write the column with json.dumps, or the table as JSON Lines or Parquet"
        )


def _parsed(chat: list[Mapping], place: str, column: str) -> tuple[Message, ...]:
    try:
        return parse_prompt(chat, column)
    except Unshown:
        raise
    except InputError as error:
        raise error.at(f"{place}, {error.where}") from None


def _shared(chats: Mapping[str, tuple[Message, ...]], prompt: object) -> tuple[tuple[Message, ...], list[str]]:
    """What comes before the last turns of all conversations, after the prompt given, and these turns' texts.

    Raises:
      Unshown: there is no such thing; its problem says why, as skipped rows are counted.
    """
    own = () if prompt is None else parse_prompt(prompt)
    context: tuple[Message, ...] = ()
    texts = []
    first = next(iter(chats.values()))
    for chat in chats.values():
        pair = common_context(first, chat)
        turns = pair if isinstance(pair, str) else joined(own, pair[0])
        if isinstance(turns, str):
            raise Unshown(turns, where="the row")
        context = turns
        texts.append(pair[2])
    return context, texts


def _lowered(row: Mapping[str, object]) -> dict[str, str]:
    return {name.strip().lower(): name for name in row if isinstance(name, str)}


def _messages(value: object) -> list[Mapping] | None:
    """Messages of a field, or of its text in JSON; a single one as a list; None for anything else."""
    if isinstance(value, str) and value.lstrip().startswith("["):
        try:
            value = json.loads(value)
        except ValueError:
            return None
    value = value.tolist() if hasattr(value, "tolist") else value
    value = [value] if isinstance(value, Mapping) else value
    if not isinstance(value, list | tuple) or not value:
        return None
    if not all(isinstance(one, Mapping) and {"role", "content"} <= one.keys() for one in value):
        return None
    return list(value)
