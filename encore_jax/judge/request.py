"""How a question becomes a request of the OpenAI protocol, and its reply an answer.

The same for a server and for batch files, for ratings and for verdicts on pairs.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from encore_jax.data.comparison import Message
from encore_jax.errors import InputError
from encore_jax.http.replies import ERROR_BODY, MOST_RAW, error_in, error_words
from encore_jax.judge.calls.call import question_call
from encore_jax.judge.prompts import Wording
from encore_jax.judge.question import Answer, Identity, Question, Status
from encore_jax.judge.reading import MOST_OTHER, read_logprobs, unparsable
from encore_jax.judge.replies import LIMITS, read_reply
from encore_jax.judge.token_logprobs import reply_logprobs
from encore_jax.rules import Rule

CHAT, COMPLETIONS = "/v1/chat/completions", "/v1/completions"
MOST_TOP = 20
"""Servers list at most so many likely tokens."""

READING = 2
"""Version of the rules by which replies become answers: answers read by other rules are not taken for these."""

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
      read_call: of a way that asks about several rules in a call, how their answers are read, in the call's order; None
        where rules are asked about one by one. `body` is then of any question of the call, and `read` of a call of one.
    """

    path: str
    body: Callable[[Any], dict]
    read: Callable[[Mapping], Answer]
    identity: Identity
    read_call: Callable[[Mapping, int], list[Answer]] | None = None

    def read_all(self, reply: Mapping, questions: Sequence[Any]) -> list[Answer]:
        """The answers to questions that were asked together, of a reply's JSON; never raises."""
        call = question_call(questions[0])
        if self.read_call is None or not call:
            return [self.read(reply)] * len(questions)
        answers = self.read_call(reply, len(call))
        by_rule = {rule.name: answer for rule, answer in zip(call, answers, strict=True)}
        return [by_rule[question.rule.name] for question in questions]


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
    check_options(api, render, top, extra or {})
    chat, logprobs = api == "chat", bool(prompt.answers)
    settings: dict[str, Any] = {"max_tokens": prompt.tokens, "temperature": 0.0}
    if logprobs:
        listed = {"logprobs": True, "top_logprobs": top} if chat else {"logprobs": top}
        settings = {"max_tokens": 1, "temperature": 1.0} | listed
    settings = with_extra(settings, extra or {})
    limit = token_limit(settings)

    def body(question: Any) -> dict:
        return {"model": model, **shown_fields(prompt.ask(question), chat, render), **settings}

    def read(reply: Mapping) -> Answer:
        if error_in(reply):
            return error_answer(reply)
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


def check_options(api: str, render: Render | None, top: int, extra: Mapping[str, Any]) -> None:
    """Raises InputError for options of `request_format` that cannot be."""
    if api not in ("chat", "completions"):
        raise InputError(f"{api!r} is unknown", where="api", fix="use chat or completions")
    if not 1 <= top <= MOST_TOP:
        raise InputError(f"got {top}", where="top", fix=f"use 1 to {MOST_TOP}")
    if render is not None and api == "chat":
        raise InputError("a chat's template is the server's", where="render", fix="use api completions")
    check_extra(extra)


def shared_texts(prompt: Wording, question: Any) -> tuple[str, str]:
    """What a question shows, and what another one about the same conversation would ("" if there is no such).

    Of a question that is asked in a call: what the call shows, and what another call would.
    """
    whole = _text(prompt.ask(question))
    if not isinstance(question, Question):
        return whole, ""
    return whole, _text(prompt.ask(question._replace(rule=OTHER, call=(OTHER,) if question.call else ())))


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


def with_extra(settings: dict[str, Any], extra: Mapping[str, Any]) -> dict[str, Any]:
    """Fields of a request with a user's own: None leaves a field out, a limit by another name replaces max_tokens."""
    named = [name for name in LIMITS if extra.get(name) is not None]
    if named and "max_tokens" not in named:
        settings = {name: value for name, value in settings.items() if name != "max_tokens"}
    return {name: value for name, value in (settings | dict(extra)).items() if value is not None}


def error_answer(reply: Mapping) -> Answer:
    """The answer of a reply that holds an error."""
    raw = json.dumps(reply, ensure_ascii=False, default=str)
    return Answer(Status.FAILED, evidence={"raw": raw[:MOST_RAW], "words": error_words(raw)}, problem=ERROR_BODY)


def _with_words(answer: Answer, text: str) -> Answer:
    """The answer with what the model wrote as its words, which may be nothing."""
    same = answer.evidence.get("raw") == text[:MOST_RAW]
    return answer if same else replace(answer, evidence=dict(answer.evidence) | {"words": text[:MOST_RAW]})


def shown_fields(messages: Sequence[Message], chat: bool, render: Render | None) -> dict:
    """Fields of a request that show messages, as a chat or as a plain completion's prompt."""
    if chat:
        return {"messages": [{"role": m.role, "content": m.content} for m in messages]}
    return {"prompt": render(messages) if render else "\n\n".join(m.content for m in messages) + "\n\nAnswer:"}


def _text(messages: Sequence[Message]) -> str:
    return "\n".join(message.content for message in messages)
