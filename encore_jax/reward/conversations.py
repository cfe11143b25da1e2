"""Prompts and responses as callers hold them, read into what the scorer takes.

Strict, because what is no text has a spelling in most chat templates: a missing response would be scored as "None", and
the characters of a text that stands where a list is expected as a response each.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence, Sized
from typing import Any

from encore_jax.data.comparison import Message, parse_prompt
from encore_jax.errors import InputError
from encore_jax.reward.sequences import Text

Prompt = str | Sequence[Message] | Sequence[dict]


def grouped_texts(prompts: Sequence[Any], responses: Sequence[Sequence[Any]]) -> list[Text]:
    """Every response behind its prompt, prompt by prompt.

    Args:
      prompts: texts, or lists of messages.
      responses: of each prompt a list of texts, or of lists of one assistant message.

    Raises:
      InputError: as many lists of responses as prompts are needed; or what is no text, which is named by its place.

    >>> [response for _, response in grouped_texts(["Hi", "Yo"], [["a", "b"], ["c"]])]
    ['a', 'b', 'c']
    >>> grouped_texts(["Hi"], ["abc"])
    Traceback (most recent call last):
    encore_jax.errors.InputError: responses[0]: expected a list, found str. Fix: give each prompt a list of responses
    """
    per_prompt = "give each prompt a list of responses"
    _check_list(prompts, "prompts", "write a list of prompts, and a list of responses to each")
    _check_list(responses, "responses", per_prompt)
    if len(prompts) != len(responses):
        problem = f"{len(prompts)} prompts and {len(responses)} lists of responses"
        raise InputError(problem, where="scores", fix=per_prompt)
    texts: list[Text] = []
    for i, (prompt, group) in enumerate(zip(prompts, responses, strict=True)):
        _check_list(group, f"responses[{i}]", per_prompt)
        messages = prompt_messages(prompt, f"prompts[{i}]")
        texts += [(messages, completion_text(text, f"responses[{i}][{j}]")) for j, text in enumerate(group)]
    return texts


def texts_of(prompts: Sequence[Any], completions: Sequence[Any], read_prompt: Callable[[Any], Prompt]) -> list[Text]:
    """A completion behind each prompt.

    Raises:
      InputError: a prompt or a completion is neither text nor messages.
    """
    return [
        (prompt_messages(read_prompt(prompt)), completion_text(completion))
        for prompt, completion in zip(prompts, completions, strict=True)
    ]


def completion_text(completion: Any, where: str = "completion") -> str:
    """A completion as text: itself, or the content of the one assistant message in its list.

    Raises:
      InputError: it is neither.

    >>> completion_text("No."), completion_text([{"role": "assistant", "content": "No."}])
    ('No.', 'No.')
    """
    if isinstance(completion, str):
        try:
            return Message("assistant", completion).content
        except InputError as error:
            raise InputError(error.problem, where=where, fix=error.fix) from None
    messages = prompt_messages(completion, where)
    if len(messages) != 1 or messages[0].role != "assistant":
        raise InputError("not one assistant message", where=where, fix="give a text, or one message")
    return messages[0].content


def prompt_messages(prompt: Any, where: str = "prompt") -> tuple[Message, ...]:
    """A prompt as messages: a text is one of the user.

    Raises:
      InputError: it is neither text nor messages.

    >>> prompt_messages((Message("user", "Hi"),)) == prompt_messages("Hi")
    True
    """
    if isinstance(prompt, Sequence) and not isinstance(prompt, str | bytes):
        if all(isinstance(turn, Message) for turn in prompt):
            return tuple(prompt)
    try:
        return parse_prompt(prompt, where)
    except InputError as error:
        if isinstance(prompt, str):  # said of a message's content, wherever it is
            raise InputError(error.problem, where=where, fix=error.fix) from None
        raise


def _check_list(value: Any, where: str, fix: str) -> None:
    """Raises InputError unless the value is a list, an array, or something else with a length; a text is none."""
    if isinstance(value, str | bytes | Mapping) or not (isinstance(value, Iterable) and isinstance(value, Sized)):
        raise InputError(f"expected a list, found {type(value).__name__}", where=where, fix=fix)
