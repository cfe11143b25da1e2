"""Which choices matter? The variance of accuracy over a complete grid, shared out among the axes and their pairs.

On a grid where every combination occurs once, the functional ANOVA is exact and orthogonal:

    y(i, j, ...) = mean + f_1(i) + f_2(j) + ... + f_12(i, j) + ... + rest
    Var y = Σ_a Var f_a + Σ_{a<b} Var f_ab + Var rest

so shares of variance sum to 1. Only sums per value and per pair of values are kept, so a grid of any size streams
through in bounded memory.
"""

from __future__ import annotations

import itertools
import math
from typing import NamedTuple

import numpy as np

from encore_jax.errors import InputError

MOST_CELLS = 2**22
"""Pairs of axes with more combinations than this are not told apart from the rest."""

SMALLEST = 1e-24
"""A variance below this is rounding, of which there is nothing to explain."""


class Effects(NamedTuple):
    """Outcome of `MarginalSums.effects`.

    Attributes:
      mean, variance: of y over the grid.
      main: share of the variance by axis; together with the following they sum to 1.
      pairs: share of the interaction by pair of axes.
      rest: share of all higher interactions, and of the pairs in `untold`.
      untold: pairs that have too many combinations.
    """

    mean: float
    variance: float
    main: dict[str, float]
    pairs: dict[tuple[str, str], float]
    rest: float
    untold: tuple[tuple[str, str], ...]


class MarginalSums:
    """Sums of y and of its square over all settings that share a value on an axis, or on two.

    Args:
      names, shape: of the axes.
    """

    def __init__(self, names: tuple[str, ...], shape: tuple[int, ...]):
        self.names, self.shape = names, shape
        self.count, self.square = 0, 0.0
        self._shift: float | None = None  # sums are of y minus the first y: small effects do not cancel away
        keys = [(a,) for a in range(len(names))] + list(itertools.combinations(range(len(names)), 2))
        cells = {key: math.prod(shape[a] for a in key) for key in keys}
        self._sums = {key: np.zeros(n) for key, n in cells.items() if len(key) == 1 or n <= MOST_CELLS}
        self._squares = [np.zeros(n) for n in shape]

    def add(self, digits: np.ndarray, y: np.ndarray) -> None:
        """Takes in settings by their digits ``[S, A]`` with their outcomes ``[S]``."""
        y = np.asarray(y, np.float64)
        self._shift = float(y[0]) if self._shift is None else self._shift
        y = y - self._shift
        self.count += len(y)
        self.square += float(y @ y)
        for key, total in self._sums.items():
            cell = digits[:, key[0]]
            for a in key[1:]:
                cell = cell * self.shape[a] + digits[:, a]
            total += np.bincount(cell, y, len(total))
            if len(key) == 1:
                self._squares[key[0]] += np.bincount(cell, y * y, len(total))

    def marginal(self, name: str) -> tuple[np.ndarray, np.ndarray]:
        """Mean, and standard deviation over all other choices, of y at each value of an axis."""
        a = self.names.index(name)
        n = self.count / self.shape[a]
        mean = self._sums[a,] / n
        return mean + self._shift, np.sqrt(np.maximum(self._squares[a] / n - mean**2, 0))

    def table(self, first: str, second: str) -> np.ndarray | None:
        """Mean of y at each pair of values, ``[first, second]``; None if there are too many."""
        a, b = self.names.index(first), self.names.index(second)
        total = self._sums.get((min(a, b), max(a, b)))
        if total is None:
            return None
        shape = self.shape[min(a, b)], self.shape[max(a, b)]
        mean = total.reshape(shape) / (self.count / total.size) + self._shift
        return mean if a < b else mean.T

    def effects(self) -> Effects:
        """The decomposition.

        Raises:
          InputError: not every setting of the grid has been added exactly once.
        """
        size = math.prod(self.shape)
        if self.count != size:
            raise InputError(f"{self.count} of {size} settings", where="MarginalSums", fix="add each exactly once")
        mean = self._sums[0,].sum() / size
        variance = max(self.square / size - mean**2, 0.0)
        centred = {key: total / (size / total.size) - mean for key, total in self._sums.items()}
        raw = {key: float((effect**2).mean()) for key, effect in centred.items()}
        scale = 1 / variance if variance > SMALLEST else 0.0
        main = {self.names[a]: scale * raw[a,] for a in range(len(self.names))}
        pairs, untold = {}, []
        for a, b in itertools.combinations(range(len(self.names)), 2):
            name = self.names[a], self.names[b]
            if (a, b) in raw:
                pairs[name] = scale * max(raw[a, b] - raw[a,] - raw[b,], 0.0)
            else:
                untold.append(name)
        rest = (1 - sum(main.values()) - sum(pairs.values())) if scale else 0.0
        return Effects(
            float(mean) + self._shift, variance, main, pairs, max(rest, 0.0) if rest > -1e-9 else rest, tuple(untold)
        )
