"""From what a language model said to a rating: pure functions on token log-probabilities and on text.

A token counts for an answer if it is the answer, or the first piece of it that a tokenizer cuts off ("Ir" of
"Irrelevant"), in any of three spellings (Yes, yes, YES), with or without a space before it. Probabilities of all such
tokens are summed, and nothing is renormalised: rating P(Yes) - P(No), relevance 1 - P(Irrelevant) (RAMO, section on
rule ratings). The probability of all tokens that count for no answer is recorded with each rating as `other`.

A server lists only its most likely tokens, at most 20. What it leaves out has probability `unlisted` in all, which
bounds the error of every sum; it is recorded too, and is part of `other`.
"""

from __future__ import annotations

import functools
import json
import math
import re
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

from encore_jax.errors import InputError
from encore_jax.http.replies import MOST_RAW
from encore_jax.judge.question import Answer, Status
from encore_jax.judge.replies import NO_LOGPROBS

MOST_OTHER = 0.5
"""Probability on tokens that are none of the offered answers above which there is no answer, unless settings differ."""

NO_OFFERED_ANSWER = "none of the offered answers among the likely tokens"
NO_NUMBER = "no number"
NOT_ONE_NUMBER = "more than one number"
OUT_OF_RANGE = "number outside 0 to 1"
LIST_NUMBER = "a number that begins a list"
NOT_FINITE = "log-probabilities that are not finite"
TOO_LIKELY = "log-probabilities that add up to more than 1"

_SPACES = " \u0120\u2581"  # a space, and how byte-level BPE and SentencePiece vocabularies write it
_NUMBER = re.compile(
    r"(?<![\w.\u2212])[-+]?(?:\d++(?:\.\d*+)?+|\.\d++)(?:[eE][-+]?\d++)?+(?!\w|\.\d|\s*(?:[%\u066a\uff05]|percent))"
)
_LIST_NUMBER = re.compile(r"^\s*(?:[-*#>]+\s*)?\d+[.)]\s+\S", re.MULTILINE)
_MOST_MASS = 1.05  # log-probabilities that a server rounded
_LONGEST_TOKEN = 64


@functools.lru_cache(maxsize=65536)
def answer_of(token: str, answers: tuple[str, ...]) -> str | None:
    """Which of the offered answers a first token stands for; None if for none.

    A piece counts from two letters on, and only if no other answer begins the same way.

    >>> [answer_of(token, ("Yes", "No", "Irrelevant")) for token in (" Yes", "no", "Ir", "I", "Not", "YES")]
    ['Yes', 'No', 'Irrelevant', None, None, 'Yes']
    """
    piece = token[1:] if token[:1] in _SPACES and token else token
    found = [answer for answer in answers if _begins(answer, piece)]
    whole = [answer for answer in found if piece.lower() == answer.lower()]
    return whole[0] if whole else found[0] if len(found) == 1 else None


def _begins(answer: str, piece: str) -> bool:
    if len(piece) < min(2, len(answer)):
        return False
    return any(spelling.startswith(piece) for spelling in (answer, answer.lower(), answer.upper()))


def answer_probabilities(
    logprobs: Sequence[tuple[str, float]], answers: tuple[str, ...]
) -> tuple[dict[str, float], list[tuple[str, float]]]:
    """Summed probability of each offered answer, and the (token, log-probability) pairs that counted.

    >>> logprobs = [("Yes", math.log(0.5)), (" yes", math.log(0.25)), ("Sure", -2.0)]
    >>> p, counted = answer_probabilities(logprobs, ("Yes", "No"))
    >>> round(p["Yes"], 6), p["No"], len(counted)
    (0.75, 0.0, 2)
    """
    sums, counted = dict.fromkeys(answers, 0.0), []
    for token, logprob in logprobs:
        answer = answer_of(token, answers) if len(token) <= _LONGEST_TOKEN else None
        if answer is not None:
            sums[answer] += math.exp(logprob)
            counted.append((token, logprob))
    return sums, counted


def mostly_other(share: float) -> str:
    """The problem of an answer whose probability is mostly elsewhere.

    >>> mostly_other(0.5)
    'more than 50 % of the probability is on none of the offered answers'
    """
    return f"more than {100 * share:.3g} % of the probability is on none of the offered answers"


def read_logprobs(
    logprobs: Sequence[tuple[str, float]],
    answers: tuple[str, ...],
    rate: Callable[[Sequence[float]], tuple[float, float | None]],
    raw: object = None,
    most_other: float = MOST_OTHER,
) -> Answer:
    """The rating of a question that offers answers, from the most likely first tokens.

    Args:
      logprobs: (token, natural log-probability), as raw as the judge gives them.
      answers: offered.
      rate: rating and relevance from the answers' probabilities (`Wording.rate`).
      raw: kept as evidence where nothing can be read.
      most_other: probability of all other tokens (unlisted ones among them) above which the answer is unparsable.
    """
    if not logprobs:
        return unparsable(NO_LOGPROBS, raw)
    sums, counted = answer_probabilities(logprobs, answers)
    listed, mass = (math.fsum(math.exp(p) for _, p in pairs) for pairs in (logprobs, counted))
    if listed > _MOST_MASS:
        return unparsable(TOO_LIKELY, raw)
    if not counted:
        return unparsable(NO_OFFERED_ANSWER, raw)
    other = round(max(0.0, 1.0 - mass), 9)
    if other > most_other:
        return unparsable(mostly_other(most_other), raw)
    rating, relevance = rate([min(1.0, sums[answer]) for answer in answers])
    return Answer(
        Status.OK,
        rating=rating,
        relevance=relevance,
        evidence={
            "logprobs": [(token[:_LONGEST_TOKEN], p if math.isfinite(p) else None) for token, p in counted],
            "other": other,
            "unlisted": round(max(0.0, 1.0 - listed), 9),
            "first": logprobs[0][0][:_LONGEST_TOKEN],
        },
    )


class AnswerTokens(NamedTuple):
    """Tokens of all answers together.

    Attributes:
      ids: token ids ``[T]``.
      answer: ``[T]``, index of the answer each stands for.
      texts: the tokens in words.
    """

    ids: np.ndarray
    answer: np.ndarray
    texts: tuple[str, ...]


def answer_tokens(tokenizer, answers: tuple[str, ...]) -> AnswerTokens:
    """Every token of the vocabulary that stands for one of the answers, by the rule that reads a server's tokens.

    A server lists some of these tokens, this finds all of them: the two differ by no more than what was not listed.

    Raises:
      InputError: an answer has no token of its own.
    """
    special = set(tokenizer.all_special_ids)
    named = ((number, answer_of(token, answers)) for token, number in tokenizer.get_vocab().items())
    owner = {number: answers.index(answer) for number, answer in sorted(named) if answer and number not in special}
    for i, answer in enumerate(answers):
        if i not in owner.values():
            raise InputError(
                f"no token begins {answer!r} and nothing else",
                where="the prompt's answers",
                fix="use answers of common words that this tokenizer can tell apart",
            )
    ids = list(owner)
    return AnswerTokens(np.array(ids, np.int32), np.array(list(owner.values())), tuple(map(tokenizer.decode, ids)))


def read_answer(
    logprobs: np.ndarray,
    tokens: AnswerTokens,
    answers: tuple[str, ...],
    rate: Callable[[Sequence[float]], tuple[float, float | None]],
    most_other: float = MOST_OTHER,
) -> Answer:
    """As `read_logprobs`, from log-probabilities ``[T]`` of all tokens that stand for the answers.

    Unparsable where a log-probability is not finite, or other tokens have more probability than `most_other`.
    """
    if not np.isfinite(logprobs).all():
        return Answer(Status.UNPARSABLE, evidence={"raw": str(logprobs.tolist())}, problem=NOT_FINITE)
    sums = np.minimum(np.bincount(tokens.answer, np.exp(logprobs), minlength=len(answers)), 1.0)
    other = round(max(0.0, 1.0 - float(np.exp(logprobs).sum())), 9)
    if other > most_other:
        raw = {answer: round(float(p), 9) for answer, p in zip(answers, sums, strict=True)}
        return unparsable(mostly_other(most_other), raw)
    rating, relevance = rate(sums.tolist())
    listed = [(text, round(float(p), 6)) for text, p in zip(tokens.texts, logprobs, strict=True)]
    return Answer(Status.OK, rating, relevance, evidence={"logprobs": listed, "other": other})


def read_number(text: str) -> Answer:
    """The rating that a text states: exactly one number, from 0 to 1.

    >>> read_number("0.7").rating, read_number("I would say .5.").rating
    (0.7, 0.5)
    >>> read_number("7/10").problem, read_number("Safe!").problem, read_number("8").problem
    ('more than one number', 'no number', 'number outside 0 to 1')
    """
    numbers = _NUMBER.findall(text)
    if len(numbers) != 1:
        return unparsable(NOT_ONE_NUMBER if numbers else NO_NUMBER, text)
    if _LIST_NUMBER.search(text):
        return unparsable(LIST_NUMBER, text)
    value = float(numbers[0]) + 0.0  # no negative zero
    if not 0.0 <= value <= 1.0:
        return unparsable(OUT_OF_RANGE, text)
    return Answer(Status.OK, rating=value, evidence={"text": text[:MOST_RAW]})


def unparsable(problem: str, raw: object) -> Answer:
    """An answer without a rating, its raw text kept."""
    text = raw if isinstance(raw, str) else json.dumps(raw, ensure_ascii=False, default=str)
    return Answer(Status.UNPARSABLE, evidence={"raw": text[:MOST_RAW]}, problem=problem)
