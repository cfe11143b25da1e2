"""What to do about answers that hold no rating, by the kind of problem."""

from __future__ import annotations

import re

_NO_THINKING = """--config.judge.extra='{"chat_template_kwargs": {"enable_thinking": false}}'"""
_LIMIT = re.compile(r"cut off after ([\d,]+) tokens")

_AT_ONCE = f"use a judge that answers at once, without reasoning: {_NO_THINKING} (vLLM, SGLang)"
_LOCAL = "use a model that begins its answer with one of them, or count such answers too: --config.judge.most_other=1"
"""A local judge has no fields of a request."""
_EXTRA = "change the field that it names: --config.judge.extra takes fields of a request, null leaves one out"

_HINTS = {
    "ended while still reasoning": f"let it write more, or not reason: {_NO_THINKING} (vLLM, SGLang)",
    "reasoning and no answer": f"let it write more, or not reason: {_NO_THINKING} (vLLM, SGLang)",
    "more than": _AT_ONCE,
    "none of the offered answers": _AT_ONCE,
    "no log-probabilities": "use a server that gives log-probabilities, or --config.judge.prompt=numeric.1",
    "malformed log-probabilities": "use another server, or --config.judge.prompt=numeric.1",
    "log-probabilities that": "use another server, or --config.judge.prompt=numeric.1",
    "could not be put": "use a tokenizer whose template takes the judge's messages",
    "HTTP 400": _EXTRA,
    "HTTP 422": _EXTRA,
}


def hint(problem: str, words: str = "", kind: str = "server") -> str:
    """How a user can fix it, by the kind of problem, by what the judge said, and by the judge's kind.

    >>> hint("no log-probabilities")
    'use a server that gives log-probabilities, or --config.judge.prompt=numeric.1'
    >>> hint("HTTP 400", "System role not supported")
    "put instructions into the user's turn: --config.judge.system_role=false"
    >>> hint("none of the offered answers", kind="local") == _LOCAL
    True
    """
    if kind == "local" and problem.startswith(("more than", "none of the offered answers")):
        return _LOCAL
    said = words.lower()
    if "system" in said and "role" in said:
        return "put instructions into the user's turn: --config.judge.system_role=false"
    if "max_completion_tokens" in said:
        return """name the limit so: --config.judge.extra='{"max_completion_tokens": 64}'"""
    if "top_logprobs" in said:
        return "list fewer tokens, e.g. --config.judge.top=5"
    if limit := _LIMIT.match(problem):
        more = max(64, 4 * int(limit[1].replace(",", "")))
        return f"""let the judge write more, e.g. --config.judge.extra='{{"max_tokens": {more}}}'"""
    general = "correct the judge's settings (model, prompt, log-probabilities)"
    return next((text for start, text in _HINTS.items() if problem.startswith(start)), general)
