"""Log-probabilities of a reply's tokens, from a chat or a plain completion of any dialect of the OpenAI protocol.

Whatever a reply holds, reading it never raises: what is of another kind than declared is malformed, and says so.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from encore_jax.judge.replies import BAD_LOGPROBS, NO_LOGPROBS, choice_of

Pairs = list[tuple[str, float]]
"""(token, natural log-probability), likeliest first."""

_MOST_LISTED = 1000
_ROUNDING = 1e-3


def reply_logprobs(body: object) -> tuple[Pairs, str]:
    """The likely first tokens, and "" or why there are none.

    A token that is listed twice with the same number is one token. Minus infinity is a probability of zero.

    >>> listed = [{"token": "Yes", "logprob": -0.25}, {"token": "No", "logprob": -1.5}]
    >>> reply_logprobs({"choices": [{"logprobs": {"content": [{"token": "Yes", "top_logprobs": listed}]}}]})
    ([('Yes', -0.25), ('No', -1.5)], '')
    """
    positions, pairs, problem = _positions(body)
    return ([], problem) if problem else _read_position(pairs(positions[0]))


class TokenLogprobs:
    """Log-probabilities at every token of a reply.

    Args:
      body: a reply's JSON.

    Attributes:
      tokens: what was written, token by token.
      problem: "" or why there are no log-probabilities.

    >>> logprobs = {"tokens": ["{", "A"], "top_logprobs": [{"{": -0.5}, {"A": -0.125, "B": -2.5}]}
    >>> read = TokenLogprobs({"choices": [{"text": "{A", "logprobs": logprobs}]})
    >>> read.tokens, read.at(1)
    (('{', 'A'), ([('A', -0.125), ('B', -2.5)], ''))
    """

    def __init__(self, body: object):
        self._positions, self._pairs, self.problem = _positions(body)
        tokens = _written(body) if not self.problem else []
        if len(tokens) != len(self._positions) or not all(isinstance(token, str) for token in tokens):
            tokens, self.problem = [], self.problem or BAD_LOGPROBS
        self.tokens = tuple(tokens)

    def at(self, number: int) -> tuple[Pairs, str]:
        """The likely tokens at a place, and "" or why there are none."""
        return _read_position(self._pairs(self._positions[number]))


def _logprobs(body: object) -> object:
    choice = choice_of(body)
    return choice.get("logprobs") if choice is not None else None


def _positions(body: object) -> tuple[list, Callable[[object], list | None], str]:
    """What is listed at each token, how the pairs are taken out of it, and "" or why there is nothing."""
    logprobs = _logprobs(body)
    if logprobs is None or logprobs == {} or logprobs == []:
        return [], _chat_pairs, NO_LOGPROBS
    if not isinstance(logprobs, Mapping):
        return [], _chat_pairs, BAD_LOGPROBS
    content, top = logprobs.get("content"), logprobs.get("top_logprobs")
    if not content and not top:
        return [], _chat_pairs, NO_LOGPROBS
    positions = content or top
    problem = "" if isinstance(positions, list) else BAD_LOGPROBS
    return ([] if problem else positions), (_chat_pairs if content else _completion_pairs), problem


def _written(body: object) -> list:
    """The token that was written at each place: beside a completion's log-probabilities, or in a chat's."""
    logprobs = _logprobs(body)
    if logprobs.get("content"):
        return [entry.get("token") if isinstance(entry, Mapping) else None for entry in logprobs["content"]]
    tokens = logprobs.get("tokens")
    return tokens if isinstance(tokens, list) else []


def _read_position(pairs: list | None) -> tuple[Pairs, str]:
    if pairs is None or len(pairs) > _MOST_LISTED:
        return [], BAD_LOGPROBS
    read = [(token, _logprob(value)) for token, value in pairs]
    if any(not isinstance(token, str) or value is None for token, value in read):
        return [], BAD_LOGPROBS
    return sorted(dict.fromkeys(read), key=lambda pair: -pair[1]), "" if read else NO_LOGPROBS


def _chat_pairs(position: object) -> list | None:
    if not isinstance(position, Mapping):
        return None
    listed = position.get("top_logprobs") or [position]
    if not isinstance(listed, list) or not all(isinstance(entry, Mapping) for entry in listed):
        return None
    return [(entry.get("token"), entry.get("logprob")) for entry in listed]


def _completion_pairs(position: object) -> list | None:
    return list(position.items()) if isinstance(position, Mapping) else None


def _logprob(value: object) -> float | None:
    """A natural log-probability; None for what is none."""
    if type(value) not in (int, float):
        return None
    try:
        number = float(value)
    except OverflowError:
        return None
    return min(number, 0.0) if number <= _ROUNDING else None
