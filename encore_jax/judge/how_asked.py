"""How a judge is asked, from plain arguments: its wording, its requests, and what a question costs in tokens."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from encore_jax.data import locate
from encore_jax.data.comparison import Message
from encore_jax.errors import InputError
from encore_jax.judge.pairwise import PAIR_PROMPTS
from encore_jax.judge.prompts import PROMPTS, YES_NO_IRRELEVANT, Wording
from encore_jax.judge.question import Question
from encore_jax.judge.reading import MOST_OTHER
from encore_jax.judge.request import MOST_TOP, Render, RequestFormat, request_format
from encore_jax.rules import Rule
from encore_jax.text.chat_template import takes_system_role
from encore_jax.text.rendering import render
from encore_jax.text.tokenizer import load_tokenizer

OTHER = Rule("other", "~")
"""Stands for any other rule about the same conversation, to see what two questions share."""


def wording(prompt: str = YES_NO_IRRELEVANT.name, *, system_role: bool = True) -> Wording:
    """The wording of that name, of ratings or of verdicts on pairs.

    Args:
      prompt: a name of `encore_jax.judge.prompts.PROMPTS` or `encore_jax.judge.pairwise.PAIR_PROMPTS`.
      system_role: False puts the instructions into the user's turn.

    Raises:
      InputError: there is no wording of that name.

    >>> wording("numeric.1").answers, wording("numeric.1", system_role=False).name
    ((), 'numeric.1+user')
    """
    known = PROMPTS | PAIR_PROMPTS
    if prompt not in known:
        raise InputError(f"{prompt!r} is unknown", where="prompt", fix=f"use one of {', '.join(known)}")
    return known[prompt] if system_role else known[prompt].in_user_turn()


def asking(
    model: str,
    *,
    prompt: str = YES_NO_IRRELEVANT.name,
    system_role: bool = True,
    api: str = "chat",
    tokenizer: str = "",
    top: int = MOST_TOP,
    extra: Mapping[str, Any] | None = None,
    revision: str = "",
    most_other: float = MOST_OTHER,
    offline: bool = False,
) -> RequestFormat:
    """How a server or a batch file is asked; see `request_format`.

    Args:
      model: its name on the server.
      prompt, system_role: the wording, see `wording`. Where a tokenizer's template has no system role, instructions go
        into the user's turn.
      api: "chat", or "completions" for the raw log-probabilities of the next token.
      tokenizer: of api "completions": a folder, a .gguf file or a uri whose chat template makes the prompt.
      top, extra, revision, most_other: see `request_format`.
      offline: fetch no tokenizer.

    Raises:
      InputError: an option that cannot be.
    """
    chosen, template = wording(prompt, system_role=system_role), None
    if api == "completions" and tokenizer:
        template = _renderer(tokenizer, offline)
        if not takes_system_role(_tokenizer(tokenizer, offline)):
            chosen = chosen.in_user_turn()
    options = {"top": top, "extra": extra, "revision": revision, "most_other": most_other}
    return request_format(chosen, model, api=api, render=template, **options)


def shared_texts(prompt: Wording, question: Any) -> tuple[str, str]:
    """What a question shows, and what another one about the same conversation would ("" if there is no such)."""
    whole = _text(prompt.ask(question))
    return whole, _text(prompt.ask(question._replace(rule=OTHER))) if isinstance(question, Question) else ""


def token_counter(tokenizer: str, *, offline: bool = False) -> Callable[[str], int] | None:
    """Counts a text's tokens by a tokenizer (a folder, a .gguf file or a uri); None without one."""
    if not tokenizer:
        return None
    loaded = _tokenizer(tokenizer, offline)
    return lambda text: len(loaded(text, add_special_tokens=False)["input_ids"])


def _text(messages: Sequence[Message]) -> str:
    return "\n".join(message.content for message in messages)


def _renderer(uri: str, offline: bool) -> Render:
    def ids(messages: Sequence[Message]) -> list[int]:
        return render(_tokenizer(uri, offline), messages)

    return ids


@functools.lru_cache(maxsize=1)
def _tokenizer(uri: str, offline: bool):
    return load_tokenizer(locate(uri, offline=offline))
