"""Equal inputs, computed once: which arrays of a list differ, and where each of them first stands.

A batched program gives equal rows of its input results that differ by rounding: where a row stands in a tile, and what
is packed beside it, change the order of its sums. A text compared with itself would win or lose, and a group of equal
completions would have a spread. So whatever computes scores computes each different input once and hands the result to
all that are equal to it; it is exact, and cheaper.

Letters: N arrays, U different ones.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable
from typing import NamedTuple

import numpy as np


class Distinct(NamedTuple):
    """Which of N arrays are equal.

    Attributes:
      first: int ``[U]``, where each different array stands first, in that order.
      place: int ``[N]``, which of the U each array is: array i equals array ``first[place[i]]``.
    """

    first: np.ndarray
    place: np.ndarray

    @property
    def representative(self) -> np.ndarray:
        """int ``[N]``: the position of the first array that is equal to each."""
        return self.first[self.place]


def digest(array: np.ndarray) -> bytes:
    """16 bytes that stand for an array's values; arrays of one type are equal if these are."""
    return hashlib.blake2b(np.ascontiguousarray(array).data, digest_size=16).digest()


def distinct(arrays: Iterable[np.ndarray | None]) -> Distinct:
    """Finds equal arrays, bit by bit, among arrays of one type; their lengths may differ. None equals None.

    >>> found = distinct([np.array([1, 2]), np.array([3]), np.array([1, 2])])
    >>> found.first.tolist(), found.place.tolist()
    ([0, 1], [0, 1, 0])
    """
    numbers: dict[bytes, int] = {}
    first, place = [], []
    for i, array in enumerate(arrays):
        number = numbers.setdefault(b"" if array is None else digest(array), len(numbers))
        if number == len(first):
            first.append(i)
        place.append(number)
    return Distinct(np.array(first, np.int64), np.array(place, np.int64))


def on_distinct_rows(function: Callable[[np.ndarray], np.ndarray], rows: np.ndarray) -> np.ndarray:
    """``function(rows)`` where equal rows get equal results, to the last bit.

    Args:
      function: from rows ``[U, ...]`` to one result for each, ``[U, ...]``, such as a matrix product.
      rows: ``[N, ...]``.

    >>> on_distinct_rows(lambda rows: np.arange(len(rows)), np.array([[5.0], [6.0], [5.0]])).tolist()
    [0, 1, 0]
    """
    first, place = distinct(rows)
    return np.asarray(function(rows if len(first) == len(rows) else rows[first]))[place]
