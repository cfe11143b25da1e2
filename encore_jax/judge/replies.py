"""What a model said and why it stopped, from a reply of any dialect of the OpenAI protocol.

A chat or a plain completion, from a server or from a batch file. Whatever a reply holds, reading it never raises: what
is of another kind than declared reads as absent, or has a problem of its own name. What a model wrote while it was
still reasoning, between the marks that such models use, is no answer.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import NamedTuple

from encore_jax.terminal_text import cut, one_line

LIMITS = ("max_tokens", "max_completion_tokens", "max_output_tokens", "max_new_tokens", "n_predict")
"""Fields of a request that limit the tokens of an answer, by the server's dialect."""

NO_ANSWER = "no answer in the reply"
NO_TEXT = "no text"
FILTERED = "withheld by a content filter"
CALLED_TOOL = "called a tool"
REFUSED = "refused to answer"
ONLY_REASONING = "reasoning and no answer"
NO_LOGPROBS = "no log-probabilities"
BAD_LOGPROBS = "malformed log-probabilities"
OPEN_REASONING = "ended while still reasoning"

_ENDED = (
    "stop", "eos", "eos_token", "end_turn", "end_of_turn", "stop_sequence", "stop_token", "stop_string", "completed",
    "complete", "finished", "finish", "done", "end", "end_of_text",
)  # fmt: skip
_CUT = (
    "length", "max_tokens", "max_length", "model_length", "max_output_tokens", "max_new_tokens", "token_limit", "limit",
    "max_completion_tokens", "model_context_window_exceeded", "context_length", "incomplete",
)  # fmt: skip
_FILTERED = (
    "content_filter", "content_filtered", "content-filter", "safety", "recitation", "blocklist", "prohibited_content",
    "spii", "guardrail_intervened", "moderation", "sensitive",
)  # fmt: skip
_TOOL = ("tool_calls", "tool_call", "tool_use", "function_call", "tool")
_REFUSED = ("refusal", "refused")
_KNOWN = (*_ENDED, *_CUT, *_FILTERED, *_TOOL, *_REFUSED)
_REASONING_FIELDS = ("reasoning_content", "reasoning", "thinking", "reasoning_text", "thoughts")
_TEXT_PARTS, _REASONING_PARTS = ("text", "output_text"), ("thinking", "reasoning", "redacted_thinking")

_WORDS = r"think|thinks|thinking|thought|thoughts|reason|reasoning|analysis|scratchpad|reflection|internal_monologue"
_OPENING = (
    rf"<\s*(?:\w+:)?(?:{_WORDS})(?:\s[^<>]*)?>"
    r"|\[think(?:ing)?\]"
    r"|◁think▷"
    r"|<\|(?:begin_of_thought|start_thinking|begin_of_thinking|thinking|think)\|>"
    r"|<\|channel\|>\s*(?:analysis|commentary|thought)\b(?:[^<]*<\|message\|>)?|<\|channel>thought\b"
)
_CLOSING = (
    rf"<\s*/\s*(?:\w+:)?(?:{_WORDS})\s*>"
    r"|\[/think(?:ing)?\]"
    r"|◁/think▷"
    r"|<\|(?:end_of_thought|end_thinking|end_of_thinking|/thinking|/think)\|>"
    r"|<\|channel\|>\s*final\b(?:[^<]*<\|message\|>)?|<channel\|>"
)
_MARK = re.compile(rf"(?P<opens>{_OPENING})|(?P<closes>{_CLOSING})|<\|(?:end|start|return|message)\|>", re.IGNORECASE)


class ReplyContent(NamedTuple):
    """Attributes:
    text: what the model wrote outside of reasoning; None where the reply holds no text.
    whole: the same with reasoning, as evidence.
    problem: "" or why no rating must be read from the text.
    first_problem: "" or why none must be read from the first token.
    """

    text: str | None
    whole: str
    problem: str
    first_problem: str


def read_reply(body: object, limit: int | None = None) -> ReplyContent:
    """What a model said, and whether it is an answer.

    Args:
      body: a reply's JSON.
      limit: tokens that the answer might have; None where the server decides.

    >>> body = {"choices": [{"message": {"content": "I would rate this 0."}, "finish_reason": "length"}]}
    >>> read_reply(body, 8).problem
    'cut off after 8 tokens'
    """
    choice = choice_of(body)
    if choice is None:
        return ReplyContent(None, "", NO_ANSWER, NO_ANSWER)
    message = choice.get("message")
    message = message if isinstance(message, Mapping) else choice
    whole, reasoned = _content(message.get("content", message.get("text")))
    reasoned = reasoned or any(_holds_text(message.get(name)) for name in _REASONING_FIELDS)
    text, still_reasoning = without_reasoning(whole) if whole is not None else (None, False)
    stop = _stop(choice, message)
    if whole is None and not stop:
        stop = ONLY_REASONING if reasoned else NO_TEXT
    first = stop if stop != NO_TEXT else ""
    if reasoned and not stop and not _shows_answer(whole, choice):
        first = ONLY_REASONING
    short = _is_cut(choice, body, limit)
    if short and stop in ("", NO_TEXT, ONLY_REASONING):
        stop = f"cut off after {limit:,} tokens" if limit else "cut off at the server's limit of tokens"
    if not stop and still_reasoning:
        stop = OPEN_REASONING
    if not stop and not text.strip() and (reasoned or text != whole):
        stop = ONLY_REASONING
    return ReplyContent(text, whole or "", stop, first)


def choice_of(body: object) -> Mapping | None:
    """The first answer of a reply: the one of index 0, wherever it stands."""
    choices = body.get("choices") if isinstance(body, Mapping) else None
    known = [choice for choice in choices if isinstance(choice, Mapping)] if isinstance(choices, list) else []
    first = [choice for choice in known if choice.get("index") == 0]
    return (first or known or [None])[0]


def _content(content: object) -> tuple[str | None, bool]:
    """The text of a message's content, given as text or in parts, and whether a part is reasoning."""
    if isinstance(content, str):
        return content, False
    if not isinstance(content, list):
        return None, False
    parts = [part if isinstance(part, Mapping) else {"text": part} for part in content]
    kinds = [part.get("type", "text") for part in parts]
    texts = [part.get("text") for part, kind in zip(parts, kinds, strict=True) if kind in _TEXT_PARTS]
    known = all(isinstance(text, str) for text in texts) and all(
        kind in _TEXT_PARTS + _REASONING_PARTS for kind in kinds
    )
    return ("".join(texts) if texts and known else None), any(kind in _REASONING_PARTS for kind in kinds)


def _holds_text(value: object) -> bool:
    return bool(value.strip()) if isinstance(value, str) else isinstance(value, list | Mapping) and bool(value)


def _reason(choice: Mapping) -> object:
    """Why an answer ended, by whatever name; None where the server does not say."""
    for name in ("finish_reason", "done_reason", "stop_reason"):
        reason = choice.get(name)
        reason = reason.get("type", reason) if isinstance(reason, Mapping) else reason
        reason = reason.strip().lower() if isinstance(reason, str) else reason
        if reason is not None and (name != "stop_reason" or reason in _KNOWN):  # which may also be a stop string
            return reason
    return None


def _stop(choice: Mapping, message: Mapping) -> str:
    """Why nothing must be read from an answer that was not cut off; "" if it may."""
    reason = _reason(choice)
    if reason in (None, "", *_ENDED, *_CUT):
        stop = ""
    elif reason in _FILTERED:
        return FILTERED
    elif reason in _REFUSED:
        return REFUSED
    elif reason in _TOOL:
        return CALLED_TOOL
    else:
        return f"ended for {cut(one_line(reason), 40)!r}"
    if _holds_text(message.get("tool_calls")) or _holds_text(message.get("function_call")):
        return CALLED_TOOL
    if _holds_text(message.get("refusal")):
        return REFUSED
    return stop


def _is_cut(choice: Mapping, body: Mapping, limit: int | None) -> bool:
    """Whether an answer was cut off; where no reason is given, it was if it has all the tokens it might have."""
    reason = _reason(choice)
    if reason not in (None, ""):
        return reason in _CUT
    usage = body.get("usage")
    used = usage.get("completion_tokens") if isinstance(usage, Mapping) else None
    return limit is not None and type(used) is int and used >= limit


def _shows_answer(text: str | None, choice: Mapping) -> bool:
    """Whether the first listed token begins the text, though there was reasoning in a field of its own."""
    logprobs = choice.get("logprobs")
    content = logprobs.get("content") if isinstance(logprobs, Mapping) else None
    first = (
        content[0].get("token") if isinstance(content, list) and content and isinstance(content[0], Mapping) else None
    )
    return bool(text and isinstance(first, str) and first.strip() and text.strip().startswith(first.strip()))


def without_reasoning(text: str) -> tuple[str, bool]:
    """The text outside of reasoning, and whether reasoning began that never ended.

    Marks count in any case and nested. An end without a beginning belongs to a template that had begun it: all before
    it was reasoning.

    >>> without_reasoning("<think>Maybe 0.3</think>0.7"), without_reasoning("so 0.3 it is</think>0.7")
    (('0.7', False), ('0.7', False))
    >>> without_reasoning("<Thinking>The response gets 1 for"), without_reasoning("0.7")
    (('', True), ('0.7', False))
    """
    outside, depth, end = [], 0, 0
    for mark in _MARK.finditer(text):
        if mark["opens"]:
            if not depth:
                outside.append(text[end : mark.start()])
            depth = 1 if "channel" in mark[0].lower() else depth + 1
        elif mark["closes"]:
            if not depth:
                outside.clear()
            depth = 0 if "channel" in mark[0].lower() else max(0, depth - 1)
            end = mark.end()
    if not depth:
        outside.append(text[end:])
    return "".join(outside), depth > 0
