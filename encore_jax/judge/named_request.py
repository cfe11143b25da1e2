"""How a server or a batch file is asked, from plain arguments: the wording by its name, a tokenizer by its place."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from encore_jax.data import locate
from encore_jax.data.comparison import Message
from encore_jax.errors import InputError
from encore_jax.judge.calls.call import ISOLATED
from encore_jax.judge.calls.prompts import SCHEMAS, call_prompt
from encore_jax.judge.calls.request import call_request_format
from encore_jax.judge.pairwise import PAIR_PROMPTS
from encore_jax.judge.prompts import PROMPTS, YES_NO_IRRELEVANT, Wording
from encore_jax.judge.reading import MOST_OTHER
from encore_jax.judge.request import MOST_TOP, Render, RequestFormat, request_format
from encore_jax.text.chat_template import takes_system_role
from encore_jax.text.rendering import render as render_chat
from encore_jax.text.tokenizer import load_tokenizer


def wording(
    prompt: str = YES_NO_IRRELEVANT.name, *, system_role: bool = True, rules_per_call: int = ISOLATED
) -> Wording:
    """The wording of that name, of ratings or of verdicts on pairs.

    Args:
      prompt: a name of `encore_jax.judge.prompts.PROMPTS` or `encore_jax.judge.pairwise.PAIR_PROMPTS`.
      system_role: False puts the instructions into the user's turn.
      rules_per_call: other than 1: the wording that asks about several rules what this one asks about one.

    Raises:
      InputError: there is no wording of that name.

    >>> wording("numeric.1").answers, wording("numeric.1", system_role=False).name
    ((), 'numeric.1+user')
    """
    known = PROMPTS | PAIR_PROMPTS
    if prompt not in known:
        raise InputError(f"{prompt!r} is unknown", where="prompt", fix=f"use one of {', '.join(known)}")
    chosen = known[prompt] if rules_per_call == ISOLATED else call_prompt(known[prompt])
    return chosen if system_role else chosen.in_user_turn()


def request_by_name(
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
    rules_per_call: int = ISOLATED,
    structured: str = SCHEMAS[0],
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
      rules_per_call: how many rules are asked about in one call; 1 asks about each by itself, 0 about all at once.
      structured: of several rules in a call, how the server is told the answer's shape, see
        `encore_jax.judge.calls.prompts.SCHEMAS`.

    Raises:
      InputError: an option that cannot be.
    """
    chosen, template = wording(prompt, system_role=system_role), None
    if api == "completions" and tokenizer:
        template = _renderer(tokenizer, offline)
        if not takes_system_role(_tokenizer(tokenizer, offline)):
            chosen = chosen.in_user_turn()
    options = {"top": top, "extra": extra, "revision": revision, "most_other": most_other}
    if rules_per_call == ISOLATED:
        return request_format(chosen, model, api=api, render=template, **options)
    options |= {"rules_per_call": rules_per_call, "structured": structured}
    return call_request_format(call_prompt(chosen), model, api=api, render=template, **options)


def token_counter(tokenizer: str, *, offline: bool = False) -> Callable[[str], int] | None:
    """Counts a text's tokens by a tokenizer (a folder, a .gguf file or a uri); None without one."""
    if not tokenizer:
        return None
    loaded = _tokenizer(tokenizer, offline)
    return lambda text: len(loaded(text, add_special_tokens=False)["input_ids"])


def _renderer(uri: str, offline: bool) -> Render:
    def ids(messages: Sequence[Message]) -> list[int]:
        return render_chat(_tokenizer(uri, offline), messages)

    return ids


@functools.lru_cache(maxsize=1)
def _tokenizer(uri: str, offline: bool):
    return load_tokenizer(locate(uri, offline=offline))
