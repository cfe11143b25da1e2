"""How a question becomes a request of the OpenAI protocol, and its reply an answer.

The same for a server and for batch files, for ratings and for verdicts on pairs.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from encore_jax.data import locate
from encore_jax.data.comparison import Message
from encore_jax.errors import InputError
from encore_jax.http_replies import error_words
from encore_jax.judge.pairwise import PAIR_PROMPTS
from encore_jax.judge.prompts import PROMPTS, YES_NO_IRRELEVANT, Wording
from encore_jax.judge.question import Answer, Identity, Question, Status
from encore_jax.judge.reading import MOST_OTHER, MOST_RAW, read_logprobs, unparsable
from encore_jax.judge.replies import LIMITS, error_in, read_reply, reply_logprobs
from encore_jax.rules import Rule
from encore_jax.text.chat_template import takes_system_role
from encore_jax.text.rendering import render as render_chat
from encore_jax.text.tokenizer import load_tokenizer

CHAT, COMPLETIONS = "/v1/chat/completions", "/v1/completions"
MOST_TOP = 20
"""Servers list at most so many likely tokens."""

READING = 2
"""Version of the rules by which replies become answers: answers read by other rules are not taken for these."""

ERROR_BODY = "an error in place of an answer"

_TAKEN = ("model", "messages", "prompt")
_ONE_WHOLE = {"stream": (False, None), "n": (1, None), "best_of": (1, None), "echo": (False, None)}
_SECRET = ("api_key", "apikey", "api-key", "authorization", "access_token", "bearer", "password", "secret", "x-api-key")

OTHER = Rule("other", "~")
"""Stands for any other rule about the same conversation, to see what two questions share."""

Render = Callable[[Sequence[Message]], "str | list[int]"]
"""Messages to the prompt of a plain completion: text, or token ids."""


@dataclass(frozen=True)
class RequestFormat:
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


def request_format(
    prompt: Wording,
    model: str,
    *,
    api: str = "chat",
    render: Render | None = None,
    top: int = MOST_TOP,
    extra: Mapping[str, Any] | None = None,
    revision: str = "",
    most_other: float = MOST_OTHER,
) -> RequestFormat:
    """Asking by a prompt: its answers' log-probabilities as first token, or, if it offers none, a text.

    Log-probabilities are asked for at temperature 1, where no server can have changed them; what token is drawn does
    not matter. A text is decoded greedily. What was cut off, withheld, or still reasoning is no answer.

    Args:
      prompt: the wording, of ratings or of verdicts on pairs.
      model: its name on the server.
      api: "chat", whose template is the server's; or "completions", for raw next-token log-probabilities.
      render: of "completions": the prompt from messages, e.g. token ids by a tokenizer's chat template; plain text
        without one.
      top: likely tokens to list.
      extra: more fields of every request, e.g. {"seed": 0}; None leaves a field out, and a limit of tokens by another
        name (`LIMITS`) takes the place of max_tokens.
      revision: whatever else identifies the model, e.g. the hash of its files; told apart in the journal.
      most_other: probability on none of the offered answers above which an answer is unparsable.

    Raises:
      InputError: an option that cannot be.
    """
    if api not in ("chat", "completions"):
        raise InputError(f"{api!r} is unknown", where="api", fix="use chat or completions")
    if not 1 <= top <= MOST_TOP:
        raise InputError(f"got {top}", where="top", fix=f"use 1 to {MOST_TOP}")
    if render is not None and api == "chat":
        raise InputError("a chat's template is the server's", where="render", fix="use api completions")
    check_extra(extra or {})
    chat, logprobs = api == "chat", bool(prompt.answers)
    settings: dict[str, Any] = {"max_tokens": prompt.tokens, "temperature": 0.0}
    if logprobs:
        listed = {"logprobs": True, "top_logprobs": top} if chat else {"logprobs": top}
        settings = {"max_tokens": 1, "temperature": 1.0} | listed
    settings = _with_extra(settings, extra or {})
    limit = token_limit(settings)

    def body(question: Any) -> dict:
        return {"model": model, **_shown(prompt.ask(question), chat, render), **settings}

    def read(reply: Mapping) -> Answer:
        if error_in(reply):
            return _error_answer(reply)
        said = read_reply(reply, limit)
        if logprobs:
            pairs, problem = reply_logprobs(reply)
            if problem := said.first_problem or problem:
                return _with_words(unparsable(problem, reply), said.whole)
            answer = read_logprobs(pairs, prompt.answers, prompt.rate, reply, most_other)
            return answer if answer.status is Status.OK else _with_words(answer, said.whole)
        if said.problem:
            return _with_words(unparsable(said.problem, said.whole or reply), said.whole)
        return prompt.read(said.text or "")

    decoding = settings | {"api": api, "rendered": render is not None, "reading": READING}
    decoding |= {"most_other": most_other} if logprobs else {}
    named = f"{model}@{revision}" if revision else model
    identity = Identity("server", named, prompt.digest, decoding, scale=prompt.scale)
    return RequestFormat(CHAT if chat else COMPLETIONS, body, read, identity)


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


def check_extra(extra: Mapping[str, Any], where: str = "extra") -> None:
    """Refuses fields that would change what a reply means, or that hold a secret (which is not repeated).

    Raises:
      InputError: naming the field.
    """
    for name, value in extra.items():
        here = f"{where}, field {name!r}"
        if name in _TAKEN:
            raise InputError("is this project's to write", where=here, fix="leave it out")
        if name.lower() in _SECRET:
            fix = "leave it out; a key comes from the environment variable that server.key_variable names"
            raise InputError(
                "may hold a secret, and extra fields are written down (it is not repeated here)", where=here, fix=fix
            )
        if name in _ONE_WHOLE and value not in _ONE_WHOLE[name]:
            raise InputError(f"is {value!r}; one whole answer is read", where=here, fix="leave it out")
        if name in LIMITS and value is not None and (type(value) is not int or value < 1):
            raise InputError(f"is {value!r}", where=here, fix="give a whole number of tokens, or null for no limit")
    try:
        json.dumps(dict(extra), allow_nan=False)
    except (TypeError, ValueError, RecursionError):
        raise InputError("holds what JSON cannot", where=where, fix="use numbers, texts, lists and objects") from None


def token_limit(settings: Mapping[str, Any]) -> int | None:
    """The tokens that an answer may have, by whatever name; None where the server decides.

    >>> token_limit({"max_completion_tokens": 64}), token_limit({"seed": 0})
    (64, None)
    """
    limits = [settings[name] for name in LIMITS if type(settings.get(name)) is int]
    return min(limits, default=None)


def _with_extra(settings: dict[str, Any], extra: Mapping[str, Any]) -> dict[str, Any]:
    named = [name for name in LIMITS if extra.get(name) is not None]
    if named and "max_tokens" not in named:
        settings = {name: value for name, value in settings.items() if name != "max_tokens"}
    return {name: value for name, value in (settings | dict(extra)).items() if value is not None}


def _error_answer(reply: Mapping) -> Answer:
    raw = json.dumps(reply, ensure_ascii=False, default=str)
    return Answer(Status.FAILED, evidence={"raw": raw[:MOST_RAW], "words": error_words(raw)}, problem=ERROR_BODY)


def _with_words(answer: Answer, text: str) -> Answer:
    """The answer with what the model wrote as its words, which may be nothing."""
    same = answer.evidence.get("raw") == text[:MOST_RAW]
    return answer if same else replace(answer, evidence=dict(answer.evidence) | {"words": text[:MOST_RAW]})


def _shown(messages: Sequence[Message], chat: bool, render: Render | None) -> dict:
    if chat:
        return {"messages": [{"role": m.role, "content": m.content} for m in messages]}
    return {"prompt": render(messages) if render else "\n\n".join(m.content for m in messages) + "\n\nAnswer:"}


def _text(messages: Sequence[Message]) -> str:
    return "\n".join(message.content for message in messages)


def _renderer(uri: str, offline: bool) -> Render:
    def ids(messages: Sequence[Message]) -> list[int]:
        return render_chat(_tokenizer(uri, offline), messages)

    return ids


@functools.lru_cache(maxsize=1)
def _tokenizer(uri: str, offline: bool):
    return load_tokenizer(locate(uri, offline=offline))
