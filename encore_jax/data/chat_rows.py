"""Rows whose prompt, or prompt and response, stand in one field of messages, as chat data have them."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping

from encore_jax.data.rating_columns import ALSO, ROLES
from encore_jax.errors import InputError

FIELD = "messages"
_TEXTS = {name for role in ("prompt", "response") for name in (*ROLES[role], *ALSO[role])}
_ANSWERS = {*ROLES["response"], *ALSO["response"], "responses", "chosen", "rejected"}


def with_prompts(rows: Iterator[tuple[str, Mapping[str, object]]]) -> Iterator[tuple[str, Mapping[str, object]]]:
    """The rows, in which ``messages`` is a prompt and the response at its end, or the prompt of a response beside it.

    Rows with a prompt of their own, or with ratings in this project's own format, stay as they are.

    Raises:
      InputError: there is no response: the last message is not the assistant's.

    >>> chat = [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello!"}]
    >>> list(with_prompts([("row 1", {"messages": chat, "kind": 5})]))
    [('row 1', {'prompt': [{'role': 'user', 'content': 'Hi'}], 'response': 'Hello!', 'kind': 5})]
    """
    for place, row in rows:
        yield place, _with_prompt(place, row)


def _with_prompt(place: str, row: Mapping[str, object]) -> Mapping[str, object]:
    names = {name.strip().lower(): name for name in row if isinstance(name, str)}
    messages = _messages(row.get(names.get(FIELD, "")))
    if not messages or "ratings" in names or names.keys() & (_TEXTS - _ANSWERS):
        return row
    rest = {name: value for name, value in row.items() if name != names[FIELD]}
    answered = names.keys() & _ANSWERS or any(name.startswith(("response_", "response ", "answer_")) for name in names)
    if answered:
        return {"prompt": messages, **rest}
    *prompt, last = messages
    if last.get("role") != "assistant" or not prompt:
        problem = (
            f"the last of its {len(messages)} messages is of {str(last.get('role'))[:40]!r}, so there is no response"
        )
        fix = 'end with the assistant\'s message that was rated, or write it into a field "response"'
        raise InputError(problem, where=f"{place}, field {names[FIELD]!r}", fix=fix)
    return {"prompt": prompt, "response": last.get("content"), **rest}


def _messages(value: object) -> list[Mapping] | None:
    """Messages of a field, or of its text in JSON; None for anything else."""
    if isinstance(value, str) and value.lstrip().startswith("["):
        try:
            value = json.loads(value)
        except ValueError:
            return None
    value = value.tolist() if hasattr(value, "tolist") else value
    if not isinstance(value, list | tuple) or not all(isinstance(one, Mapping) and "content" in one for one in value):
        return None
    return list(value)
