"""How a question becomes a request of the OpenAI protocol, and its reply an answer.

The same for a server and for batch files, for ratings and for verdicts on pairs.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from encore_jax.data.comparison import Message
from encore_jax.errors import InputError
from encore_jax.judge.prompts import Wording
from encore_jax.judge.question import Answer, Identity
from encore_jax.judge.reading import read_logprobs, reply_logprobs, reply_text, unparsable

CHAT, COMPLETIONS = "/v1/chat/completions", "/v1/completions"
MOST_TOP = 20
"""Servers list at most so many likely tokens."""

Render = Callable[[Sequence[Message]], "str | list[int]"]
"""Messages to the prompt of a plain completion: text, or token ids."""


@dataclass(frozen=True)
class Asking:
    """One way of asking.

    Attributes:
      path: below a server's address.
      body: the request's JSON, of a question.
      read: the answer, of a reply's JSON; never raises.
      identity: of a judge that asks so.
    """

    path: str
    body: Callable[[Any], dict]
    read: Callable[[Mapping], Answer]
    identity: Identity


def ask_with(
    prompt: Wording,
    model: str,
    *,
    api: str = "chat",
    render: Render | None = None,
    top: int = MOST_TOP,
    extra: Mapping[str, Any] | None = None,
    revision: str = "",
) -> Asking:
    """Asking by a prompt: its answers' log-probabilities as first token, or, if it offers none, a text.

    Log-probabilities are asked for at temperature 1, where no server can have changed them; what token is drawn does
    not matter. A text is decoded greedily.

    Args:
      prompt: the wording, of ratings or of verdicts on pairs.
      model: its name on the server.
      api: "chat", whose template is the server's; or "completions", for raw next-token log-probabilities.
      render: of "completions": the prompt from messages, e.g. token ids by a tokenizer's chat template; plain text
        without one.
      top: likely tokens to list.
      extra: more fields of every request, e.g. {"seed": 0}.
      revision: whatever else identifies the model, e.g. the hash of its files; told apart in the journal.

    Raises:
      InputError: an option that cannot be.
    """
    if api not in ("chat", "completions"):
        raise InputError(f"{api!r} is unknown", where="api", fix="use chat or completions")
    if not 1 <= top <= MOST_TOP:
        raise InputError(f"got {top}", where="top", fix=f"use 1 to {MOST_TOP}")
    if render is not None and api == "chat":
        raise InputError("a chat's template is the server's", where="render", fix="use api completions")
    chat, logprobs = api == "chat", bool(prompt.answers)
    settings: dict[str, Any] = {"max_tokens": prompt.tokens, "temperature": 0.0}
    if logprobs:
        listed = {"logprobs": True, "top_logprobs": top} if chat else {"logprobs": top}
        settings = {"max_tokens": 1, "temperature": 1.0} | listed
    settings |= extra or {}

    def body(question: Any) -> dict:
        return {"model": model, **_shown(prompt.ask(question), chat, render), **settings}

    def read(reply: Mapping) -> Answer:
        if logprobs:
            return read_logprobs(reply_logprobs(reply), prompt.answers, prompt.rate, reply)
        text = reply_text(reply)
        return unparsable("no text", reply) if text is None else prompt.read(text)

    decoding = settings | {"api": api, "rendered": render is not None}
    named = f"{model}@{revision}" if revision else model
    identity = Identity("server", named, prompt.digest, decoding, scale=prompt.scale)
    return Asking(CHAT if chat else COMPLETIONS, body, read, identity)


def _shown(messages: Sequence[Message], chat: bool, render: Render | None) -> dict:
    if chat:
        return {"messages": [{"role": m.role, "content": m.content} for m in messages]}
    return {"prompt": render(messages) if render else "\n\n".join(m.content for m in messages) + "\n\nAnswer:"}
