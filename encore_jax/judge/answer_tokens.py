"""Which tokens stand for an answer when the next token is read."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from encore_jax.errors import InputError
from encore_jax.judge.reading import answer_of


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
