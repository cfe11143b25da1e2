"""One run of a judge: what it will ask and cost, the asking, and what to do when answers hold no rating.

A judge, its questions and a journal are brought together: asked once each, tried again by policy, nothing lost.
"""

from __future__ import annotations

import collections
import math
import os
import random
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, NamedTuple

from encore_jax.errors import InputError
from encore_jax.judge.export import reply_excerpt
from encore_jax.judge.journal import Journal
from encore_jax.judge.question import Answer, Judge, Question, Status
from encore_jax.judge.settings import RetryPolicy

MAX_FAILURES_IN_A_ROW = 100
"""So many answers in a row without a single rating, and a run ends."""

SAMPLE = 256
"""Questions whose tokens are counted; the rest is extrapolated."""

CHARACTERS_PER_TOKEN = 4.0
"""Of English text, where there is no tokenizer at hand."""

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


class Estimate(NamedTuple):
    """Attributes:
    requests: exact.
    conversations: different ones among them, exact where questions about one come in a row.
    prompt_tokens: with `margin`, half of the 95 % interval of sampling.
    fresh_tokens: what of them is left where the server caches the prefix that questions about one conversation share.
    answer_tokens: at most; None where only the server limits them.
    price: in the unit of the prices per million tokens, without caching and unlimited answers; None without prices.
    seconds: at the rate limit; None without one.
    """

    requests: int
    conversations: int
    prompt_tokens: float
    margin: float
    fresh_tokens: float
    answer_tokens: int | None
    price: float | None
    seconds: float | None


def estimate(
    questions: Iterable[Any],
    texts: Callable[[Any], tuple[str, str]],
    tokens: Callable[[str], int] | None,
    *,
    answer_tokens: int | None,
    prices: Sequence[float] = (0.0, 0.0),
    requests_per_second: float = 0.0,
    seed: int = 0,
) -> Estimate:
    """Counts the questions, and the tokens of a random `SAMPLE` of them.

    Args:
      questions: that would be asked; streamed.
      texts: what a question shows, and what another question about the same conversation would show: what both begin
        with is shared.
      tokens: counts a text's tokens; by default a guess from its characters.
      answer_tokens: per answer, at most; None where only the server limits them.
      prices: per million prompt tokens, per million answer tokens.
      requests_per_second: the limit; 0 for none.
      seed: of the sample.
    """
    count = tokens or (lambda text: math.ceil(len(text) / CHARACTERS_PER_TOKEN))
    chance, sample, n, conversations, last = random.Random(seed), [], 0, 0, None
    for n, question in enumerate(questions, start=1):
        conversations += question.key.conversation != last
        last = question.key.conversation
        if len(sample) < SAMPLE:
            sample.append(question)
        elif (place := chance.randrange(n)) < SAMPLE:
            sample[place] = question
    whole, shared = [], []
    for question in sample:
        shown, other = texts(question)
        whole.append(count(shown))
        shared.append(min(count(os.path.commonprefix([shown, other])), whole[-1]))
    mean = sum(whole) / max(len(whole), 1)
    spread = math.sqrt(sum((w - mean) ** 2 for w in whole) / max(len(whole) - 1, 1))
    exact = n <= SAMPLE and tokens is not None
    prompt = mean * n
    fresh = prompt - sum(shared) / max(len(shared), 1) * (n - conversations)
    priced = any(prices)
    return Estimate(
        requests=n,
        conversations=conversations,
        prompt_tokens=prompt,
        margin=0.0 if exact else 1.96 * spread / math.sqrt(max(len(whole), 1)) * n,
        fresh_tokens=fresh,
        answer_tokens=None if answer_tokens is None else answer_tokens * n,
        price=(prompt * prices[0] + (answer_tokens or 0) * n * prices[1]) / 1e6 if priced else None,
        seconds=n / requests_per_second if requests_per_second else None,
    )


def estimate_text(told: Estimate) -> str:
    """One line.

    >>> print(estimate_text(Estimate(1000, 10, 5e5, 1e4, 6e4, 1000, 1.25, 100.0)).replace("; ", "\\n"))
    1,000 requests about 10 conversations
    0.500 ± 0.010 million prompt tokens (0.060 million where shared prefixes are cached)
    at most 1,000 answer tokens
    price 1.25
    at least 100 s by the rate limit
    """
    parts = [
        f"{told.requests:,} requests about {told.conversations:,} conversations",
        f"{told.prompt_tokens / 1e6:.3f} ± {told.margin / 1e6:.3f} million prompt tokens "
        f"({told.fresh_tokens / 1e6:.3f} million where shared prefixes are cached)",
        "no limit on answer tokens" if told.answer_tokens is None else f"at most {told.answer_tokens:,} answer tokens",
    ]
    least = "at least " if told.answer_tokens is None else ""
    parts += [f"price {least}{told.price:,.2f}"] if told.price is not None else []
    parts += [f"at least {told.seconds:,.0f} s by the rate limit"] if told.seconds is not None else []
    return "; ".join(parts)


def ask_all(
    judge: Judge,
    questions: Callable[[], Iterable[Question]],
    journal: Journal,
    policy: RetryPolicy | None = None,
    *,
    hopeless: int = MAX_FAILURES_IN_A_ROW,
) -> Iterator[tuple[Question, Answer]]:
    """Asks whatever the journal has no final answer to, in passes, until policy says that nothing is left.

    Every answer is with the journal's writer before it is yielded. A killed run resumes where it was.

    Args:
      judge: whose identity the journal was opened with.
      questions: makes the same questions anew for every pass.
      journal: what is known already, and where answers go.
      policy: which questions are asked again.
      hopeless: give up after so many answers in a row that hold no rating; 0 never does.

    Raises:
      InputError: the judge cannot go on, or gives no usable answer any more; what was answered is kept.
    """
    policy = RetryPolicy() if policy is None else policy
    bad: collections.Counter = collections.Counter()
    asked, good = True, False
    while asked:
        asked = False
        for question, answer in judge.answers(journal.pending(questions(), policy)):
            journal.record(question.key, answer)
            asked = True
            if answer.status is Status.OK:
                good = True
                bad.clear()
            else:
                bad[answer.problem] += 1
            yield question, answer
            if hopeless and bad.total() >= hopeless:
                journal.flush()
                raise _hopeless(judge, bad, good, answer)
        journal.flush()


def _hopeless(judge: Judge, bad: collections.Counter, good: bool, last: Answer) -> InputError:
    which = f"the last {bad.total()} answers" if good else f"the first {bad.total()} answers"
    said = reply_excerpt(last.evidence)
    return InputError(
        f"none of {which} holds a rating: {kinds(bad)}{last_words(said)}",
        where=f"judge {judge.identity.model}",
        fix=f"{hint(bad.most_common(1)[0][0], said, judge.identity.kind)}, and run again; what was answered is kept",
    )


def last_words(said: str) -> str:
    """What a judge said, as the end of a sentence; "" where it said nothing."""
    return f"; the last one says '{said}'" if said else ""


def kinds(counts: collections.Counter) -> str:
    """Kinds and how often each, the commonest first.

    >>> kinds(collections.Counter({"no number": 3, "HTTP 400": 1}))
    '3 no number, 1 HTTP 400'
    """
    shown = [f"{n} {problem}" for problem, n in counts.most_common(5)]
    more = len(counts) - len(shown)
    return ", ".join(shown) + (f", and {more} other kinds" if more > 0 else "")


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
