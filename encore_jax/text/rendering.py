"""Conversations as token ids, by the chat template alone, and what the template hides of them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from absl import logging

from encore_jax.text.chat_template import (
    Rendered,
    TemplateRefusal,
    Turn,
    render_chats,
)
from encore_jax.text.tokenizer import token_ids

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


class Tokens(NamedTuple):
    """A rendered conversation.

    Attributes:
      ids: of its tokens.
      hidden: says which messages' text the chat template did not print; "" if it printed all.
    """

    ids: list[int]
    hidden: str


def render_noting(
    tokenizer: PreTrainedTokenizerBase,
    chats: Iterable[Iterable[Mapping[str, Any] | Any]],
    *,
    generation: bool,
) -> list[Tokens]:
    """Token ids of conversations, by the chat template alone, and what it hides of them.

    BOS and end markers are exactly the template's; nothing is added afterwards. See `render_chats`.

    Args:
      tokenizer: with a chat template.
      chats: of ``{"role", "content"}`` mappings, or objects with these attributes.
      generation: whether each ends with the beginning of an answer.

    Raises:
      InputError: the tokenizer has no chat template, or one that cannot be used.
      TemplateRefusal: the template refuses the messages.
    """
    rendered = render_chats(tokenizer, [turns_of(chat) for chat in chats], generation=generation)
    ids = token_ids(tokenizer, [one.text for one in rendered])
    return [Tokens(tokens, one.hidden) for tokens, one in zip(ids, rendered, strict=True)]


def render_each(
    tokenizer: PreTrainedTokenizerBase,
    chats: Sequence[Sequence[Turn]],
    start: int,
    refuse: Callable[[int, TemplateRefusal], None],
) -> list[Tokens | None]:
    """`render_noting` of whole conversations, in one call of the tokenizer; None for those that are refused.

    Args:
      tokenizer: with a chat template.
      chats: of messages, see `whole`.
      start: number of the first conversation.
      refuse: told of every refusal, by the conversation's number.

    Raises:
      InputError: the tokenizer has no chat template, or one that cannot be used.
    """
    rendered: dict[int, Rendered] = {}
    for i, chat in enumerate(chats):
        try:
            [rendered[i]] = render_chats(tokenizer, [chat], generation=False)
        except TemplateRefusal as error:
            refuse(start + i, error)
    try:
        ids = token_ids(tokenizer, [one.text for one in rendered.values()]) if rendered else []
    except TemplateRefusal:  # one of them
        ids = []
        for i, one in rendered.items():
            try:
                ids += token_ids(tokenizer, [one.text])
            except TemplateRefusal as error:
                refuse(start + i, error)
                ids.append(None)
    found = dict(zip(rendered, ids, strict=True))
    return [None if found.get(i) is None else Tokens(found[i], rendered[i].hidden) for i in range(len(chats))]


def render(
    tokenizer: PreTrainedTokenizerBase,
    messages: Iterable[Mapping[str, Any] | Any],
    response: str | None = None,
) -> list[int]:
    """Token ids of a conversation; see `render_noting`. The first text that is hidden is logged.

    Args:
      tokenizer: with a chat template.
      messages: ``{"role", "content"}`` mappings, or objects with these attributes.
      response: the assistant's answer, appended as a last message; None: end with the template's
        generation prompt. The result begins every answer's ids, but where the tokenizer joins the prompt's end with the
        answer's beginning; trees go by the tokens that sequences share, whatever they are.

    Raises:
      InputError: the tokenizer has no chat template, or one that cannot be used.
      TemplateRefusal: the template refuses the messages.
    """
    [tokens] = render_noting(tokenizer, [whole(messages, response)], generation=response is None)
    warn_of_hidden(tokens.hidden)
    return tokens.ids


def render_prompts(
    tokenizer: PreTrainedTokenizerBase, chats: Iterable[Iterable[Mapping[str, Any] | Any]]
) -> list[list[int]]:
    """``render(tokenizer, chat)`` of many chats in one call, several times as fast.

    Raises:
      InputError: as ``render``.
    """
    rendered = render_noting(tokenizer, chats, generation=True)
    for one in rendered:
        warn_of_hidden(one.hidden)
    return [one.ids for one in rendered]


def warn_of_hidden(hidden: str) -> None:
    """Logs the first hidden text of this process, for those who do not count them."""
    if hidden:
        logging.log_first_n(logging.WARNING, "%s; further ones are not logged", 1, hidden)


def whole(messages: Iterable[Mapping[str, Any] | Any], response: str | None) -> list[Turn]:
    """A conversation with its answer, if there is one, as the chat template takes it."""
    turns = turns_of(messages)
    return turns if response is None else [*turns, {"role": "assistant", "content": response}]


def turns_of(messages: Iterable[Mapping[str, Any] | Any]) -> list[Turn]:
    """Messages as the chat template takes them."""
    return [dict(m) if isinstance(m, Mapping) else {"role": m.role, "content": m.content} for m in messages]
