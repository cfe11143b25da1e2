"""A grid of settings by index arithmetic: a setting is a number, and millions of them are never objects.

The axes are the digits of the number in mixed radix, the last axis the fastest, as in `numpy.unravel_index`.

Letters: A axes, S settings.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Int

from encore_jax.errors import InputError


@dataclasses.dataclass(frozen=True)
class Axis:
    """One choice and the values it takes; `values` may be a range, so that 2^16 subsets cost nothing."""

    name: str
    values: Sequence

    def __post_init__(self):
        if not len(self.values):
            raise InputError("has no value", where=f"axis {self.name!r}", fix="give at least one")

    def __len__(self) -> int:
        return len(self.values)


@dataclasses.dataclass(frozen=True)
class Grid:
    """The product of some axes.

    >>> grid = Grid((Axis("tau", (0.5, 2.0)), Axis("levels", (2, 5, 11))))
    >>> grid.size, grid.values_at(4)
    (6, {'tau': 2.0, 'levels': 5})
    """

    axes: tuple[Axis, ...]

    def __post_init__(self):
        if len(set(self.names)) < len(self.names):
            raise InputError(f"axes {self.names}", where="grid", fix="name every axis once")

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(axis.name for axis in self.axes)

    @property
    def shape(self) -> tuple[int, ...]:
        """Number of values of every axis."""
        return tuple(map(len, self.axes))

    @property
    def size(self) -> int:
        return math.prod(self.shape)

    def digits(self, index) -> np.ndarray:
        """Position on every axis, int ``[..., A]``, of settings by number ``[...]``."""
        return np.stack(np.unravel_index(index, self.shape), -1)

    def values_at(self, index: int) -> dict[str, object]:
        """What the setting with this number chooses on every axis."""
        return {axis.name: axis.values[d] for axis, d in zip(self.axes, self.digits(index).tolist(), strict=True)}


def digits_after(start: Int[Array, " A"], steps: Int[Array, " S"], shape: tuple[int, ...]) -> Int[Array, "S A"]:
    """Digits of the settings that lie so many steps after `start`, on the device.

    Only digits and steps are added, so 32 bits are enough for grids of any size; past the end it begins again.

    >>> digits_after(jnp.array([0, 2]), jnp.arange(3), (2, 3)).tolist()
    [[0, 2], [1, 0], [1, 1]]
    """
    carry, found = steps, []
    for axis in reversed(range(len(shape))):
        total = start[axis] + carry
        found.append(total % shape[axis])
        carry = total // shape[axis]
    return jnp.stack(found[::-1], -1)


def all_subsets(rules: int) -> np.ndarray:
    """Every non-empty subset of so many rules, bool ``[2^K - 1, K]``; row i holds the bits of i + 1.

    >>> all_subsets(2).astype(int).tolist()
    [[1, 0], [0, 1], [1, 1]]
    """
    if not 1 <= rules <= MOST_ENUMERATED:
        raise InputError(
            f"2^{rules} subsets", where="subsets", fix=f"enumerate up to {MOST_ENUMERATED} rules, sample beyond"
        )
    return (np.arange(1, 2**rules)[:, None] >> np.arange(rules)[None] & 1).astype(bool)


MOST_ENUMERATED = 16


def sampled_subsets(rules: int, count: int, seed: int) -> np.ndarray:
    """So many different non-empty subsets, bool ``[count, K]``, the full set first; every size is as likely.

    If they were drawn member by member, nearly all would have K/2 rules, and small and large ones would never be seen.

    Raises:
      InputError: there are not so many subsets.
    """
    if not 1 <= count <= 2**rules - 1:
        raise InputError(f"{count} of {2**rules - 1} subsets", where="subsets", fix="ask for fewer, or for all of them")
    if rules <= MOST_ENUMERATED and 2 * count > 2**rules - 1:  # few are left over: drawing would go on for long
        order = np.random.default_rng(seed).permutation(2**rules - 2)[: count - 1]
        return all_subsets(rules)[np.concatenate([[2**rules - 2], order])]
    rng, found = np.random.default_rng(seed), {np.ones(rules, bool).tobytes(): None}
    while len(found) < count:
        chosen = np.zeros(rules, bool)
        chosen[rng.permutation(rules)[: rng.integers(1, rules + 1)]] = True
        found.setdefault(chosen.tobytes())
    return np.frombuffer(b"".join(found), bool).reshape(count, rules)
