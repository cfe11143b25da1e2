"""How a question about several rules becomes one request of the OpenAI protocol, and its reply an answer for each.

Decoded greedily, because what is said of one rule stands before what is said of the next. The log-probabilities of all
tokens are asked for where the wording offers answers, so that every rating is read from probabilities, as it is when a
rule is asked about by itself.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import Any

from encore_jax.errors import InputError
from encore_jax.http.replies import error_in
from encore_jax.judge.calls.call import ISOLATED, letter
from encore_jax.judge.calls.prompts import SCHEMAS, CallPrompt
from encore_jax.judge.calls.replies import WRITTEN, read_call
from encore_jax.judge.question import Answer, Identity, Question
from encore_jax.judge.reading import MOST_OTHER
from encore_jax.judge.replies import LIMITS, read_reply
from encore_jax.judge.request import (
    CHAT,
    COMPLETIONS,
    MOST_TOP,
    READING,
    Render,
    RequestFormat,
    check_options,
    error_answer,
    shown_fields,
    token_limit,
    with_extra,
)

NOT_GREEDY = (
    "the judge wrote %r (rule %s of a call) where another answer was likelier: its server penalises repetition, or "
    "samples, and what it writes changes the answers after it. Fix: --config.judge.extra='{\"repeat_penalty\": 1.0}' "
    "(llama-cpp-python, whose own is 1.1) or '{\"repetition_penalty\": 1.0}' (vLLM, SGLang)"
)


def call_request_format(
    prompt: CallPrompt,
    model: str,
    *,
    api: str = "chat",
    render: Render | None = None,
    top: int = MOST_TOP,
    extra: Mapping[str, Any] | None = None,
    revision: str = "",
    most_other: float = MOST_OTHER,
    rules_per_call: int = 0,
    structured: str = SCHEMAS[0],
) -> RequestFormat:
    """Asking about several rules in a call; see `encore_jax.judge.request.request_format`, whose arguments these are.

    Args:
      rules_per_call: at most so many, 0 for all; told apart in the journal.
      structured: how the server is told the answer's shape, one of `SCHEMAS`.

    Raises:
      InputError: an option that cannot be.
    """
    extra = dict(extra or {})
    check_options(api, render, top, extra)
    check_call_options(rules_per_call, structured)
    chat, logprobs = api == "chat", bool(prompt.answers)
    settings: dict[str, Any] = {"temperature": 0.0}
    if logprobs:
        settings |= {"logprobs": True, "top_logprobs": top} if chat else {"logprobs": top}

    def fields(rules: int) -> dict[str, Any]:
        own = {"max_tokens": prompt.limit(rules)} | settings | prompt.schema_fields(rules, structured)
        return with_extra(own, extra)

    def body(question: Question) -> dict:
        rules = max(len(question.call), 1)
        return {"model": model, **shown_fields(prompt.ask(question), chat, render), **fields(rules)}

    def read(reply: Mapping, rules: int) -> list[Answer]:
        if error_in(reply):
            return [error_answer(reply)] * rules
        said = read_reply(reply, token_limit(fields(rules)))
        answers = read_call(prompt, reply, said, rules, most_other)
        if not warned and (unlike := [i for i, answer in enumerate(answers) if WRITTEN in answer.evidence]):
            warned.append(unlike[0])
            logging.getLogger(__name__).warning(NOT_GREEDY, answers[unlike[0]].evidence[WRITTEN], letter(unlike[0]))
        return answers

    warned: list[int] = []
    limited = {"tokens_per_rule": prompt.tokens} if not any(name in extra for name in LIMITS) else {}
    decoding = with_extra(settings, extra) | limited
    decoding |= {"api": api, "rendered": render is not None, "reading": READING}
    decoding |= {"rules_per_call": rules_per_call, "structured": structured}
    decoding |= {"most_other": most_other} if logprobs else {}
    named = f"{model}@{revision}" if revision else model
    identity = Identity("server", named, prompt.digest, decoding, scale=prompt.scale)
    return RequestFormat(CHAT if chat else COMPLETIONS, body, lambda reply: read(reply, 1)[0], identity, read)


def check_call_options(rules_per_call: int, structured: str) -> None:
    """Raises InputError for numbers of rules, and ways to tell a server a shape, that cannot be."""
    if type(rules_per_call) is not int or rules_per_call < 0 or rules_per_call == ISOLATED:
        fix = "use 0 for all rules, or at least 2; 1 asks about every rule by itself, by a wording of its own"
        raise InputError(f"got {rules_per_call}", where="rules_per_call", fix=fix)
    if structured not in SCHEMAS:
        raise InputError(f"{structured!r} is unknown", where="structured", fix=f"use one of {', '.join(SCHEMAS)}")


def answer_limit(settings: Mapping[str, Any], prompt: Any, questions: Sequence[Any]) -> int | None:
    """The tokens that one reply to these questions may have; None where the server decides.

    Args:
      settings: of a judge's identity, its decoding.
      prompt: the wording.
      questions: that are asked together.
    """
    if isinstance(prompt, CallPrompt) and "tokens_per_rule" in settings:
        return prompt.limit(max(len(questions[0].call), 1))
    return token_limit(settings)
