"""What comes before a response, put together from the fields that a row spreads it over: system prompt, history,
prompt, and the turns that two conversations share.

Nothing is dropped: parts that follow each other are joined, a part that says again what another says is passed over,
and where neither is possible the row makes no record, for a reason.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from encore_jax.data.fields import Unshown, is_empty
from encore_jax.data.messages import Message, Unread, parse_prompt

SYSTEM_FIELDS = ("system", "system_prompt", "system_message")
CONTEXT_FIELDS = (*SYSTEM_FIELDS, "history")
"""Fields that `with_context` reads."""

Turns = tuple[Message, ...]


def with_context(row: Mapping, prompt: Sequence[Message], unread: Unread = None) -> Turns:
    """The prompt with the row's system prompt and earlier conversation before it.

    Raises:
      Unshown: they contradict each other, or are of a form that is not known.

    >>> [m.role for m in with_context({"system": "Be brief.", "history": [["Hi", "Hello"]]}, parse_prompt("Bye"))]
    ['system', 'user', 'assistant', 'user']
    """
    turns = (*_history(row.get("history"), unread), *prompt)
    for name in SYSTEM_FIELDS:
        if is_empty(row.get(name)):
            continue
        if not isinstance(row[name], str):
            raise Unshown(f"with a field {name!r} that is no text", where=name)
        system = Message("system", row[name])
        if not turns or turns[0].role != "system":
            turns = (system, *turns)
        elif turns[0].content.strip() != system.content.strip():
            raise Unshown("with two different system prompts", where=name, fix="keep one of them")
    return turns


def common_context(
    chosen: Sequence[Message], rejected: Sequence[Message]
) -> tuple[tuple[Message, ...], str, str] | str:
    """Two conversations -> (prompt, chosen answer, rejected answer), or the reason why not.

    The conversations must agree turn by turn up to their last turns, which are the answers.

    >>> hi = Message("user", "Hi")
    >>> common_context([hi, Message("assistant", "Hello!")], [hi, Message("assistant", "What?")])
    ((Message(role='user', content='Hi'),), 'Hello!', 'What?')
    >>> common_context([hi, Message("assistant", "Hello!")], [hi])
    'not ending with an assistant turn'
    """
    for turns in (chosen, rejected):
        if not turns or turns[-1].role != "assistant":
            return "not ending with an assistant turn"
    if list(chosen[:-1]) != list(rejected[:-1]):
        return "not sharing their context"
    return tuple(chosen[:-1]), chosen[-1].content, rejected[-1].content


def joined(prompt: Sequence[Message], context: Sequence[Message]) -> Turns | str:
    """The prompt followed by what two conversations share; or the reason why they do not go together.

    A prompt that the conversations hold already (TRL's and UltraFeedback's first question) is not said twice.

    >>> q, a = Message("user", "Q"), Message("assistant", "A")
    >>> joined([q], [q, a, q]) == joined([], [q, a, q]) == joined([q], [a, q]) == (q, a, q)
    True
    >>> joined([Message("user", "Other")], [q])
    'with a prompt that contradicts its conversations'
    """
    prompt, context = tuple(prompt), tuple(context)
    if not context or not prompt:
        return prompt or context
    begins = [turn.role for turn in context if turn.role != "system"][:1] != ["assistant"]
    if begins and any(_same(prompt, context[i : i + len(prompt)]) for i in range(len(context) - len(prompt) + 1)):
        return context
    if prompt[-1].role != context[0].role and all(turn.role != "system" for turn in context):
        return prompt + context
    return "with a prompt that contradicts its conversations"


def _same(turns: Turns, others: Turns) -> bool:
    return len(turns) == len(others) and all(
        a.role == b.role and a.content.strip() == b.content.strip() for a, b in zip(turns, others, strict=True)
    )


def _history(value: object, unread: Unread) -> Turns:
    """Earlier turns: messages, or pairs of a question and an answer."""
    if is_empty(value):
        return ()
    if isinstance(value, list) and all(isinstance(turn, Mapping) for turn in value):
        return parse_prompt(value, "history", unread)
    pairs = (
        [turn for turn in value if isinstance(turn, list | tuple) and len(turn) == 2] if isinstance(value, list) else []
    )
    if not pairs or len(pairs) < len(value) or not all(isinstance(text, str) for turn in pairs for text in turn):
        raise Unshown("with a field 'history' of unknown form", where="history", fix="write a list of messages")
    return tuple(Message(role, text) for turn in value for role, text in zip(("user", "assistant"), turn, strict=True))
