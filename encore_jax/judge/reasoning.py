"""What a model wrote while it was still reasoning is no answer: text between the marks that such models use."""

from __future__ import annotations

import re

OPEN_REASONING = "ended while still reasoning"

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
