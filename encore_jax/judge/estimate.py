"""What a run will ask, cost and take, before it starts: an estimate from a sample, and a timed trial."""

from __future__ import annotations

import functools
import itertools
import math
import os
import random
import time
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

from absl import logging

from encore_jax.judge.calls.call import by_call
from encore_jax.judge.journal import Journal
from encore_jax.judge.prompts import Wording
from encore_jax.judge.question import Judge
from encore_jax.judge.request import shared_texts
from encore_jax.judge.run import Questions, ask
from encore_jax.judge.settings import RetryPolicy

SAMPLE = 256
"""Questions whose tokens are counted; the rest is extrapolated."""

CHARACTERS_PER_TOKEN = 4.0
"""Of English text, where there is no tokenizer at hand."""

COMPILES = ("local", "model")
"""Kinds of judges that compile programs when they are first asked."""


class Estimate(NamedTuple):
    """Attributes:
    requests: exact; one for all questions that are asked in a call.
    conversations: different ones among them, exact where questions about one come in a row.
    prompt_tokens: with `margin`, half of the 95 % interval of sampling.
    fresh_tokens: what of them is left where the server caches the prefix that questions about one conversation share.
    answer_tokens: at most; None where only the server limits them.
    price: in the unit of the prices per million tokens, without caching and unlimited answers; None without prices.
    seconds: at the rate limit; None without one.
    questions: a rule about a response each, exact.
    """

    requests: int
    conversations: int
    prompt_tokens: float
    margin: float
    fresh_tokens: float
    answer_tokens: int | None
    price: float | None
    seconds: float | None
    questions: int = 0


def estimate(
    questions: Iterable[Any],
    texts: Callable[[Any], tuple[str, str]],
    tokens: Callable[[str], int] | None,
    *,
    answer_tokens: int | None | Callable[[list[Any]], int | None],
    prices: Sequence[float] = (0.0, 0.0),
    requests_per_second: float = 0.0,
    seed: int = 0,
) -> Estimate:
    """Counts the requests, and the tokens of a random `SAMPLE` of them.

    Args:
      questions: that would be asked; streamed.
      texts: what a question shows, and what another question about the same conversation would show: what both begin
        with is shared.
      tokens: counts a text's tokens; by default a guess from its characters.
      answer_tokens: per request, at most, or how many for the questions of one; None where only the server limits them.
      prices: per million prompt tokens, per million answer tokens.
      requests_per_second: the limit; 0 for none.
      seed: of the sample.
    """
    count = tokens or (lambda text: math.ceil(len(text) / CHARACTERS_PER_TOKEN))
    limit = answer_tokens if callable(answer_tokens) else lambda _: answer_tokens
    chance, sample, n, conversations, last = random.Random(seed), [], 0, 0, None
    asked, limits = 0, Counter()
    for n, together in enumerate(by_call(questions), start=1):
        question = together[0]
        asked += len(together)
        limits[limit(together)] += 1
        conversations += question.key.conversation != last
        last = question.key.conversation
        if len(sample) < SAMPLE:
            sample.append(question)
        elif (place := chance.randrange(n)) < SAMPLE:
            sample[place] = question
    answers = None if None in limits else sum(most * count for most, count in limits.items())
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
        answer_tokens=answers,
        price=(prompt * prices[0] + (answers or 0) * prices[1]) / 1e6 if priced else None,
        seconds=n / requests_per_second if requests_per_second else None,
        questions=asked,
    )


def estimate_text(cost: Estimate) -> str:
    """One line.

    >>> print(estimate_text(Estimate(1000, 10, 5e5, 1e4, 6e4, 1000, 1.25, 100.0)).replace("; ", "\\n"))
    1,000 requests about 10 conversations
    0.500 ± 0.010 million prompt tokens (0.060 million where shared prefixes are cached)
    at most 1,000 answer tokens
    price 1.25
    at least 100 s by the rate limit
    """
    ratings = f"for {cost.questions:,} ratings " if cost.questions > cost.requests else ""
    parts = [
        f"{cost.requests:,} requests {ratings}about {cost.conversations:,} conversations",
        f"{cost.prompt_tokens / 1e6:.3f} ± {cost.margin / 1e6:.3f} million prompt tokens "
        f"({cost.fresh_tokens / 1e6:.3f} million where shared prefixes are cached)",
        "no limit on answer tokens" if cost.answer_tokens is None else f"at most {cost.answer_tokens:,} answer tokens",
    ]
    least = "at least " if cost.answer_tokens is None else ""
    parts += [f"price {least}{cost.price:,.2f}"] if cost.price is not None else []
    parts += [f"at least {cost.seconds:,.0f} s by the rate limit"] if cost.seconds is not None else []
    return "; ".join(parts)


def log_estimate(
    questions: Questions,
    journal: Journal,
    policy: RetryPolicy,
    prompt: Wording,
    *,
    tokens: Callable[[str], int] | None = None,
    answer_tokens: int | None | Callable[[list[Any]], int | None] = 0,
    prices: Sequence[float] = (0.0, 0.0),
    requests_per_second: float = 0.0,
    seed: int = 0,
) -> Estimate:
    """What the questions without an answer will cost; also logs it.

    Args:
      questions, journal, policy: what is asked, what is known, and what is asked again.
      prompt: the wording.
      tokens: counts a text's tokens; guesses from characters if left out.
      answer_tokens: see `estimate`.
      prices: per million prompt tokens, per million answer tokens.
      requests_per_second: the limit; 0 for none.
      seed: of the sample whose tokens are counted.
    """
    options = {"answer_tokens": answer_tokens, "prices": prices, "requests_per_second": requests_per_second}
    texts = functools.partial(shared_texts, prompt)
    cost = estimate(journal.pending(questions(), policy), texts, tokens, **options, seed=seed)
    logging.info("to ask: %s", estimate_text(cost))
    return cost


class Trial(NamedTuple):
    """A timed part of the questions.

    Attributes:
      problems: as `ask` returns them.
      asked: how many questions.
      pace: questions answered in a second.
    """

    problems: Counter
    asked: int
    pace: float


def timed_trial(
    judge: Judge, questions: Questions, journal: Journal, policy: RetryPolicy, count: int, *, seed: int, hopeless: int
) -> Trial:
    """Asks about some conversations of those that are open, after whatever has to be compiled for them.

    Args:
      count: at least so many questions, all of one conversation together.
      seed: of which conversations.
      others: see `ask`.
    """
    chosen = some_conversations(journal.pending(questions(), policy), count, seed)
    if judge.identity.kind in COMPILES:
        for _ in judge.answers(chosen):
            pass
    start = time.monotonic()
    problems = ask(judge, lambda: chosen, journal, policy, len(chosen), hopeless=hopeless)
    return Trial(problems, len(chosen), len(chosen) / max(time.monotonic() - start, 1e-9))


def some_conversations(pending: Iterable[Any], count: int, seed: int) -> list[Any]:
    """All questions about random conversations, at least `count` where there are so many."""
    chance, groups, size = random.Random(seed), [], 0
    for met, (_, group) in enumerate(itertools.groupby(pending, key=lambda question: question.key.conversation)):
        group = list(group)
        if size < count:
            groups.append(group)
            size += len(group)
        elif (place := chance.randrange(met + 1)) < len(groups):
            groups[place] = group
    return list(itertools.chain.from_iterable(groups))
