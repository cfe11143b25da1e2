"""Which tokens stand for an answer when the next token is read."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from encore_jax.errors import InputError


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


def spellings(answer: str) -> tuple[str, ...]:
    """The ways of writing an answer that count: three cases, each with and without a space before it.

    >>> spellings("Yes")
    ('Yes', ' Yes', 'yes', ' yes', 'YES', ' YES')
    """
    cases = dict.fromkeys((answer, answer.lower(), answer.upper()))
    return tuple(space + case for case in cases for space in ("", " "))


def answer_tokens(tokenizer, answers: tuple[str, ...]) -> AnswerTokens:
    """The first token of every spelling of every answer.

    A token that is no more than one letter of a longer answer (the "Y" of "YES") says too little and is left out.

    Raises:
      InputError: two answers begin with the same token, or an answer has no token of its own.
    """
    owner: dict[int, int] = {}
    for i, answer in enumerate(answers):
        for spelling in spellings(answer):
            first = tokenizer(spelling, add_special_tokens=False)["input_ids"][0]
            piece = tokenizer.decode([first]).strip()
            if not piece or not spelling.strip().startswith(piece) or len(piece) < min(2, len(answer)):
                continue
            if owner.setdefault(first, i) != i:
                raise InputError(
                    f"{answers[owner[first]]!r} and {answer!r} both begin with the token {piece!r}",
                    where="the prompt's answers",
                    fix="use answers that this tokenizer can tell apart",
                )
    for i, answer in enumerate(answers):
        if i not in owner.values():
            raise InputError(
                f"no token begins {answer!r} and nothing else",
                where="the prompt's answers",
                fix="use an answer of common words",
            )
    ids = list(owner)
    return AnswerTokens(np.array(ids, np.int32), np.array(list(owner.values())), tuple(map(tokenizer.decode, ids)))
