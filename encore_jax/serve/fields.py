"""Which fields a request may have: nothing that could change a score is ignored.

A field is read, or says nothing about the score (`SILENT`), or asks for something that is not done (`NOT_DONE`) and is
taken only at the value that means what is done; null always does. Every other field is refused by name, for whoever
sends it expects it to matter.
"""

from __future__ import annotations

import difflib
from collections.abc import Collection, Mapping
from typing import Any

from encore_jax.errors import InputError

SILENT = frozenset({"user", "request_id", "rid", "cache_salt", "metadata"})
"""Who asks, and where vLLM and SGLang keep what they have computed."""

NOT_DONE: dict[str, tuple[tuple[Any, ...], str]] = {
    "add_generation_prompt": ((False,), "a score is read at the end of the answer"),
    "add_special_tokens": ((False,), "the chat template's own special tokens are used, each once"),
    "chat_template": ((), "the model's own chat template is used; its scores mean nothing in another one"),
    "chat_template_kwargs": (({},), "the chat template is rendered as in training"),
    "continue_final_message": ((False,), "a score is read at the end of the answer"),
    "dimensions": ((), "there is one number for each rule, or one reward"),
    "documents": (([],), "the chat template is rendered without documents"),
    "embed_dtype": (("float32", "float"), "numbers are given as JSON"),
    "encoding_format": (("float",), "numbers are given as JSON"),
    "endianness": (("native",), "numbers are given as JSON"),
    "images": (([],), "only text is scored"),
    "media_io_kwargs": (({},), "only text is scored"),
    "mm_processor_kwargs": (({},), "only text is scored"),
    "normalize": ((False,), "scores are raw; use_activation gives their sigmoid"),
    "padding": (("do_not_pad", False), "padding cannot change a score"),
    "priority": ((0,), "requests are answered in the order in which they come"),
    "softmax": ((False,), "scores are raw; use_activation gives their sigmoid"),
    "stream": ((False,), "an answer comes at once"),
    "task": (("classify",), "only the task classify is served"),
    "tools": (([],), "the chat template is rendered without tools"),
    "truncate_prompt_tokens": ((), "nothing is truncated here"),
    "truncation": ((False,), "nothing is truncated here"),
    "truncation_side": ((), "nothing is truncated here"),
}
"""By name: values that mean what is done, and why no other is."""

IN_MESSAGE: dict[str, tuple[tuple[Any, ...], str]] = {
    "annotations": (([],), "only role and content are rendered"),
    "audio": ((), "only text is scored"),
    "function_call": ((), "calls of tools are not rendered"),
    "name": ((), "only role and content are rendered"),
    "reasoning": (("",), "what the model thought is not rendered; put it into content if it is to be scored"),
    "reasoning_content": (("",), "what the model thought is not rendered; put it into content if it is to be scored"),
    "refusal": ((), "put it into content if it is to be scored"),
    "tool_call_id": ((), "calls of tools are not rendered"),
    "tool_calls": (([],), "calls of tools are not rendered"),
}
"""The same of a message."""


def check_fields(body: Mapping[str, Any], known: Collection[str], where: str = "", **more: Mapping) -> None:
    """Refuses fields that are not read and might have changed a score.

    Args:
      body: a JSON object.
      known: fields that are read.
      where: what stands before a field's name in an error, e.g. ``"items[0]."``.
      more: ``not_done`` instead of `NOT_DONE`.

    Raises:
      InputError: naming the field.

    >>> check_fields({"input": "Hi", "user": "me", "softmax": False, "tools": None}, {"input"})
    >>> check_fields({"input": "Hi", "softmax": True}, {"input"})
    Traceback (most recent call last):
    encore_jax.errors.InputError: softmax: scores are raw; use_activation gives their sigmoid. Fix: leave it out
    """
    not_done = more.get("not_done", NOT_DONE)
    for name, value in body.items():
        if name in known or name in SILENT:
            continue
        if name not in not_done:
            near = difflib.get_close_matches(name[:100], [*known, *not_done], 1)
            fix = f"did you mean {near[0]}?" if near else f"leave it out; known: {', '.join(sorted(known))}"
            raise InputError("not a field of this request, and not ignored", where=f"{where}{name[:100]}", fix=fix)
        harmless, reason = not_done[name]
        if value is not None and not any(type(value) is type(one) and value == one for one in harmless):
            raise InputError(reason, where=f"{where}{name}", fix="leave it out")


def check_messages(value: Any, where: str) -> None:
    """Refuses fields of messages that are not rendered; what is no list of messages is left to others.

    Raises:
      InputError: naming the field.

    >>> check_messages([{"role": "assistant", "content": "A", "reasoning_content": None}], "messages")
    """
    for i, message in enumerate(value if isinstance(value, list) else ()):
        if not isinstance(message, Mapping):
            continue
        check_fields(message, ("role", "content"), f"{where}[{i}].", not_done=IN_MESSAGE)
        parts = message.get("content")
        for j, part in enumerate(parts if isinstance(parts, list) else ()):
            if isinstance(part, Mapping) and part.get("type") == "text":
                check_fields(part, ("type", "text", "cache_control"), f"{where}[{i}].content[{j}].", not_done={})
